"""One row a network or layer: our cost on an emulated board, whether it is exact, and what others need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from utvm import api
from utvm.bench.bakenn import PORTABLE, WITH_CMSIS_NN, measure_bakenn
from utvm.bench.cmsis_nn import CMSIS_NN, measure_cmsis_nn
from utvm.bench.figures import Figures, PeerError
from utvm.bench.layers import layer_graph
from utvm.bench.recorded_peers import RECORDED_ORIGIN, recorded
from utvm.boards import Board
from utvm.device import Session
from utvm.errors import UtvmError
from utvm.frontends import load
from utvm.graph import Graph
from utvm.graph.cost import macs
from utvm.graph.reference import evaluate
from utvm.graph.samples import random_input
from utvm.toolchain import MemoryOverflowError
from utvm.tuning import NO_RECORDS

PLANS: Mapping[str, Mapping[str, Any]] = {
    "fast": {},
    "256 KB flash": {"flash": 256 * 1024},
    "small": {"small": True},
}
"""Plan → options of `api.compile`."""

_PEERS = (CMSIS_NN, WITH_CMSIS_NN, PORTABLE)
_NETWORKS = {
    "ic": ("ic", "resnet"),
    "vww": ("vww", "mobilenet"),
    "kws": ("kws", "dscnn"),
    "ad": ("ad", "autoencoder"),
}
_RECORDED_NETWORKS = {
    "cifar10": ("cifar10_arm_q7", "cifar10_arm"),
    "ic": ("mlperf_ic_resnet8",),
    "vww": ("mlperf_vww_mobilenetv1_025_96",),
    "kws": ("mlperf_kws_dscnn",),
    "ad": ("mlperf_ad_autoencoder",),
}
_TALK_LAYERS = (
    "q7_conv1_RGB_32x32x3_32_k5",
    "q7_conv2_fast_16x16x32_16_k5",
    "q7_conv3_fast_8x8x16_32_k5",
    "q7P_conv2_fast_16x16x32_32_k5",
    "q7P_conv3_fast_8x8x32_64_k5",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One network or layer under one plan on one board."""

    name: str
    board: str
    plan: str
    macs: int
    instructions: int | None
    cycles: int | None
    cycles_source: str | None
    arena_bytes: int
    flash_bytes: int
    exact: bool
    peers: Mapping[str, Figures] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoRow:
    """A plan that this network can't have on this board, and why."""

    name: str
    plan: str
    reason: str


def bench_talk(
    board: str | Path | Board, models: Path | None, *, example: Path | None = None, assume: str | None = None
) -> Iterator[Row | NoRow]:
    """Yield the talk's network under each plan, and its convolutions beside the legacy q7 kernels.

    Args:
        board: where to run.
        models: a directory that has Arm's network as a q7 archive (.npz); None, or without one, `example` is used.
        example: a network of the same shape.
        assume: as in `utvm.connect`.

    Raises:
        UtvmError: a tool, the board or both networks are missing.
    """
    target = api.as_board(board)
    archives = sorted(models.rglob("*q7*.npz")) if models is not None else []
    network = archives[0] if archives else example
    if network is None:
        raise UtvmError("no network to run: give --models a directory with the q7 archive, or run in a checkout")
    with api.connect(target, assume=assume) as session:
        yield from _network(
            session, "cifar10", network, peers=_PEERS if network.suffix == ".tflite" else (CMSIS_NN,), assume=assume
        )
        for name in _TALK_LAYERS:
            yield _layer(session, name, assume)


def bench_mlperf_tiny(board: str | Path | Board, models: Path, *, assume: str | None = None) -> Iterator[Row | NoRow]:
    """Yield MLPerf Tiny's networks under each plan.

    Args:
        board: where to run.
        models: a directory with the .tflite files; their names tell which is which.
        assume: as in `utvm.connect`.

    Raises:
        UtvmError: none is there, or a tool or the board is missing.
    """
    found = {name: path for name, marks in _NETWORKS.items() if (path := _find(models, marks)) is not None}
    if not found:
        raise UtvmError(
            f"{models} has none of MLPerf Tiny's int8 networks (.tflite named after {', '.join(_NETWORKS)})"
        )
    with api.connect(board, assume=assume) as session:
        for name, path in found.items():
            yield from _network(session, name, path, peers=_PEERS, assume=assume)


def bench_layers(board: str | Path | Board, *, assume: str | None = None) -> Iterator[Row]:
    """Yield every recorded layer that is an operator of ours, beside the recorded figures."""
    with api.connect(board, assume=assume) as session:
        for kind, name in recorded():
            if kind == "layer" and layer_graph(name) is not None:
                yield _layer(session, name, assume)


def _find(folder: Path, marks: Sequence[str]) -> Path | None:
    paths = sorted(folder.rglob("*.tflite"))
    return next((p for p in paths if p.stem.lower().startswith(marks[0]) or marks[1] in p.stem.lower()), None)


