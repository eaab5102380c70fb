"""What each network costs as a product ships it: flash, arena, stack, cycles; beside tflite-micro's arena and BakeNN.

    python benchmarks/footprint.py --models DIR [--boards qemu-cortex-m4,qemu-cortex-m7] [--write]

DIR has MLPerf Tiny's int8 .tflite files. Flash is what linking the model adds to a program (code and constants); the
arena holds inputs, outputs and all that lies between. BakeNN's code (utvm[bench]) is built by the same compiler and
counted the same way, under its own -Ofast and under -Os; it leaves out a softmax at the end. tflite-micro's arenas are
those of its interpreter. With --write the table of docs/deploy.md is replaced.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from utvm import api
from utvm.bench.bakenn import PORTABLE, WITH_CMSIS_NN, measure_bakenn
from utvm.bench.figures import PeerError
from utvm.boards import load_board
from utvm.deploy import Export, export
from utvm.deploy.build import runtime_bytes
from utvm.frontends import load
from utvm.graph.samples import random_input
from utvm.kernels import SMALL_FAMILIES
from utvm.lowering import LoweringError, lower
from utvm.passes import run_passes

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One row: a network on a board under a plan of ours or another's code. Bytes and cycles; None is not known."""

    network: str
    board: str
    plan: str
    flash: int | None = None
    arena: int | None = None
    stack: int | None = None
    cycles: int | None = None
    note: str = ""


def main() -> None:
    """Measure and print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--boards", default="qemu-cortex-m4,qemu-cortex-m7")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    paths = {name: EXAMPLE if name == "cifar10" else arguments.models / f"{name}.tflite" for name in TFLITE_MICRO}
    lines = []
    for name, path in paths.items():
        for board in arguments.boards.split(","):
            for line in measured(name, path, board):
                print(f"{line.network} on {line.board}, {line.plan}: done", file=sys.stderr, flush=True)
                lines.append(line)
    text = "\n".join(table(lines)) + "\n"
    print(text)
    if arguments.write:
        document = DOCUMENT.read_text(encoding="utf-8")
        pattern = re.compile(r"(<!-- footprint -->\n).*?(<!-- end -->)", re.DOTALL)
        replaced = pattern.sub(lambda found: f"{found[1]}\n{text}\n{found[2]}", document)
        DOCUMENT.write_text(replaced, encoding="utf-8")


def measured(name: str, path: Path, board: str) -> Iterator[Line]:
    """Yield our plans, then the others."""
    core = load_board(board).core.name.removeprefix("cortex-").upper()
    fast = export(path, board)
    yield _ours(name, core, "µTVM, fastest", fast)
    small = export(path, board, small=True)
    if small.manifest.flash_bytes < fast.manifest.flash_bytes or small.program.arena_bytes < fast.program.arena_bytes:
        yield _ours(name, core, "µTVM, --small", small)
    least = smallest(path, board)
    if least.program.arena_bytes < small.program.arena_bytes:
        yield _ours(name, core, f"µTVM, --small --ram {least.manifest.budgets['ram']}", least)
    yield _ours(name, core, "µTVM, --portable all", export(path, board, portable=("all",)))
    known = TFLITE_MICRO[name]
    if known is not None:
        yield Line(network=name, board=core, plan="tflite-micro", arena=known)
    yield from _peers(name, path, board, core)


def smallest(path: Path, board: str) -> Export:
    """Return the export with the least RAM that bisection finds, to 512 bytes."""
    graph, core = run_passes(load(path)), load_board(board).core
    low, high = 0, lower(graph, core, families=SMALL_FAMILIES).arena_bytes
    while high - low > 512:
        limit = (low + high) // 2
        try:
            high = lower(graph, core, families=SMALL_FAMILIES, ram=limit).arena_bytes
        except LoweringError:
            low = limit
    return export(path, board, small=True, ram=high)


def _ours(name: str, core: str, plan: str, made: Export) -> Line:
    builds = {build.optimize: build for build in made.manifest.builds}
    return Line(
        network=name,
        board=core,
        plan=plan,
        flash=builds["-O3"].flash_bytes,
        arena=made.program.arena_bytes,
        stack=made.manifest.stack_bytes,
        cycles=made.manifest.expected.cycles,
        note=f"{builds['-Os'].flash_bytes:,} B under -Os",
    )


def _peers(name: str, path: Path, board: str, core: str) -> Iterator[Line]:
    graph = load(path)
    inputs = {tensor.name: random_input(tensor, index) for index, tensor in enumerate(graph.inputs)}
    with api.connect(board) as session:
        for peer in (PORTABLE, WITH_CMSIS_NN):
            try:
                found = measure_bakenn(session, graph, peer, inputs)
            except PeerError as error:
                yield Line(network=name, board=core, plan=peer, note=str(error))
                continue
            notes = ["-Ofast", *([f"without {found.leaves_out}"] if found.leaves_out else [])]
            if found.exact is False:
                notes.append("not bit-exact")
            yield Line(
                network=name,
                board=core,
                plan=peer,
                flash=None if found.flash_bytes is None else found.flash_bytes - runtime_bytes(session.board),
                arena=found.arena_bytes,
                stack=session.stack_used(),
                cycles=found.cycles,
                note=", ".join(notes),
            )


def table(lines: Iterable[Line]) -> Iterator[str]:
    """Yield the rows of a Markdown table."""
    yield "| network | core | code | flash | arena | stack | cycles (modelled) | |"
    yield "|---|---|---|--:|--:|--:|--:|---|"
    for line in lines:
        figures = [line.flash, line.arena, line.stack, line.cycles]
        cells = ["" if value is None else f"{value:,}" for value in figures]
        yield f"| {line.network} | {line.board} | {line.plan} | {' | '.join(cells)} | {line.note} |"


if __name__ == "__main__":
    main()
