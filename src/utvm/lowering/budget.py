"""Which candidate for each operator: the fewest cycles that fit budgets of flash and RAM, found exactly.

The arena depends on the combination, but what an operator needs while it runs is bounded from below by its own
candidate: candidates over the limit go, and of the rest the combination with the fewest cycles under the flash is found
by dynamic programming. Where its plan reaches the bound, as it does for chains and residual networks, no other can be
better. Where gaps make the plan larger, the next are tried in the order of their cycles, without those that contain
what was too large before: mostly a few operators after one another, whatever the rest asks of the memory.

Without a budget of flash, cycles that make no difference are not bought with it: of the combinations that are nearly as
fast as the fastest and need no more RAM, the one with the least flash is taken, found in the same way.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from utvm.lowering.fronts import Front
from utvm.lowering.relaxed_choice import relaxation
from utvm.lowering.select import Candidate

MOST_PLANS = 50
MOST_TURNS = 10_000
"""So many memory plans are made, and combinations looked at; then none is found to fit, though another might."""

NEARLY = 1e-2
"""So much more of the whole network's cycles is taken for less flash, where no budget says what flash is for."""

_MOST_SEARCHED = 20_000
"""Operators of all parts searched under a limit of cycles or flash: so a search of 80 operators ends in seconds."""

_MOST_CONFLICTS = 20_000
"""Operators of all combinations whose crowded calls are looked for."""

CandidateLists = Sequence[Sequence[Candidate]]
"""The candidates of each operator."""

Picked = tuple[Candidate, ...]
"""A combination: one candidate for each operator."""

Conflict = Mapping[int, object]
"""Operators, and what they ask of the memory that can't be had all together."""


class ArenaSizes(Protocol):
    """What is known of the arena of combinations, in bytes."""

    def floor(self, index: int, candidate: Candidate, /) -> int:
        """Return what operator `index` needs at least while it runs by a candidate."""

    def arena_bytes(self, picked: Sequence[Candidate], /) -> int:
        """Return the arena of a combination."""

    def crowded(self, picked: Sequence[Candidate], ram: int, /) -> Sequence[int]:
        """Return a few operators whose candidates make every plan exceed `ram`, whatever the others are, or none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A combination. Flash is that of constants and micro-kernels."""

    cycles: float
    flash_bytes: int
    arena_bytes: int
    picked: Picked


class Cost(Protocol):
    """What a combination costs."""

    @property
    def cycles(self) -> float:
        """Cycles of a run."""

    @property
    def arena_bytes(self) -> int:
        """Bytes of the arena."""

    @property
    def flash_bytes(self) -> int:
        """Bytes of flash."""


_Cost = TypeVar("_Cost", bound=Cost)


def undominated(points: Iterable[_Cost]) -> list[_Cost]:
    """Return the points, the fewest cycles first, that no other beats in cycles, arena and flash together."""
    kept: list[_Cost] = []
    for point in sorted(points, key=lambda p: (p.cycles, p.arena_bytes, p.flash_bytes)):
        if not any(k.arena_bytes <= point.arena_bytes and k.flash_bytes <= point.flash_bytes for k in kept):
            kept.append(point)
    return kept


class RamError(Exception):
    """No combination fits the RAM: operator `index` needs at least `needed` bytes, or the plan does with its gaps.

    `bounded` says that the search ended at the most plans, so that one which was not tried might fit.
    """

    def __init__(self, index: int, needed: int, *, gaps: bool = False, bounded: bool = False) -> None:
        super().__init__(index, needed)
        self.index, self.needed, self.gaps, self.bounded = index, needed, gaps, bounded


class FlashError(Exception):
    """No combination fits the flash; `needed` is the least of those that fit the RAM."""

    def __init__(self, needed: int) -> None:
        super().__init__(needed)
        self.needed = needed


def choose(
    options: CandidateLists,
    *,
    flash: int | None,
    ram: int | None,
    memory: ArenaSizes,
    most_plans: int = MOST_PLANS,
    most_plans_for_less: int = MOST_PLANS,
) -> Picked:
    """Return one candidate for each operator: the fewest cycles in all that fit.

    Without a limit of the flash, that is the least flash within `NEARLY` of the fewest cycles, in an arena no larger.

    Args:
        options: the candidates of each operator, the fastest first.
        flash: bytes for all constants and micro-kernels; None is no limit.
        ram: bytes for the arena; None is no limit.
        memory: what combinations need of the arena.
        most_plans: so many memory plans are made; then none is found to fit, though another might.
        most_plans_for_less: so many more are made to find less flash.

    Raises:
        RamError, FlashError: nothing fits.
    """
    fastest = _fastest(options, flash, ram, memory, most_plans)
    return fastest if flash is not None else _smaller(options, fastest, memory, most_plans_for_less)


