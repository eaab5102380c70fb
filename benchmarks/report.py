"""Writes the tables of docs/benchmarks.md, the first of them in the README too, and those of docs/cycle-model.md.

    python benchmarks/report.py --models DIR [--write] [--only NAME,...]

DIR has MLPerf Tiny's int8 .tflite files and Arm's network as a q7 archive. Without --write the tables are printed. A
table stands in a document between `<!-- NAME -->` and `<!-- end -->`; --only makes those named. --write draws
the charts of docs/charts too.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import resources
from itertools import chain
from pathlib import Path

import silicon
from tables import has_table, write_table

from utvm import api
from utvm.bench import CMSIS_NN, Row, bench_layers, bench_mlperf_tiny, bench_talk, write_chart
from utvm.bench.run import PLANS
from utvm.boards.load import parse_board
from utvm.emulators import assumptions
from utvm.errors import UtvmError
from utvm.frontends import load
from utvm.graph.cost import macs
from utvm.passes import run_passes
from utvm.profiling import profile_in
from utvm.report import OperatorProfile
from utvm.tuning import NO_RECORDS

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = (ROOT / "docs" / "benchmarks.md", ROOT / "docs" / "cycle-model.md", ROOT / "README.md")
CHARTS = ROOT / "docs" / "charts"
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
    parser.add_argument("--only", metavar="NAME,...", help=f"of {', '.join(TABLES)}")
    arguments = parser.parse_args()
    for name in arguments.only.split(",") if arguments.only else TABLES:
        text = "\n".join(TABLES[name](arguments.models))
        if not arguments.write:
            print(f"{name}\n\n{text}\n")
        for document in DOCUMENTS if arguments.write else ():
            if has_table(document, name):
                write_table(document, name, [text])
    if arguments.write and not arguments.only:
        talk = [row for row in bench_talk(M7, arguments.models) if isinstance(row, Row)]
        write_chart(talk, CHARTS / "talk-cortex-m7.svg")
        for board in (M7, M4):
            rows = [row for row in networks(board, arguments.models).values() if row.name != "cifar10"]
            write_chart([row for row in rows if row.name in NAMES], CHARTS / f"mlperf-tiny-{board[5:]}.svg")


@cache
def networks(board: str, folder: Path, *, assume: str | None = None) -> Rows:
    """Return the rows of all networks by name and plan."""
    every = chain(bench_talk(board, folder, assume=assume), bench_mlperf_tiny(board, folder, assume=assume))
    rows = {(row.name, row.plan): row for row in every if isinstance(row, Row)}
    assert all(row.exact for row in rows.values())
    return rows


def recorded_cycles(row: Row) -> int:
    """Return the cycles of the first recorded peer."""
    return next(f.cycles for name, f in row.peers.items() if "recorded" in name and f.cycles is not None)


def fewest_cycles(row: Row) -> int:
    """Return CMSIS-NN's cycles: of 4.0.0 in the same run by the same table, or recorded ones where these are fewer."""
    same_run = row.peers[CMSIS_NN].cycles
    recorded = recorded_cycles(row)
    return recorded if same_run is None else min(same_run, recorded)


def network_table(folder: Path) -> Iterator[str]:
    """Yield CMSIS-NN's and our million cycles on both cores."""
    on = {board: networks(board, folder) for board in (M7, M4)}
    yield "| network | MACs | M7: CMSIS-NN | M7: µTVM | | M4: CMSIS-NN | M4: µTVM | | arena | flash (M7) |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    for name, title in NAMES.items():
        row = on[M7][name, "fast"]
        live = macs(run_passes(load(path_of(folder, name))))
        note = "" if live == row.macs else f", {live / 1e6:.2f} M of live channels"
        cells = [f"{title}", f"{row.macs / 1e6:.2f} M{note}"]
        for board in (M7, M4):
            ours, theirs = cycles(on[board][name, "fast"]), fewest_cycles(on[board][name, "fast"])
            cells += [f"{theirs / 1e6:.2f}", f"**{ours / 1e6:.3f}**", f"{theirs / ours:.1f}x"]
        yield "| " + " | ".join([*cells, f"{row.arena_bytes:,} B", f"{row.flash_bytes:,} B"]) + " |"


def plan_table(folder: Path) -> Iterator[str]:
    """Yield the cost of every plan."""
    on = {board: networks(board, folder) for board in (M7, M4)}
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
    # Pipelines of several cores have tables of their own, by pipelines.py.
    parts = {name: a for name, a in assumptions().items() if len(a.cores) == 1}
    boards = {name: M7 if "cortex-m7" in a.cores else M4 for name, a in parts.items()}
    yield "| network | " + " | ".join(f"{name}: as before | chosen for it" for name in boards) + " |"
    yield "|---|" + "--:|--:|" * len(boards)
    for name in NAMES:
        cells = []
        for assumed, board in boards.items():
            for chosen_for in (None, assumed):
                needed = silicon.our_cycles(path_of(folder, name), board, chosen_for=chosen_for, assume=assumed)
                cells.append(f"{needed / 1e6:.3f}")
        yield f"| {name} | " + " | ".join(cells) + " |"


