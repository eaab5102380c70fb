"""What each network costs as a product ships it: arena, stack, flash, cycles; beside tflite-micro and BakeNN.

    python benchmarks/footprint.py --models DIR [--boards qemu-cortex-m4,qemu-cortex-m7] [--write]

DIR has MLPerf Tiny's int8 .tflite files. Flash is what linking the model adds to a program (code and constants), stack
the worst case from the compiler's frames; the arena holds inputs, outputs and all that lies between. BakeNN's code
(utvm[bench]) is built by the same compiler under the same -O3 and -Os, and counted the same way; it leaves out a
softmax at the end. tflite-micro's arenas are those of its interpreter. Kernels are chosen by the records that come with
µTVM, not by yours. Takes some minutes; --write replaces the tables of docs/deploy.md, between `<!-- NAME -->` and
`<!-- end -->`.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tables import write_table

from utvm import api
from utvm.bench.bakenn import PORTABLE, WITH_CMSIS_NN, measure_bakenn
from utvm.bench.figures import PeerError
from utvm.deploy import Export, export
from utvm.deploy.build import empty_image, library_image, shipping
from utvm.deploy.harness import RUN_SYMBOL, board_harness, buffer
from utvm.device import Session
from utvm.errors import UtvmError
from utvm.frontends import load
from utvm.graph import Graph
from utvm.graph.samples import random_input
from utvm.kernels import SMALL_FAMILIES
from utvm.lowering import LoweringError, Options, lower
from utvm.passes import run_passes
from utvm.tuning import measurements

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "deploy.md"
EXAMPLE = ROOT / "examples" / "cifar10" / "cifar10_cnn.tflite"
TFLITE_MICRO = {
    "cifar10": None,
    "ic_resnet8_int8": 55_984,
    "vww_mobilenetv1_025_96_int8": 103_680,
    "kws_dscnn_int8": 24_272,
    "ad_autoencoder_int8": 3_984,
    "sww_conv1d_int8": 16_640,
}
"""Bytes of arena that tflite-micro's interpreter reports for the same models."""
LEVELS = ("-O3", "-Os")
OURS = "µTVM, "


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """Code under one -O: bytes of flash, of them code, and of stack; cycles of a run."""

    flash: int
    code: int
    stack: int
    cycles: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One row: a network on a core under a plan of ours or another's code. `builds` has one for each of `LEVELS`."""

    network: str
    core: str
    plan: str
    arena: int
    builds: tuple[Built, ...] = ()
    note: str = ""

    @property
    def is_ours(self) -> bool:
        return self.plan.startswith(OURS)

    @property
    def options(self) -> str:
        """What to give `utvm export` for a plan of ours."""
        return self.plan.removeprefix(OURS)