def frontier(options: CandidateLists, *, memory: ArenaSizes, most: int | None = None) -> Iterator[Point]:
    """Yield the combinations on the frontier of cycles, arena and flash, and some that others beat.

    For one limit of the arena after the other, each just below the largest arena that was found under the last, yields
    the combinations that no other within the limit beats in cycles and flash.

    Args:
        options, memory: as for `choose`.
        most: so many for each limit are enough, spread over the flash; None is all.
    """
    ram: int | None = None
    while True:
        try:
            points = list(_sweep(options, ram, memory, most))
        except RamError:
            return
        yield from points
        ram = max(point.arena_bytes for point in points) - 1


def _sweep(options: CandidateLists, ram: int | None, memory: ArenaSizes, most: int | None) -> Iterator[Point]:
    """Yield the combinations within an arena that no other beats in cycles and flash."""
    left = options if ram is None else _within(options, ram, memory)
    front = [_point(picked, memory) for picked in _spread(Front(left), most)]
    if ram is None or all(point.arena_bytes <= ram for point in front):
        yield from front
        return
    if most is not None:
        # Gaps are in the way of some; those that fit are enough, and without any the frontier ends here.
        fitting = [point for point in front if point.arena_bytes <= ram]
        if not fitting:
            raise RamError(0, min(point.arena_bytes for point in front), gaps=True)
        yield from fitting
        return
    flash: int | None = None
    while True:
        try:
            picked = _fastest(options, flash, ram, memory)
        except (FlashError, RamError):
            if flash is None:
                raise
            return
        point = _point(picked, memory)
        yield point
        flash = point.flash_bytes - 1


def _point(picked: Picked, memory: ArenaSizes) -> Point:
    return Point(
        cycles=cycles_of(picked),
        flash_bytes=_flash(picked),
        arena_bytes=memory.arena_bytes(picked),
        picked=picked,
    )


def _spread(front: Sequence[Picked], most: int | None) -> list[Picked]:
    """Return at most so many of a front, the first and the last among them."""
    if most is None or len(front) <= most:
        return list(front)
    return [front[round(index * (len(front) - 1) / (most - 1))] for index in range(most)]


def smallest(options: CandidateLists) -> int:
    """Return the fewest bytes of flash that any combination needs."""
    return sum(min(choice.flash_bytes for choice in choices) for choices in options)


def _fastest(
    options: CandidateLists, flash: int | None, ram: int | None, memory: ArenaSizes, most_plans: int = MOST_PLANS
) -> Picked:
    """Return the combination with the fewest cycles in what fits."""
    left = options if ram is None else _within(options, ram, memory)
    best = _fastest_of() if flash is None else partial(_fewest_cycles, flash=flash)
    first = best(left)
    if first is None:
        raise FlashError(smallest(left))
    if ram is None:
        return first
    # Where few plans may be made, few combinations are worth looking for.
    many = MOST_TURNS * len(left) if flash is None else _MOST_SEARCHED * most_plans // MOST_PLANS
    search = _first_that_fits(left, best, cycles_of, ram, memory, most_searched=many, most_plans=most_plans)
    if search.picked is not None:
        return search.picked
    # The least that each operator can ask: mostly what fits if anything does.
    least = tuple(min(choices, key=lambda c: (memory.floor(index, c), c.cycles)) for index, choices in enumerate(left))
    arena = memory.arena_bytes(least)
    if arena <= ram and (flash is None or _flash(least) <= flash):
        return least
    raise RamError(0, min((arena, *search.arenas)), gaps=True, bounded=search.bounded)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Selection:
    """What was found, the bytes of the plans that did not fit, and whether the search ended at its bounds."""

    picked: Picked | None
    arenas: tuple[int, ...]
    bounded: bool = False


def _first_that_fits(
    options: CandidateLists,
    best: Callable[[CandidateLists], Picked | None],
    cost: Callable[[Picked], float],
    ram: int,
    memory: ArenaSizes,
    *,
    most_searched: int = _MOST_SEARCHED,
    most_plans: int = MOST_PLANS,
) -> _Selection:
    """Search the combination with the least cost whose plan fits."""
    parts = _Parts(options, best, cost)
    # Where few plans may be made, few conflicts are worth looking for.
    most_conflicts = _MOST_CONFLICTS * most_plans // MOST_PLANS
    arenas: list[int] = []
    conflicts: list[Conflict] = []
    for turn, picked in enumerate(parts):
        conflict = next((c for c in conflicts if all(picked[i].memory == asked for i, asked in c.items())), None)
        if conflict is None:
            crowded = memory.crowded(picked, ram)
            arena = memory.arena_bytes(picked)
            # Plans of a few calls are searched too, and may miss what the plan of all calls finds.
            if arena <= ram:
                return _Selection(picked=picked, arenas=tuple(arenas))
            if not crowded:
                arenas.append(arena)
            conflict = {index: picked[index].memory for index in crowded or range(len(picked))}
            conflicts.append(conflict)
        looked = max(parts.searches * len(options) - most_searched, len(conflicts) * len(options) - most_conflicts)
        if len(arenas) >= most_plans or turn == MOST_TURNS or looked > 0:
            return _Selection(picked=None, arenas=tuple(arenas), bounded=True)
        parts.without(conflict)
    return _Selection(picked=None, arenas=tuple(arenas))