def choice_table(folder: Path) -> Iterator[str]:
    """Yield the calls whose family or config is another in the STM32F746's memory, with their cycles there."""
    yield "| network | layer | for zero-wait memory | cycles | for the STM32F746 | cycles |"
    yield "|---|---|---|--:|---|--:|"
    for name in NAMES:
        with api.connect(M7, assume="stm32f746") as session:
            plain, suited = (
                profile_in(
                    session, api.compile(path_of(folder, name), M7, assume=chosen_for, steps=True, records=NO_RECORDS)
                )[0]
                for chosen_for in (None, "stm32f746")
            )
        before = {row.name: row for row in plain.operators}
        for row in suited.operators:
            old = before.get(row.name)
            if old is not None and (old.family, old.config) != (row.family, row.config):
                cells = [f"{chosen(each)} | {each.cycles:,}" for each in (old, row)]
                yield f"| {name} | {row.index}, {row.kind} | {' | '.join(cells)} |"


def chosen(row: OperatorProfile) -> str:
    """Return family and config in few words."""
    return " ".join([f"`{row.family}`", *(f"{key}={value}" for key, value in row.config.items())])


def peer_table(folder: Path) -> Iterator[str]:
    """Yield what the peers of the same run need, and how many times ours that is."""
    settings = (
        ("zero-wait M7", M7, None),
        ("pessimistic M7", M7, "pessimistic-m7"),
        ("memory of STM32F746", M7, "stm32f746"),
        ("zero-wait M4", M4, None),
        ("memory of STM32L4R5", M4, "stm32l4r5"),
    )
    columns = [networks(board, folder, assume=assume) for _, board, assume in settings]
    yield "| network | whose | " + " | ".join(title for title, _, _ in settings) + " |"
    yield "|---|---|" + "--:|" * len(settings)
    for name in NAMES:
        yield f"| {name} | µTVM | " + " | ".join(f"{cycles(rows[name, 'fast']) / 1e6:.3f}" for rows in columns) + " |"
        for peer, figures in columns[0][name, "fast"].peers.items():
            if "recorded" in peer:
                continue
            assert figures.exact
            cells = []
            for rows in columns:
                row = rows[name, "fast"]
                needed = row.peers[peer].cycles or 0
                cells.append(f"{needed / 1e6:.3f} ({needed / cycles(row):.1f}x)")
            lacks = f", without {figures.leaves_out}" if figures.leaves_out else ""
            yield f"| {name} | {peer}{lacks} | " + " | ".join(cells) + " |"


def layer_table(_: Path) -> Iterator[str]:
    """Yield every recorded layer on both cores."""
    yield "| layer | M7 cycles | CMSIS-NN | | 4.0.0 | M4 cycles | CMSIS-NN | | 4.0.0 |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|--:|"
    for pair in zip(bench_layers(M7), bench_layers(M4), strict=True):
        cells = [pair[0].name]
        for row in pair:
            same_run = row.peers[CMSIS_NN]
            assert row.exact
            assert same_run.exact is not False
            ours, theirs = cycles(row), recorded_cycles(row)
            cells += [f"{ours:,}", f"{theirs:,}", f"{theirs / ours:.1f}x"]
            cells.append("" if same_run.cycles is None else f"{same_run.cycles:,}")
        yield "| " + " | ".join(cells) + " |"


def aligned_table(folder: Path) -> Iterator[str]:
    """Yield million cycles on both cores, and on boards whose files say `unaligned = false`."""
    files = {
        board: (resources.files("utvm.boards") / f"{board}.toml").read_text(encoding="utf-8") for board in (M7, M4)
    }
    aligned = {board: parse_board(board, f"unaligned = false\n{text}") for board, text in files.items()}
    yield "| network | M7 | M7 aligned | M4 | M4 aligned |"
    yield "|---|--:|--:|--:|--:|"
    for name, title in {**NAMES, "sww": "streaming wake word (SWW)"}.items():
        path = path_of(folder, name)
        needed = [silicon.our_cycles(path, board) for each in (M7, M4) for board in (each, aligned[each])]
        yield f"| {title} | " + " | ".join(f"{each / 1e6:.3f}" for each in needed) + " |"


def cycles(row: Row) -> int:
    """Return a row's cycles, which both boards have."""
    assert row.cycles is not None
    return row.cycles


def path_of(folder: Path, name: str) -> Path:
    """Return a network's file."""
    pattern = "*q7*.npz" if name == "cifar10" else f"{name}_*.tflite"
    return sorted(folder.rglob(pattern))[0]


TABLES: Mapping[str, Callable[[Path], Iterator[str]]] = {
    "networks": network_table,
    "plans": plan_table,
    "assumptions": assumption_table,
    "choices": choice_table,
    "peers": peer_table,
    "layers": layer_table,
    "aligned": aligned_table,
    "fastest": silicon.fastest_table,
    "paper": silicon.paper_table,
    "microtvm": silicon.microtvm_tables,
}


if __name__ == "__main__":
    try:
        main()
    except UtvmError as error:
        sys.exit(f"report: {error}")
