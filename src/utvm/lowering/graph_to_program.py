"""Graph → Program: a kernel for each operator, lifetimes, arena offsets."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

from utvm.cores import Core
from utvm.graph import Graph
from utvm.lowering.budget import FlashError, Picked, RamError, choose, cycles_of, frontier, least_cycles, undominated
from utvm.lowering.errors import FlashBudgetError, LoweringError, RamBudgetError
from utvm.lowering.explored import Explored, contents
from utvm.lowering.layout import Layout, ram_advice
from utvm.lowering.options import Choice, Options
from utvm.lowering.plan import BUFFER_ALIGNMENT
from utvm.lowering.program import Program
from utvm.lowering.select import Candidate
from utvm.lowering.stores import with_stores
from utvm.lowering.windows import with_windows
from utvm.progress import say

_PROBES = 8
"""Arenas that are tried between one that is too small and one that fits."""
_LAST_PROBES = 2
"""So many of these are tried in any case, however much was searched."""
_LAST_PATCHINGS = 3
"""So many ways into stripes are tried in any case."""
_MOST_LOWERINGS = 40
"""Searches, of the graph and of such in stripes, after which advice is the least arena that was found by then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontierPoint:
    """A program that has the fewest cycles with its arena and flash. Cycles as in `Candidate`."""

    cycles: float
    program: Program


def lower(graph: Graph, core: Core, options: Options | None = None, *, explored: Explored | None = None) -> Program:
    """Choose a kernel for each operator and place every activation in the arena.

    Args:
        graph: the graph after all passes.
        core: what the code is for.
        options: what is asked for; the fastest without limits if None.
        explored: what calls that differ in their budgets alone share.

    Raises:
        LoweringError: operators that no kernel family computes (all of them are named), or a budget that no choice
            of kernels meets.
    """
    graph = with_windows(with_stores(graph))
    asked = _Asked(core=core, options=options or Options(), explored=explored or Explored())
    try:
        return _lowered(graph, asked).program
    except RamBudgetError as error:
        fits = _least_ram(graph, asked, error.needed)
        raise RamBudgetError(error.reason, fits or error.needed, advice=ram_advice(fits)) from None
    finally:
        asked.explored.keep()


def _least_ram(graph: Graph, asked: _Asked, guess: int) -> int | None:
    """Return the least RAM that is found where the budgets allow less, bytes; None if flash does not allow any.

    The arena without a limit surely fits. A program within `guess` may too, or within twice that; then halves of what
    is left. A limit may lead to stripes whose arena is smaller, while that arena as a limit leads to others: what is
    returned was tried.
    """
    most = asked.explored.lowerings + _MOST_LOWERINGS

    def arena(ram: int | None) -> int | None:
        say("looking for the least RAM that suffices")
        try:
            return _lowered(graph, asked.within(ram)).program.arena_bytes
        except LoweringError:
            return None

    short, fits = asked.options.ram or 0, arena(None)
    tried = fits
    while fits is not None and guess < fits:
        found = arena(guess)
        if found is not None:
            fits, tried = found, guess
            break
        short, guess = guess, 2 * guess
    for probe in range(_PROBES):
        if fits is None or fits - short <= BUFFER_ALIGNMENT or asked.explored.lowerings >= most:
            break
        if asked.explored.exhausted and probe >= _LAST_PROBES:
            break
        middle = (short + fits) // 2
        found = arena(middle)
        if found is None:
            short = middle
        else:
            fits, tried = found, middle
    # Where the flash is no budget, a limit can make a plan smaller than the limit that was found without one.
    for _ in range(2):
        if fits is None or (found := arena(fits)) is None:
            break
        fits, tried = found, fits
        if found == tried:
            break
    return tried