def _smaller(options: CandidateLists, fastest: Picked, memory: ArenaSizes, most_plans: int) -> Picked:
    """Return the combination with the least flash that is nearly as fast and needs no more RAM.

    Where the fastest was measured, what was only estimated is not known to be nearly as fast.
    """
    cycles = cycles_of(fastest) * (1 + NEARLY)
    near = [
        [c for c in choices if c is chosen or not (c.last_resort or (chosen.measured and not c.measured))]
        for choices, chosen in zip(options, fastest, strict=True)
    ]
    best = partial(_least_flash, cycles=cycles)
    if best(near) == fastest:
        return fastest
    arena = memory.arena_bytes(fastest)
    left = [[c for c in choices if memory.floor(index, c) <= arena] for index, choices in enumerate(near)]
    return _first_that_fits(left, best, _flash, arena, memory, most_plans=most_plans).picked or fastest


def _within(options: CandidateLists, ram: int, memory: ArenaSizes) -> list[list[Candidate]]:
    left = [[c for c in choices if memory.floor(index, c) <= ram] for index, choices in enumerate(options)]
    short = [
        (min(memory.floor(index, c) for c in options[index]), index)
        for index, choices in enumerate(left)
        if not choices
    ]
    if short:
        needed, index = max(short)
        raise RamError(index, needed)
    return left


def _fastest_of() -> Callable[[CandidateLists], Picked]:
    """Return what picks the fastest candidate of each operator. Parts of a search share most of their lists."""
    known: dict[int, tuple[Sequence[Candidate], Candidate]] = {}

    def fastest(choices: Sequence[Candidate]) -> Candidate:
        held = known.get(id(choices))
        if held is None:
            # The list is held too, so that its number stays its own.
            held = known[id(choices)] = choices, min(choices, key=lambda c: c.cycles)
        return held[1]

    return lambda options: tuple(map(fastest, options))


def _fewest_cycles(options: CandidateLists, flash: int) -> Picked | None:
    # What a relaxation rounds to is within the limit: nothing slower need be looked at.
    within = relaxation(options, flash).rounded
    front = Front(options, flash=flash, cycles=None if within is None else within * (1 + 1e-9))
    return front[-1] if front else None


def _least_flash(options: CandidateLists, cycles: float) -> Picked | None:
    front = Front(options, cycles=cycles)
    return front[0] if front else None


class _Parts(Iterator[Picked]):
    """The best combination of each part of all that are allowed, the one with the least cost first.

    What is left of the part whose best came last is divided by `without`: by the first operator of a conflict that asks
    something else of the memory (after E. L. Lawler, "A procedure for computing the K best solutions to discrete
    optimization problems", 1972).

    Args:
        options: what to choose from.
        best: the combination of a part with the least cost that is allowed, None if none is.
        cost: what `best` makes as small as it can.
    """

    def __init__(
        self, options: CandidateLists, best: Callable[[CandidateLists], Picked | None], cost: Callable[[Picked], float]
    ) -> None:
        self._best, self._cost = best, cost
        self._order = itertools.count()
        self.searches = 0
        self._waiting: list[tuple[float, int, Picked, CandidateLists]] = []
        self._part: CandidateLists = ()
        self._add(options)

    def __next__(self) -> Picked:
        if not self._waiting:
            raise StopIteration
        _, _, picked, self._part = heapq.heappop(self._waiting)
        return picked

    def without(self, conflict: Conflict) -> None:
        """Put back the part whose best came last without the combinations that have all of a conflict."""
        part = list(self._part)
        for index, asked in conflict.items():
            others = [c for c in part[index] if c.memory != asked]
            if others:
                self._add([*part[:index], others, *part[index + 1 :]])
            part[index] = [c for c in part[index] if c.memory == asked]

    def _add(self, part: CandidateLists) -> None:
        self.searches += 1
        picked = self._best(part)
        if picked is not None:
            heapq.heappush(self._waiting, (self._cost(picked), next(self._order), picked, part))


def least_cycles(options: CandidateLists, *, flash: int | None, ram: int | None, memory: ArenaSizes) -> float:
    """Return cycles that no combination within the limits goes below."""
    left = options if ram is None else _within(options, ram, memory)
    return relaxation(left, flash, cycles=lambda c: c.cycles * (1 - c.error)).bound


def cycles_of(picked: Picked) -> float:
    """Return the cycles of a combination."""
    return sum(c.cycles for c in picked)


def _flash(picked: Picked) -> int:
    return sum(c.flash_bytes for c in picked)
