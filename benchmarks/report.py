"""Writes the tables of docs/benchmarks.md, and of the README the first of them.

    python benchmarks/report.py --models DIR [--write]

DIR has MLPerf Tiny's int8 .tflite files and Arm's network as a q7 archive. Without --write the tables are printed. A
table stands in a document between `<!-- NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

from utvm import api
from utvm.bench import Row, bench_layers, bench_mlperf_tiny, bench_talk
from utvm.bench.run import PLANS
from utvm.emulators import ASSUMPTIONS
from utvm.frontends import load
from utvm.graph.cost import macs
from utvm.passes import run_passes
from utvm.profile import random_input

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = (ROOT / "docs" / "benchmarks.md", ROOT / "README.md")
M7, M4 = "qemu-cortex-m7", "qemu-cortex-m4"
NAMES = {
    "cifar10": "CIFAR-10 CNN of the talk (q7)",
    "ic": "ResNet8 (IC)",
    "vww": "MobileNetV1 0.25 (VWW)",
    "kws": "DS-CNN (KWS)",
    "ad": "autoencoder (AD)",
}
Rows = Mapping[tuple[str, str], Row]


def main() -> None:
    """Measure, and print or write every table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--models", type=Path, required=True, metavar="DIR")
    parser.add_argument("--write", action="store_true", help="replace the tables in the documents")
    arguments = parser.parse_args()
    folder: Path = arguments.models
    on = {board: networks(board, folder) for board in (M7, M4)}
    pessimistic, f746 = (networks(M7, folder, assume=name) for name in ("pessimistic-m7", "stm32f746"))
    tables = {
        "networks": network_table(on, folder),
        "plans": plan_table(on),
        "assumptions": assumption_table(folder),
        "peers": peer_table([on[M7], pessimistic, f746, on[M4]]),
        "layers": layer_table(),
    }
    for name, lines in tables.items():
        text = "\n".join(lines)
        if not arguments.write:
            print(f"{name}\n\n{text}\n")
        for document in DOCUMENTS if arguments.write else ():
            held = document.read_text(encoding="utf-8")
            marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
            new = marked.sub(lambda found, text=text: f"{found[1]}\n{text}\n\n{found[2]}", held)
            document.write_text(new, encoding="utf-8")


def networks(board: str, folder: Path, *, assume: str | None = None) -> Rows:
    """Return the rows of all networks by name and plan."""
    every = chain(bench_talk(board, folder, assume=assume), bench_mlperf_tiny(board, folder, assume=assume))
    rows = {(row.name, row.plan): row for row in every if isinstance(row, Row)}
    assert all(row.exact for row in rows.values())
    return rows


def recorded_cycles(row: Row) -> int:
    """Return the cycles of the first recorded peer."""
    return next(f.cycles for name, f in row.peers.items() if "recorded" in name and f.cycles is not None)


def network_table(on: Mapping[str, Rows], folder: Path) -> Iterator[str]:
    """Yield CMSIS-NN's and our million cycles on both cores."""
    yield "| network | MACs | M7: CMSIS-NN | M7: µTVM | | M4: CMSIS-NN | M4: µTVM | | arena | flash (M7) |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    for name, title in NAMES.items():
        row = on[M7][name, "fast"]
        live = macs(run_passes(load(path_of(folder, name))))
        note = "" if live == row.macs else f", {live / 1e6:.2f} M of live channels"
        cells = [f"{title}", f"{row.macs / 1e6:.2f} M{note}"]
        for board in (M7, M4):
            ours, theirs = cycles(on[board][name, "fast"]), recorded_cycles(on[board][name, "fast"])
            cells += [f"{theirs / 1e6:.2f}", f"**{ours / 1e6:.3f}**", f"{theirs / ours:.1f}x"]
        yield "| " + " | ".join([*cells, f"{row.arena_bytes:,} B", f"{row.flash_bytes:,} B"]) + " |"


def plan_table(on: Mapping[str, Rows]) -> Iterator[str]:
    """Yield the cost of every plan."""
    yield "| network | plan | M7 instructions | M7 cycles | M4 instructions | M4 cycles | arena | flash (M7) | (M4) |"
    yield "|---|---|--:|--:|--:|--:|--:|--:|--:|"
    for name in NAMES:
        for plan in PLANS:
            if (name, plan) not in on[M7]:
                yield f"| {name} | {plan} | not possible | | | | | | |"
                continue
            a, b = on[M7][name, plan], on[M4][name, plan]
            figures = [f"{value:,}" for value in (a.instructions, a.cycles, b.instructions, b.cycles)]
            sizes = [f"{value:,} B" for value in (a.arena_bytes, a.flash_bytes, b.flash_bytes)]
            yield "| " + " | ".join([name, plan, *figures, *sizes]) + " |"


def assumption_table(folder: Path) -> Iterator[str]:
    """Yield million cycles under each assumption: of the plan for zero-wait memory, and of the one for the part."""
    boards = {name: M7 if "cortex-m7" in a.cores else M4 for name, a in ASSUMPTIONS.items()}
    yield "| network | " + " | ".join(f"{name}: as before | chosen for it" for name in boards) + " |"
    yield "|---|" + "--:|--:|" * len(boards)
    for name in NAMES:
        cells = []
        for assumed, board in boards.items():
            for chosen_for in (None, assumed):
                compiled = api.compile(path_of(folder, name), board, assume=chosen_for)
                inputs = {t.name: random_input(t, i) for i, t in enumerate(compiled.program.graph.inputs)}
                with api.connect(board, assume=assumed) as session:
                    measured = api.Model(session, compiled).run(inputs).measurement
                cells.append(f"{(measured.cycles or 0) / 1e6:.3f}")
        yield f"| {name} | " + " | ".join(cells) + " |"


def peer_table(columns: Sequence[Rows]) -> Iterator[str]:
    """Yield what the peers of the same run need, and how many times ours that is."""
    yield "| network | peer | zero-wait M7 | pessimistic M7 | memory of STM32F746 | zero-wait M4 |"
    yield "|---|---|--:|--:|--:|--:|"
    for name in list(NAMES)[1:]:
        for peer in (p for p in columns[0][name, "fast"].peers if "recorded" not in p):
            cells = []
            for rows in columns:
                row = rows[name, "fast"]
                needed = row.peers[peer].cycles or 0
                cells.append(f"{needed / 1e6:.3f} ({needed / cycles(row):.1f}x)")
            yield "| " + " | ".join([name, peer, *cells]) + " |"


def layer_table() -> Iterator[str]:
    """Yield every recorded layer on both cores."""
    yield "| layer | M7 cycles | CMSIS-NN | | M4 cycles | CMSIS-NN | |"
    yield "|---|--:|--:|--:|--:|--:|--:|"
    for pair in zip(bench_layers(M7), bench_layers(M4), strict=True):
        assert all(row.exact for row in pair)
        cells = [
            cell
            for row in pair
            for cell in (f"{cycles(row):,}", f"{recorded_cycles(row):,}", f"{recorded_cycles(row) / cycles(row):.1f}x")
        ]
        yield "| " + " | ".join([pair[0].name, *cells]) + " |"


def cycles(row: Row) -> int:
    """Return a row's cycles, which both boards have."""
    assert row.cycles is not None
    return row.cycles


def path_of(folder: Path, name: str) -> Path:
    """Return a network's file."""
    pattern = "*q7*.npz" if name == "cifar10" else f"{name}_*.tflite"
    return sorted(folder.rglob(pattern))[0]


if __name__ == "__main__":
    main()
