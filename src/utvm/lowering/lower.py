"""Graph → Program: a kernel for each operator, lifetimes, arena offsets."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from utvm.cores import Core
from utvm.graph import Graph
from utvm.kernels import FAMILIES, KernelFamily
from utvm.lowering.budget import FlashError, RamError, choose, cycles_of, frontier, least_cycles, undominated
from utvm.lowering.errors import FlashBudgetError, LoweringError, RamBudgetError
from utvm.lowering.explored import Explored
from utvm.lowering.layout import Choice, Layout, ram_advice
from utvm.lowering.plan import BUFFER_ALIGNMENT
from utvm.lowering.program import Program
from utvm.lowering.select import Candidate, Measurements
from utvm.lowering.stores import with_stores

_PROBES = 8
"""Arenas that are tried between one that is too small and one that fits."""
_MOST_LOWERINGS = 40
"""Searches, of the graph and of such in stripes, after which advice is the least arena that was found by then."""


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
    explored: Explored | None = None,
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
        explored: what calls that differ in their budgets alone share.

    Raises:
        LoweringError: operators that no kernel family computes (all of them are named), or a budget that no choice
            of kernels meets.
    """
    graph = with_stores(graph)
    limits = _Limits(
        core=core,
        name=name,
        families=families,
        choices=choices or {},
        measured=measured or {},
        flash=flash,
        ram=ram,
        explored=explored or Explored(),
    )
    try:
        return _lowered(graph, limits, stripes=stripes).program
    except RamBudgetError as error:
        fits = _least_ram(graph, limits, error.needed, stripes=stripes)
        raise RamBudgetError(error.reason, fits or error.needed, advice=ram_advice(fits)) from None


def _least_ram(graph: Graph, limits: _Limits, guess: int, *, stripes: bool) -> int | None:
    """Return the smallest arena that is found where `limits` allow less, bytes; None if flash does not allow any.

    The arena without a limit surely fits. A program within `guess` may too, or within twice that; then halves of what
    is left.
    """
    most = limits.explored.lowerings + _MOST_LOWERINGS

    def arena(ram: int | None) -> int | None:
        try:
            return _lowered(graph, replace(limits, ram=ram), stripes=stripes).program.arena_bytes
        except LoweringError:
            return None

    short, fits = limits.ram or 0, arena(None)
    while fits is not None and guess < fits:
        found = arena(guess)
        if found is not None:
            fits = found
            break
        short, guess = guess, 2 * guess
    for _ in range(_PROBES):
        if fits is None or fits - short <= BUFFER_ALIGNMENT or limits.explored.lowerings >= most:
            break
        middle = (short + fits) // 2
        found = arena(middle)
        if found is None:
            short = middle
        else:
            fits = found
    # Where the flash is no budget, a limit can make a plan smaller than the limit that was found without one.
    return fits if fits is None else arena(fits) or fits


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

    Last resorts are left out: they are several times slower.

    Args:
        graph, core, name, families, measured: as for `lower`.
        most: so many for each limit of the arena are enough, spread over the flash; None is all.

    Raises:
        LoweringError: operators that no kernel family computes.
    """
    layout = Layout(with_stores(graph), core, name)
    every = layout.options(families, {}, measured or {})
    options = [[candidate for candidate in choices if not candidate.last_resort] for choices in every]
    points = frontier(options, memory=layout, most=most)
    return [FrontierPoint(cycles=point.cycles, program=layout.program(point.picked)) for point in undominated(points)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Limits:
    """What `lower` was asked for, but the graph."""

    core: Core
    name: str | None
    families: Sequence[KernelFamily]
    choices: Mapping[str, Choice]
    measured: Measurements
    flash: int | None
    ram: int | None
    explored: Explored


def _lowered(graph: Graph, limits: _Limits, *, stripes: bool, last_resorts: bool = True) -> FrontierPoint:
    """Return the program with the fewest cycles, whole or in stripes."""
    limits.explored.lowerings += 1
    layout = Layout(graph, limits.core, limits.name)
    options = layout.options(limits.families, limits.choices, limits.measured, limits.explored)
    if not last_resorts:
        options = [[c for c in choices if not c.last_resort] for choices in options]
    whole: FrontierPoint | None = None
    try:
        picked = choose(options, flash=limits.flash, ram=limits.ram, memory=layout)
        bound = least_cycles(options, flash=limits.flash, ram=limits.ram, memory=layout)
        whole = FrontierPoint(cycles=cycles_of(picked), program=layout.program(picked, bound))
        stripes = stripes and limits.ram is not None and any(c.last_resort for c in picked)
    except FlashError as short:
        raise FlashBudgetError(layout.short_of_flash(short, options, limits.flash or 0), short.needed) from None
    except RamError as short:
        error = RamBudgetError(layout.short_of_ram(short, limits.ram or 0), short.needed)
    striped = _in_stripes(graph, layout, options, limits, whole) if stripes else None
    found = [point for point in (whole, striped) if point is not None]
    if not found:
        raise error
    return min(found, key=lambda point: point.cycles)


def _in_stripes(
    graph: Graph,
    layout: Layout,
    options: Sequence[Sequence[Candidate]],
    limits: _Limits,
    whole: FrontierPoint | None,
) -> FrontierPoint | None:
    """Return the program with its first layers in stripes, of those that fit the one with the least work; None fits.

    Last resorts, which mostly cost more than repeated rows, are taken only where nothing else fits.
    """
    assert limits.ram is not None
    if not layout.operators:
        return None
    for last_resorts in (False, True) if whole is None else (False,):
        floors = [
            min(layout.floor(index, c) for c in choices if last_resorts or not c.last_resort)
            for index, choices in enumerate(options)
        ]
        after = max((index for index, floor in enumerate(floors) if floor > limits.ram), default=0)
        stripes = limits.explored.stripes(graph)
        for patching in stripes.patchings(limits.ram, after=graph.operators.index(layout.operators[after])):
            with contextlib.suppress(LoweringError):
                found = _lowered(patching.graph, limits, stripes=False, last_resorts=last_resorts)
                # Stripes only add work: the whole without a limit of the RAM bounds them.
                bound = least_cycles(options, flash=limits.flash, ram=None, memory=layout)
                return replace(found, program=replace(found.program, least_cycles=bound))
    return None
