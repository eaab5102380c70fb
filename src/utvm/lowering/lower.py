"""Graph → Program: a kernel for each operator, lifetimes, arena offsets."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from utvm.cores import Core
from utvm.graph import Graph
from utvm.kernels import FAMILIES, KernelFamily
from utvm.lowering.budget import FlashError, Point, RamError, choose, frontier
from utvm.lowering.errors import FlashBudgetError, LoweringError
from utvm.lowering.layout import Choice, Layout
from utvm.lowering.patches import patchings
from utvm.lowering.program import Program
from utvm.lowering.select import Candidate, Measurements


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontierPoint:
    """A program that has the fewest cycles with its arena and flash. Cycles as in `Candidate`."""

    cycles: float
    program: Program


def lower(
    graph: Graph,
    core: Core,
    *,
    name: str | None = None,
    families: Sequence[KernelFamily] = FAMILIES,
    choices: Mapping[str, Choice] | None = None,
    measured: Measurements | None = None,
    flash: int | None = None,
    ram: int | None = None,
    stripes: bool = True,
) -> Program:
    """Choose a kernel for each operator and place every activation in the arena.

    Args:
        graph: the graph after all passes.
        core: what the code is for.
        name: the C prefix of the model; the graph's name if None.
        families: what may be chosen: the fewest cycles that the budgets allow, measured or estimated.
        choices: family and config of operators by their names, instead.
        measured: what is known of workloads from trials on a board.
        flash: bytes that all constants and micro-kernels may take; None is no limit, but of what is nearly as fast the
            smallest is taken.
        ram: bytes that the arena may take; None is no limit.
        stripes: whether the first layers may be computed in stripes where nothing else fits `ram`.

    Raises:
        LoweringError: operators that no kernel family computes (all of them are named), or a budget that no choice
            of kernels meets.
    """
    layout = Layout(graph, core, name)
    options = layout.options(families, choices or {}, measured or {})
    try:
        picked = choose(options, flash=flash, ram=ram, floor=layout.floor, arena_of=layout.arena_bytes)
    except RamError as short:
        found = (
            _in_stripes(
                graph,
                layout,
                options,
                ram or 0,
                partial(
                    lower,
                    core=core,
                    name=name,
                    families=families,
                    choices=choices,
                    measured=measured,
                    flash=flash,
                    ram=ram,
                    stripes=False,
                ),
            )
            if stripes
            else None
        )
        if found is None:
            raise LoweringError(layout.short_of_ram(short, ram or 0)) from None
        return found
    except FlashError as short:
        raise FlashBudgetError(layout.short_of_flash(short, options, flash or 0), short.needed) from None
    return layout.program(picked)


def lower_frontier(
    graph: Graph,
    core: Core,
    *,
    name: str | None = None,
    families: Sequence[KernelFamily] = FAMILIES,
    measured: Measurements | None = None,
    most: int | None = None,
) -> list[FrontierPoint]:
    """Return the programs that no other beats in cycles, arena and flash together, the fewest cycles first.

    Last resorts for a small flash are left out: they are several times slower.

    Args:
        graph, core, name, families, measured: as for `lower`.
        most: so many for each limit of the arena are enough, spread over the flash; None is all.

    Raises:
        LoweringError: operators that no kernel family computes.
    """
    layout = Layout(graph, core, name)
    every = layout.options(families, {}, measured or {})
    options = [[candidate for candidate in choices if not candidate.last_resort] for choices in every]
    points = frontier(options, floor=layout.floor, arena_of=layout.arena_bytes, most=most)
    return [
        FrontierPoint(cycles=point.cycles, program=layout.program(point.picked)) for point in _undominated(list(points))
    ]


def _undominated(points: list[Point]) -> list[Point]:
    kept: list[Point] = []
    for point in sorted(points, key=lambda p: (p.cycles, p.arena_bytes, p.flash_bytes)):
        if not any(k.arena_bytes <= point.arena_bytes and k.flash_bytes <= point.flash_bytes for k in kept):
            kept.append(point)
    return kept


def _in_stripes(
    graph: Graph,
    layout: Layout,
    options: Sequence[Sequence[Candidate]],
    ram: int,
    lower_whole: Callable[[Graph], Program],
) -> Program | None:
    """Return the program with its first layers in stripes, of those that fit the one with the least work; None fits."""
    floors = [
        min(layout.floor(index, c) for c in choices if not c.last_resort) for index, choices in enumerate(options)
    ]
    after = max((index for index, floor in enumerate(floors) if floor > ram), default=0)
    for patching in patchings(graph, ram, after=graph.operators.index(layout.operators[after])):
        with contextlib.suppress(LoweringError):
            return lower_whole(patching.graph)
    return None
