"""Networks and drawn layers by two tables of one core's pipeline, and CMSIS-NN by both: tables of docs/cycle-model.md.

    python benchmarks/pipelines.py --models DIR [--boards A,B] [--write]
    python benchmarks/pipelines.py --layers --json FILE [--boards A,B] [--kinds conv,depthwise] [--write]
    python benchmarks/pipelines.py --models DIR --unaligned [--write]
    python benchmarks/pipelines.py --layers --unaligned [--kinds pool,move] [--write]

Columns: kernels made for the compilers' table, priced by it, by the measured one and by the pessimistic one; kernels
made for the measured table (the default), priced by that and by the pessimistic one, and as shares of what they take by
the measured one: without banks (the rest is lost to loads of one bank), and with one load a cycle (what pairs of loads
whose banks nobody knows can cost at most). CMSIS-NN 4.0.0 by both tables, where it has the operators. One run gives
counts that every table prices.

--layers does the same for the layers of `benchmarks/layers.py` and prints a summary; rows are saved to the file as they
are measured, and those that it has are not measured again. --unaligned prints where kernels access words or halfwords
that are not aligned, of networks or of all drawn layers, and what the same calls take without.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tables import DOCS, write_table

from utvm import api
from utvm.bench import measure_cmsis_nn
from utvm.bench.drawn import drawn_layers
from utvm.boards import Board
from utvm.codegen import ARENA_SYMBOL, step_symbol
from utvm.cores.measured import measured_facts, measured_timing
from utvm.cores.timing import InOrderPipeline, Timing
from utvm.device import Session, link_opener
from utvm.emulators import QemuTarget, emulator_target, get_assumption
from utvm.emulators.counters import Counts
from utvm.emulators.cycles import CycleModel
from utvm.errors import UtvmError
from utvm.frontends import load
from utvm.graph import Graph
from utvm.graph.samples import random_input
from utvm.toolchain import default_cache_directory, instruction_listing
from utvm.tuning import NO_RECORDS

NETWORKS = {"KWS": "kws_*.tflite", "AD": "ad_*.tflite", "IC": "ic_*.tflite", "VWW": "vww_*.tflite",
            "SWW": "sww_*.tflite", "CIFAR-10": "*q7*.npz"}  # fmt: skip
BOARDS = "qemu-cortex-m7,qemu-cortex-m4,qemu-cortex-m33"
OLD, MEASURED, PESSIMISTIC = "compilers", "measured", "pessimistic-m7"
NO_BANKS, ONE_LOAD = "without banks", "one load a cycle"
WORST = 5
BAR = 1.05
"""Cycles of kernels made for the measured table, as a share of the compilers', over which a layer is counted."""
LAYER_COLUMNS = (
    *("measured", "made for measured", "worst", "over 1.05", "pessimistic", "the same"),
    *("CMSIS-NN, measured", "times as fast, median", "measured", "times as fast, worst", "measured"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A network or layer on a board, in modelled cycles.

    Attributes:
        own: of kernels made for the compilers' table, by table.
        made: of kernels made for the measured table, by table.
        peer: of CMSIS-NN 4.0.0 by table; empty where it lacks an operator.
        misaligned: accesses of the kernels made for the measured table that are not aligned.
        turns: how often their most frequent block runs.
    """

    board: str
    name: str
    own: Mapping[str, int]
    made: Mapping[str, int]
    peer: Mapping[str, int]
    misaligned: int
    turns: int


def main() -> None:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--models", type=Path, metavar="DIR")
    parser.add_argument("--layers", action="store_true")
    parser.add_argument("--unaligned", action="store_true")
    parser.add_argument("--json", type=Path, metavar="FILE", help="rows of layers as JSON lines")
    parser.add_argument("--boards", default=BOARDS, metavar="A,B,...")
    parser.add_argument("--kinds", help="only layers of these kinds")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/cycle-model.md")
    arguments = parser.parse_args()
    boards = arguments.boards.split(",")
    kinds = None if arguments.kinds is None else set(arguments.kinds.split(","))
    if arguments.layers and arguments.unaligned:
        drawn = {layer.name: layer.graph for layer in drawn_layers() if kinds is None or layer.kind in kinds}
        name, lines = "unaligned-layers", list(unaligned_table(drawn, boards))
    elif arguments.layers:
        name, lines = "pipeline-layers", list(layers_table(boards, arguments.json, kinds))
    elif arguments.models is None:
        parser.error("give --models DIR or --layers")
    elif arguments.unaligned:
        loaded = {name: load(path) for name, path in networks(arguments.models).items()}
        name, lines = "unaligned", list(unaligned_table(loaded, boards))
    else:
        name, lines = "pipelines", [line for board in boards for line in networks_table(arguments.models, board)]
    print("\n".join(lines))
    if arguments.write:
        write_table(DOCS / "cycle-model.md", name, lines)


def networks_table(models: Path, board: str) -> Iterator[str]:
    """Yield the rows of a board."""
    pessimistic = PESSIMISTIC in tables(board)
    headings = ["compilers' table", "measured", "made for measured"]
    headings += ["pessimistic", "the same", NO_BANKS, ONE_LOAD] if pessimistic else []
    yield (
        "| "
        + " | ".join([board, *headings, "CMSIS-NN, compilers' table", "measured", "ours times as fast", "misaligned"])
        + " |"
    )
    yield "|---|" + "--:|" * (len(headings) + 4)
    for name, path in networks(models).items():
        row = measured_row(load(path), board, name)
        base = row.own[OLD]
        found = [row.own[MEASURED], row.made[MEASURED]]
        found += [row.own[PESSIMISTIC], row.made[PESSIMISTIC]] if pessimistic else []
        cells = [f"{base:,}", *(f"{each / base:.3f}" for each in found)]
        if pessimistic:
            cells += [f"{row.made[table] / row.made[MEASURED]:.3f}" for table in (NO_BANKS, ONE_LOAD)]
        if row.peer:
            both = row.peer[OLD] / base, row.peer[MEASURED] / row.made[MEASURED]
            cells += [f"{row.peer[OLD]:,}", f"{row.peer[MEASURED] / row.peer[OLD]:.3f}", "{:.2f}, {:.2f}".format(*both)]
        else:
            cells += ["", "", ""]
        yield "| " + " | ".join([name, *cells, str(row.misaligned)]) + " |"
    yield ""


def layers_table(boards: Sequence[str], file: Path | None, chosen: set[str] | None) -> Iterator[str]:
    """Measure the layers that the file lacks and yield, by board, how their cycles are spread, and the worst."""
    rows = (
        [] if file is None or not file.exists() else [Row(**json.loads(line)) for line in file.open(encoding="utf-8")]
    )
    done = {(row.board, row.name) for row in rows}
    layers = [layer for layer in drawn_layers() if chosen is None or layer.kind in chosen]
    kinds = {layer.name: layer.kind for layer in layers}
    for board in boards:
        for layer in layers:
            if (board, layer.name) not in done:
                rows.append(measured_row(layer.graph, board, layer.name))
                if file is not None:
                    with file.open("a", encoding="utf-8") as saved:
                        saved.write(json.dumps(asdict(rows[-1])) + "\n")
    yield from layers_summary(boards, rows, kinds)


def layers_summary(boards: Sequence[str], rows: Sequence[Row], kinds: Mapping[str, str]) -> Iterator[str]:
    """Yield, by board and kind of layer, how cycles are spread, and the worst; `kinds` is name → kind."""
    rows = [row for row in rows if row.name in kinds]
    headings = ("board", "kind", "layers", *LAYER_COLUMNS)
    yield "| " + " | ".join(headings) + " |"
    yield "|---|---|" + "--:|" * (len(headings) - 2)
    for board in boards:
        mine = [row for row in rows if row.board == board]
        for kind in (*dict.fromkeys(kinds.values()), None):
            some = [row for row in mine if kind in (None, kinds[row.name])]
            if some:
                yield f"| {board} | {kind or '**all**'} | {len(some)} | " + " | ".join(layer_cells(some)) + " |"
    yield ""
    yield f"The {WORST} of each board that lose most:"
    yield ""
    yield "| board | layer | compilers' table | measured | made for measured |"
    yield "|---|---|--:|--:|--:|"
    for board in boards:
        mine = sorted((row for row in rows if row.board == board), key=lambda row: -lost(row))
        for row in mine[:WORST]:
            changes = f"{row.own[MEASURED] / row.own[OLD]:.3f} | {lost(row):.3f}"
            yield f"| {board} | {row.name.replace('_', ' ')} | {row.own[OLD]:,} | {changes} |"


def layer_cells(rows: Sequence[Row]) -> list[str]:
    """Return the cells of some layers: ratios to the compilers' table, and CMSIS-NN's cycles by ours."""
    made = [lost(row) for row in rows]
    cells = [f"{statistics.median(row.own[MEASURED] / row.own[OLD] for row in rows):.3f}"]
    cells += [f"{statistics.median(made):.3f}", f"{max(made):.3f}", str(sum(ratio > BAR for ratio in made))]
    for of in ("own", "made"):
        priced = [getattr(row, of)[PESSIMISTIC] / row.own[OLD] for row in rows if PESSIMISTIC in row.own]
        cells.append(f"{statistics.median(priced):.3f}" if priced else "")
    with_peer = [row for row in rows if row.peer]
    if not with_peer:
        return [*cells, *[""] * 5]
    cells.append(f"{statistics.median(row.peer[MEASURED] / row.peer[OLD] for row in with_peer):.3f}")
    old = [row.peer[OLD] / row.own[OLD] for row in with_peer]
    new = [row.peer[MEASURED] / row.made[MEASURED] for row in with_peer]
    times = (statistics.median(old), statistics.median(new), min(old), min(new))
    return [*cells, *(f"{value:.2f}" for value in times)]


def lost(row: Row) -> float:
    """Return cycles of kernels made for the measured table, by it, as a share of the compilers'."""
    return row.made[MEASURED] / row.own[OLD]


def measured_row(graph: Graph, board: str, name: str) -> Row:
    """Run both plans of a graph and CMSIS-NN on a board."""
    inputs = {tensor.name: random_input(tensor, index) for index, tensor in enumerate(graph.inputs)}
    own, *_ = priced(graph, inputs, board, OLD)
    made, misaligned, turns = priced(graph, inputs, board, None)
    peer = {}
    with suppress(UtvmError):
        for assume in (OLD, MEASURED):
            session, _ = connected(board, assume)
            cycles = measure_cmsis_nn(session, graph, inputs).cycles
            assert cycles is not None
            peer[assume] = cycles
    return Row(board=board, name=name, own=own, made=made, peer=peer, misaligned=misaligned, turns=turns)


def priced(
    graph: Graph, inputs: Mapping[str, NDArray[np.generic]], board: str, made_for: str | None
) -> tuple[dict[str, int], int, int]:
    """Return the modelled cycles of one run by each table, its accesses that are not aligned and its most turns."""
    session, target = connected(board, None)
    compiled = api.compile(graph, session.board, assume=made_for, records=NO_RECORDS)
    api.Model(session, compiled).run(inputs)
    counts = target.counts()
    assert counts is not None
    listing = instruction_listing(compiled.image)
    found = {}
    for table, timing in tables(board).items():
        cycles = CycleModel(listing, timing).cycles(counts)
        assert cycles is not None
        found[table] = cycles
    return found, *unaligned(counts)


def unaligned(counts: Counts) -> tuple[int, int]:
    """Return accesses that are not aligned, and how often the most frequent block runs."""
    accesses = counts.misaligned["unaligned_load"] + counts.misaligned["unaligned_store"]
    return accesses, int(counts.edges["count"].max())


def unaligned_table(graphs: Mapping[str, Graph], boards: Sequence[str]) -> Iterator[str]:
    """Yield each call with accesses that are not aligned, and how many graphs have none.

    A loop's accesses are as many as its turns: a call whose most frequent block runs far more often than it has such
    accesses has them outside its inner loop. "Aligned alone" are the cycles of the same call made for a board that
    traps them: where these are more, the accesses pay.
    """
    yield "| board | graph | call | family | not aligned | of inner loop, each turn | cycles | aligned alone |"
    yield "|---|---|---|---|--:|--:|--:|--:|"
    for board in boards:
        session, target = connected(board, None)
        core = session.board.core
        flags = (*core.cflags, "-mno-unaligned-access")
        trapping = replace(session.board, core=replace(core, unaligned=False, cflags=flags))
        without = 0
        for name, graph in graphs.items():
            found = list(steps_of(graph, session, target, session.board))
            if not any(step.accesses for step in found):
                without += 1
                continue
            for step, other in zip(found, steps_of(graph, session, target, trapping), strict=True):
                if step.accesses:
                    times = other.cycles / step.cycles
                    cells = f"{step.accesses:,} | {step.accesses / step.turns:.2f} | {step.cycles:,} | {times:.3f}"
                    yield f"| {board} | {name.replace('_', ' ')} | {step.call} | {step.family} | {cells} |"
        yield f"| {board} | {without} of {len(graphs)} | all | | 0 | | | |"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A call, its cycles, its accesses that are not aligned, and how often its most frequent block runs."""

    call: str
    family: str
    cycles: int
    accesses: int
    turns: int


def steps_of(graph: Graph, session: Session, target: QemuTarget, board: Board) -> Iterator[Step]:
    """Run a graph that is compiled for `board` call by call."""
    compiled = api.compile(graph, board, records=NO_RECORDS, steps=True)
    model = api.Model(session, compiled)
    model.write_inputs({t.name: random_input(t, i) for i, t in enumerate(compiled.program.graph.inputs)})
    arena = compiled.image.symbol(ARENA_SYMBOL).address
    for index, call in enumerate(compiled.program.calls):
        cycles = session.call(step_symbol(compiled.program.name, index), arena).cycles
        counts = target.counts()
        assert cycles is not None
        assert counts is not None
        accesses, turns = unaligned(counts)
        what = f"{index}: {call.op.kind}"
        yield Step(call=what, family=call.kernel.family, cycles=cycles, accesses=accesses, turns=turns)


@lru_cache
def tables(board: str) -> Mapping[str, Timing]:
    """Return the tables of a board's core: the compilers', the measured one, and a pessimistic one if there is one."""
    core = api.as_board(board).core
    found = {}
    for name in (OLD, MEASURED, PESSIMISTIC):
        with suppress(UtvmError):
            found[name] = get_assumption(name, core.name).timings[core.name]
    measured = found.get(MEASURED)
    if "banks" in measured_facts(core.name) and isinstance(measured, InOrderPipeline):
        found[NO_BANKS] = measured_timing(core.name, {"banks": False}, f"{measured.name}, {NO_BANKS}")
        found[ONE_LOAD] = replace(measured, units={**measured.units, "load": 1})
    return found


@lru_cache
def connected(board: str, assume: str | None) -> tuple[Session, QemuTarget]:
    """Return a session on an emulated board and what counts in it."""
    described = api.as_board(board)
    assumption = None if assume is None else get_assumption(assume, described.core.name)
    target = emulator_target(described, cache_directory=default_cache_directory(), assume=assumption)
    assert isinstance(target, QemuTarget)
    return Session(described, target, link_opener(described)), target


def networks(models: Path) -> dict[str, Path]:
    """Return the networks' files by name."""
    return {name: sorted(models.rglob(pattern))[0] for name, pattern in NETWORKS.items()}


if __name__ == "__main__":
    main()