def lower_frontier(
    graph: Graph, core: Core, options: Options | None = None, *, most: int | None = None
) -> list[FrontierPoint]:
    """Return the programs that no other beats in cycles, arena and flash together, the fewest cycles first.

    Last resorts are left out: they are several times slower.

    Args:
        graph, core: as for `lower`.
        options: name, families and measurements; budgets and choices do not count.
        most: so many for each limit of the arena are enough, spread over the flash; None is all.

    Raises:
        LoweringError: operators that no kernel family computes.
    """
    asked = options or Options()
    layout = Layout(with_windows(with_stores(graph)), core, asked.name)
    every = layout.options(replace(asked, choices={}))
    options_left = [[candidate for candidate in choices if not candidate.last_resort] for choices in every]
    scheduled = []
    for number, choices in enumerate(options_left, 1):
        say(f"scheduling all kernels: {number} of {len(options_left)}")
        scheduled.append([c for c in choices if c.draft.settle()])
    say("looking for plans that no other beats")
    points = undominated(frontier(scheduled, memory=layout, most=most))
    programs: list[FrontierPoint] = []
    for number, point in enumerate(points, 1):
        say(f"writing kernels of plan {number} of {len(points)}")
        programs.append(FrontierPoint(cycles=point.cycles, program=layout.program(point.picked)))
    return programs


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What `lower` was asked for, but the graph."""

    core: Core
    options: Options
    explored: Explored

    def within(self, ram: int | None) -> _Asked:
        """Return the same with another limit of the arena."""
        return replace(self, options=replace(self.options, ram=ram))


def _lowered(graph: Graph, asked: _Asked, *, last_resorts: bool = True) -> FrontierPoint:
    """Return the program with the fewest cycles, whole or in stripes."""
    asked.explored.lowerings += 1
    layout = Layout(graph, asked.core, asked.options.name)
    options = layout.options(asked.options, asked.explored)
    if not last_resorts:
        options = [[c for c in choices if not c.last_resort] for choices in options]
    whole: FrontierPoint | None = None
    stripes = asked.options.stripes
    try:
        picked, options = _settled(options, _chooser(layout, asked))
        picked = _alike(picked, layout, asked.options)
        bound = least_cycles(options, flash=asked.options.flash, ram=asked.options.ram, memory=layout)
        whole = FrontierPoint(cycles=cycles_of(picked), program=layout.program(picked, bound))
        stripes = stripes and asked.options.ram is not None and any(c.last_resort for c in picked)
    except FlashError as short:
        raise FlashBudgetError(layout.short_of_flash(short, options, asked.options.flash or 0), short.needed) from None
    except RamError as short:
        error = RamBudgetError(layout.short_of_ram(short, asked.options.ram or 0), short.needed)
    striped = _in_stripes(graph, layout, options, asked, whole) if stripes else None
    found = [point for point in (whole, striped) if point is not None]
    if not found:
        raise error
    return min(found, key=lambda point: point.cycles)


def _chooser(layout: Layout, asked: _Asked) -> Callable[[list[list[Candidate]]], Picked]:
    """Return what chooses within the budgets; plans are counted, and those for less flash are limited by the count."""
    calls = len(layout.operators)
    most_plans = asked.explored.most_plans(calls)

    def chosen(options: list[list[Candidate]]) -> Picked:
        before = layout.plans
        try:
            return choose(
                options,
                flash=asked.options.flash,
                ram=asked.options.ram,
                memory=layout,
                most_plans=most_plans,
                most_plans_for_less=asked.explored.most_plans(calls),
            )
        finally:
            asked.explored.note_plans(layout.plans - before, calls)

    return chosen


def _settled(
    options: list[list[Candidate]], chosen: Callable[[list[list[Candidate]]], Picked]
) -> tuple[Picked, list[list[Candidate]]]:
    """Return what is chosen where all of that is scheduled, and the options without those that turned out not to hold.

    Estimates choose first. Schedules of what they chose correct them, until these choose the same.
    """
    while True:
        picked = chosen(options)
        vague = [candidate.draft for candidate in picked if not candidate.draft.is_settled]
        if not vague:
            return picked, options
        for number, draft in enumerate(vague, 1):
            say(f"scheduling what was chosen: {number} of {len(vague)}")
            draft.settle()
        options = [[c for c in choices if not c.draft.is_settled or c.draft.settle()] for choices in options]


def _alike(picked: Picked, layout: Layout, asked: Options) -> Picked:
    """Return what was picked with one kernel for operators that are equal, constants included, where that fits.

    Of several that were picked the fastest is taken that the flash suffices for: each operator was picked as if it paid
    for its share of one kernel alone. A kernel that was asked for by an operator's name is that of no operator without
    the same choice.
    """
    keys = [(contents(op), _chosen(asked.choices.get(op.name))) for op in layout.operators]
    groups: dict[tuple[Hashable, Hashable], list[Candidate]] = defaultdict(list)
    for key, candidate in zip(keys, picked, strict=True):
        groups[key].append(candidate)
    found = {key: min(group, key=lambda c: c.cycles) for key, group in groups.items()}
    if asked.flash is not None:
        taken = sum(found[key].flash_bytes for key in keys)
        for key, group in groups.items():
            if taken <= asked.flash:
                break
            others = taken - len(group) * found[key].flash_bytes
            fitting = [c for c in group if others + len(group) * c.flash_bytes <= asked.flash]
            found[key] = min(fitting, key=lambda c: c.cycles, default=min(group, key=lambda c: c.flash_bytes))
            taken = others + len(group) * found[key].flash_bytes
    alike = tuple(found[key] for key in keys)
    if all(a.draft is b.draft for a, b in zip(alike, picked, strict=True)):
        return picked
    return alike if asked.ram is None or layout.arena_bytes(alike) <= asked.ram else picked


def _chosen(choice: Choice | None) -> Hashable:
    return choice and (choice[0].name, *sorted(choice[1].items()))


def _in_stripes(
    graph: Graph,
    layout: Layout,
    options: Sequence[Sequence[Candidate]],
    asked: _Asked,
    whole: FrontierPoint | None,
) -> FrontierPoint | None:
    """Return the program with its first layers in stripes, of those that fit the one with the least work; None fits.

    Last resorts, which mostly cost more than repeated rows, are taken only where nothing else fits.
    """
    assert asked.options.ram is not None
    if not layout.operators:
        return None
    uncut = replace(asked, options=replace(asked.options, stripes=False))
    for last_resorts in (False, True) if whole is None else (False,):
        floors = [
            min(layout.floor(index, c) for c in choices if last_resorts or not c.last_resort)
            for index, choices in enumerate(options)
        ]
        after = max((index for index, floor in enumerate(floors) if floor > asked.options.ram), default=0)
        stripes = asked.explored.stripes(graph)
        after = graph.operators.index(layout.operators[after])
        for tried, patching in enumerate(stripes.patchings(asked.options.ram, after=after)):
            if asked.explored.exhausted and tried >= _LAST_PATCHINGS:
                break
            say(f"fitting the first layers in stripes of {patching.rows} rows")
            with contextlib.suppress(LoweringError):
                found = _lowered(patching.graph, uncut, last_resorts=last_resorts)
                # Stripes only add work: the whole without a limit of the RAM bounds them.
                bound = least_cycles(options, flash=asked.options.flash, ram=None, memory=layout)
                return replace(found, program=replace(found.program, least_cycles=bound))
    return None