def main() -> None:
    """Measure, and print or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, required=True, metavar="DIR")
    parser.add_argument("--boards", default="qemu-cortex-m4,qemu-cortex-m7", metavar="A,B,...")
    parser.add_argument("--write", action="store_true", help="replace the tables in docs/deploy.md")
    arguments = parser.parse_args()
    paths = {name: EXAMPLE if name == "cifar10" else arguments.models / f"{name}.tflite" for name in TFLITE_MICRO}
    try:
        with tempfile.TemporaryDirectory() as nothing:
            os.environ["UTVM_RECORDS"] = str(Path(nothing) / "records.sqlite")
            lines = list(measured(paths, arguments.boards.split(",")))
    except UtvmError as error:
        sys.exit(f"footprint: {error}")
    for name, table in TABLES.items():
        text = "\n".join(table(lines))
        print(f"{text}\n")
        if arguments.write:
            write_table(DOCUMENT, name, [text])


def measured(paths: dict[str, Path], boards: Sequence[str]) -> Iterator[Line]:
    """Yield every row, and say on standard error which are done."""
    start = time.monotonic()
    for name, path in paths.items():
        graph = load(path)
        for board in boards:
            core = api.as_board(board).core.name.removeprefix("cortex-").upper()
            with api.connect(shipping(api.as_board(board))) as session:
                peers: list[Line] = []
                # Theirs first, since some of our plans have theirs for a budget; in the table they come last.
                for line in itertools.chain(
                    _peers(name, core, graph, session), _plans(name, core, path, session, peers)
                ):
                    done = f"{time.monotonic() - start:4.0f} s: {name} on {core}, {line.plan}"
                    print(done, file=sys.stderr, flush=True)
                    if line.is_ours or not line.builds:
                        yield line
                    else:
                        peers.append(line)
                yield from peers


def _plans(name: str, core: str, path: Path, session: Session, peers: Sequence[Line]) -> Iterator[Line]:
    """Yield what µTVM offers, of plans that are the same the first."""

    def made(options: str, **given: object) -> Line:
        return _ours(name, core, options, export(path, session.board, **given), session)  # type: ignore[arg-type]

    known, least = TFLITE_MICRO[name], smallest(path, session)
    lines = [made("default"), made("--small", small=True)]
    if known is not None:
        lines.append(made(f"--ram {known // 2}", ram=known // 2))
    lines.append(made(f"--small --ram {least}", small=True, ram=least))
    for peer in peers:
        if peer.plan == WITH_CMSIS_NN and lines[0].builds[0].flash > peer.builds[0].flash:
            # As much as theirs, or what little more it takes.
            for flash in (peer.builds[0].flash, peer.builds[0].flash * 103 // 100, peer.builds[0].flash * 106 // 100):
                with contextlib.suppress(UtvmError):
                    lines.append(made(f"--flash {flash}", flash=flash))
                    break
    lines.append(made("--portable all", portable=("all",)))
    seen: set[tuple[int, tuple[Built, ...]]] = set()
    for line in lines:
        if (line.arena, line.builds) not in seen:
            seen.add((line.arena, line.builds))
            yield line
    if known is not None:
        smaller = min(lines, key=lambda line: (line.arena, line.builds[0].cycles))
        yield Line(
            network=name,
            core=core,
            plan="tflite-micro",
            arena=known,
            note=f"{smaller.options}, {100 * smaller.arena / known:.0f} % of it",
        )


def smallest(path: Path, session: Session) -> int:
    """Return the least RAM that bisection finds kernels with assembler for, to 256 bytes."""
    board = session.board
    graph, known = run_passes(load(path)), measurements(board)

    def arena(ram: int | None) -> int:
        return lower(graph, board.core, Options(families=SMALL_FAMILIES, measured=known, ram=ram)).arena_bytes

    low, high = 0, arena(None)
    while high - low > 256:
        limit = (low + high) // 2
        try:
            high = arena(limit)
        except LoweringError:
            low = limit
    return high


def _ours(name: str, core: str, options: str, made: Export, session: Session) -> Line:
    ports = made.manifest.inputs, made.manifest.outputs
    harness = board_harness(made.program.name, *ports)
    builds = []
    for build in made.manifest.builds:
        session.load(library_image(made.board, made.files, harness, optimize=build.optimize))
        for index, (tensor, port) in enumerate(zip(made.program.graph.inputs, ports[0], strict=True)):
            session.write(buffer(port), random_input(tensor, index).tobytes())
        cycles = session.call(RUN_SYMBOL).cycles
        assert cycles is not None
        builds.append(Built(flash=build.flash_bytes, code=build.code_bytes, stack=build.stack_bytes, cycles=cycles))
    return Line(network=name, core=core, plan=f"{OURS}{options}", arena=made.program.arena_bytes, builds=tuple(builds))


def _peers(name: str, core: str, graph: Graph, session: Session) -> Iterator[Line]:
    inputs = {tensor.name: random_input(tensor, index) for index, tensor in enumerate(graph.inputs)}
    for peer in (PORTABLE, WITH_CMSIS_NN):
        builds = []
        try:
            for level in LEVELS:
                found = measure_bakenn(session, graph, peer, inputs, optimize=level)
                empty = empty_image(session.board, level)
                assert found.flash_bytes is not None
                assert found.code_bytes is not None
                assert found.stack_bytes is not None
                assert found.cycles is not None
                builds.append(
                    Built(
                        flash=found.flash_bytes - empty.flash_bytes,
                        code=found.code_bytes - empty.code_bytes,
                        stack=found.stack_bytes,
                        cycles=found.cycles,
                    )
                )
        except PeerError as error:
            print(f"{name} on {core}, {peer}: {error}", file=sys.stderr)
            continue
        notes = [f"without {found.leaves_out}"] if found.leaves_out else []
        if not found.exact:
            notes.append("not bit-exact")
        assert found.arena_bytes is not None
        yield Line(
            network=name,
            core=core,
            plan=peer,
            arena=found.arena_bytes,
            builds=tuple(builds),
            note=", ".join(notes),
        )


def footprint(lines: Sequence[Line]) -> Iterator[str]:
    """Yield the rows of the table of costs."""
    columns = "arena | stack | flash, -O3 | -Os | cycles (modelled), -O3 | -Os | smaller and no slower"
    yield f"| network | core | code | {columns} |"
    yield "|---|---|---|--:|--:|--:|--:|--:|--:|---|"
    for line in lines:
        cells = [f"{line.arena:,}"]
        cells.append(f"{max(build.stack for build in line.builds):,}" if line.builds else "")
        for value in ("flash", "cycles"):
            cells += [f"{getattr(build, value):,}" for build in line.builds] or ["", ""]
        plan = f"{line.plan}, {line.note}" if line.builds and line.note else line.plan
        note = "" if line.is_ours else against(line, lines) or line.note
        yield f"| {line.network} | {line.core} | {plan} | {' | '.join(cells)} | {note} |"


def against(peer: Line, lines: Iterable[Line]) -> str:
    """Say under each -O which plan of ours is smaller in RAM and flash and no slower, or what the nearest lacks."""
    plans = [line for line in lines if line.is_ours and (line.network, line.core) == (peer.network, peer.core)]
    found = [_against(peer, plans, level) for level in range(len(peer.builds))]
    if len(set(found)) < 2:
        return "".join(found[:1])
    return "; ".join(f"{name}: {text}" for name, text in zip(LEVELS, found, strict=True))


def _against(peer: Line, plans: Sequence[Line], level: int) -> str:
    lacking = [(_lacks(plan, peer, level), plan) for plan in plans]
    better = [plan for lacks, plan in lacking if not lacks]
    if better:
        return min(better, key=lambda plan: plan.builds[level].cycles).options
    lacks, nearest = min(lacking, key=lambda pair: sum(pair[0].values()))
    return f"none; {nearest.options} has {', '.join(f'{100 * more:.1f} % more {name}' for name, more in lacks.items())}"


def _lacks(plan: Line, peer: Line, level: int) -> dict[str, float]:
    """Return by how much a plan of ours is larger or slower than another's code, as fractions."""
    mine, theirs = plan.builds[level], peer.builds[level]
    pairs = {
        "RAM": (plan.arena + mine.stack, peer.arena + theirs.stack),
        "flash": (mine.flash, theirs.flash),
        "cycles": (mine.cycles, theirs.cycles),
    }
    return {name: ours / others - 1 for name, (ours, others) in pairs.items() if ours > others}


def code(lines: Sequence[Line]) -> Iterator[str]:
    """Yield the rows of the table of code beside constants."""
    yield "| network | core | code | constants | code, -O3 | -Os | code, of all: -O3 | -Os |"
    yield "|---|---|---|--:|--:|--:|--:|--:|"
    for line in lines:
        if line.builds:
            constants = line.builds[0].flash - line.builds[0].code
            cells = [f"{constants:,}", *(f"{build.code:,}" for build in line.builds)]
            cells += [f"{100 * build.code / build.flash:.0f} %" for build in line.builds]
            yield f"| {line.network} | {line.core} | {line.plan} | {' | '.join(cells)} |"


TABLES: dict[str, Callable[[Sequence[Line]], Iterator[str]]] = {"footprint": footprint, "code": code}


if __name__ == "__main__":
    main()