def _network(
    session: Session, name: str, path: Path, *, peers: Sequence[str], assume: str | None
) -> Iterator[Row | NoRow]:
    graph = load(path)
    inputs = {tensor.name: random_input(tensor, index) for index, tensor in enumerate(graph.inputs)}
    others = dict(_recorded_figures("net", _RECORDED_NETWORKS[name], session.board.core.name))
    others |= _measured(session, graph, inputs, peers)
    for plan, options in PLANS.items():
        try:
            yield _measure(session, name, graph, inputs, plan, options, others, assume)
        except UtvmError as error:
            if plan == "fast":
                raise
            yield NoRow(name=name, plan=plan, reason=str(error))


def _layer(session: Session, name: str, assume: str | None = None) -> Row:
    graph = layer_graph(name)
    assert graph is not None
    inputs = {tensor.name: random_input(tensor, index) for index, tensor in enumerate(graph.inputs)}
    others = _recorded_figures("layer", (name,), session.board.core.name)
    others |= _measured(session, graph, inputs, (CMSIS_NN, PORTABLE))
    return _measure(session, name, graph, inputs, "fast", {}, others, assume)


def _measure(
    session: Session,
    name: str,
    graph: Graph,
    inputs: Mapping[str, NDArray[np.generic]],
    plan: str,
    options: Mapping[str, Any],
    peers: Mapping[str, Figures],
    assume: str | None,
) -> Row:
    compiled = api.compile(graph, session.board, assume=assume, records=NO_RECORDS, **options)
    result = api.Model(session, compiled).run(inputs)
    expected = evaluate(graph, inputs)
    exact = all((result.outputs[tensor.name] == expected[tensor.name]).all() for tensor in graph.outputs)
    measured = result.measurement
    return Row(
        name=name,
        board=session.board.name,
        plan=plan,
        macs=macs(graph),
        instructions=measured.instructions,
        cycles=measured.cycles,
        cycles_source=measured.cycles_source,
        arena_bytes=compiled.program.arena_bytes,
        flash_bytes=compiled.image.flash_bytes,
        exact=exact,
        peers=dict(peers),
    )


def _recorded_figures(kind: str, names: Sequence[str], core: str) -> dict[str, Figures]:
    found = {}
    for name in names:
        entry = recorded()[kind, name]
        if core in entry.cycles:
            found[f"cmsis-nn {entry.library} (recorded)"] = Figures(
                instructions=entry.instructions[core],
                cycles=entry.cycles[core],
                source=f"recorded: {RECORDED_ORIGIN[entry.library]}",
            )
    return found


def _measured(
    session: Session, graph: Graph, inputs: Mapping[str, NDArray[np.generic]], peers: Sequence[str]
) -> dict[str, Figures]:
    found = {}
    for peer in peers:
        try:
            if peer == CMSIS_NN:
                found[peer] = measure_cmsis_nn(session, graph, inputs)
            else:
                found[peer] = measure_bakenn(session, graph, peer, inputs)
        except (PeerError, MemoryOverflowError) as error:
            found[peer] = Figures(source=f"not measured: {error}")
    return found


def rows_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return rows as JSON values."""
    return [asdict(row) for row in rows]


def rows_table(rows: Sequence[Row]) -> Table:
    """Return rows as a table, under the plans of each name what its peers need."""
    source = next((row.cycles_source for row in rows if row.cycles_source), "cycles")
    table = Table(caption=f"cycles: {source}; x: how many times the cycles of the first plan", caption_justify="left")
    headings = ("name", "plan or peer", "MACs", "instructions", "cycles", "x", "cycles/MAC", "arena", "flash", "exact")
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="left" if index in (0, 1) else "right", overflow="fold")
    for _, same in groupby(rows, lambda row: row.name):
        group = list(same)
        first = group[0]
        for row in group:
            table.add_row(row.name, row.plan, f"{row.macs:,}", *_cells(row, first), end_section=False)
        for name, figures in first.peers.items():
            lacks = f", without {figures.leaves_out}" if figures.leaves_out else ""
            why = f": {figures.source}" if figures.instructions is None else ""
            table.add_row("", f"{name}{lacks}{why}", "", *_cells(figures, first), style="dim")
        table.add_section()
    return table


def _cells(each: Row | Figures, first: Row) -> list[str]:
    """Return instructions, cycles and what follows, as text."""
    counts = (each.instructions, each.cycles, each.arena_bytes, each.flash_bytes)
    instructions, cycles, arena, flash = ("" if value is None else f"{value:,}" for value in counts)
    ratio = per_mac = ""
    if each.cycles is not None and first.cycles:
        ratio = "" if each is first else f"{each.cycles / first.cycles:.2f}"
        per_mac = f"{each.cycles / first.macs:.2f}" if first.macs else ""
    exact = "" if each.exact is None else "yes" if each.exact else "NO"
    return [instructions, cycles, ratio, per_mac, arena, flash, exact]
