"""Which candidate for each operator: the fewest cycles that fit budgets of flash and RAM, found exactly.

The arena depends on the combination, but what an operator needs while it runs is bounded from below by its own
candidate: candidates over the limit go, and of the rest the combination with the fewest cycles under the flash is found
by dynamic programming. Where its plan reaches the bound, as it does for chains and residual networks, no other can be
better. Where gaps make the plan larger, the next are tried in the order of their cycles; combinations that ask the same
of the memory are placed alike, so that only the fastest of them is planned.

Without a budget of flash, cycles that make no difference are not bought with it: of the combinations that are nearly as
fast as the fastest and need no more RAM, the one with the least flash is taken, found in the same way.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from utvm.lowering.select import Candidate

MOST_PLANS = 300
"""So many memory plans are made where gaps are in the way; then none is found to fit, though another might."""

NEARLY = 1e-3
"""So much more of the whole network's cycles is taken for less flash, where no budget says what flash is for."""

Options = Sequence[Sequence[Candidate]]
"""The candidates of each operator."""

Picked = tuple[Candidate, ...]
"""A combination: one candidate for each operator."""

Floor = Callable[[int, Candidate], int]
"""Bytes of the arena that operator `index` needs at least while it runs by a candidate."""

ArenaOf = Callable[[Sequence[Candidate]], int]
"""Bytes of the arena of a combination."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A combination. Flash is that of constants and micro-kernels."""

    cycles: float
    flash_bytes: int
    arena_bytes: int
    picked: Picked


class RamError(Exception):
    """No combination fits the RAM: operator `index` needs at least `needed` bytes, or the plan does with its gaps.

    `bounded` says that the search ended at `MOST_PLANS`, so that one which was not tried might fit.
    """

    def __init__(self, index: int, needed: int, *, gaps: bool = False, bounded: bool = False) -> None:
        super().__init__(index, needed)
        self.index, self.needed, self.gaps, self.bounded = index, needed, gaps, bounded


class FlashError(Exception):
    """No combination fits the flash; `needed` is the least of those that fit the RAM."""

    def __init__(self, needed: int) -> None:
        super().__init__(needed)
        self.needed = needed


def choose(options: Options, *, flash: int | None, ram: int | None, floor: Floor, arena_of: ArenaOf) -> Picked:
    """Return one candidate for each operator: the fewest cycles in all that fit.

    Without a limit of the flash, that is the least flash within `NEARLY` of the fewest cycles, in an arena no larger.

    Args:
        options: the candidates of each operator, the fastest first.
        flash: bytes for all constants and micro-kernels; None is no limit.
        ram: bytes for the arena; None is no limit.
        floor: a lower bound of the arena for one operator's candidate.
        arena_of: the arena of a combination.

    Raises:
        RamError, FlashError: nothing fits.
    """
    fastest = _fastest(options, flash, ram, floor, arena_of)
    return fastest if flash is not None else _smaller(options, fastest, floor, arena_of)


def frontier(options: Options, *, floor: Floor, arena_of: ArenaOf, most: int | None = None) -> Iterator[Point]:
    """Yield the combinations on the frontier of cycles, arena and flash, and some that others beat.

    For one limit of the arena after the other, each just below the largest arena that was found under the last, yields
    the combinations that no other within the limit beats in cycles and flash.

    Args:
        options, floor, arena_of: as for `choose`.
        most: so many for each limit are enough, spread over the flash; None is all.
    """
    ram: int | None = None
    while True:
        try:
            points = list(_sweep(options, ram, floor, arena_of, most))
        except RamError:
            return
        yield from points
        ram = max(point.arena_bytes for point in points) - 1


def _sweep(options: Options, ram: int | None, floor: Floor, arena_of: ArenaOf, most: int | None) -> Iterator[Point]:
    """Yield the combinations within an arena that no other beats in cycles and flash."""
    left = options if ram is None else _within(options, ram, floor)
    front = [_point(picked, arena_of) for picked in _spread(_front(left), most)]
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
            picked = _fastest(options, flash, ram, floor, arena_of)
        except (FlashError, RamError):
            if flash is None:
                raise
            return
        point = _point(picked, arena_of)
        yield point
        flash = point.flash_bytes - 1


def _point(picked: Picked, arena_of: ArenaOf) -> Point:
    return Point(
        cycles=_cycles(picked),
        flash_bytes=_flash(picked),
        arena_bytes=arena_of(picked),
        picked=picked,
    )


def _spread(front: list[Picked], most: int | None) -> list[Picked]:
    """Return at most so many of a front, the first and the last among them."""
    if most is None or len(front) <= most:
        return front
    return [front[round(index * (len(front) - 1) / (most - 1))] for index in range(most)]


def smallest(options: Options) -> int:
    """Return the fewest bytes of flash that any combination needs."""
    return sum(min(choice.flash_bytes for choice in choices) for choices in options)


def _fastest(options: Options, flash: int | None, ram: int | None, floor: Floor, arena_of: ArenaOf) -> Picked:
    """Return the combination with the fewest cycles in what fits."""
    left = options if ram is None else _within(options, ram, floor)
    best = partial(_fewest_cycles, flash=flash)
    first = best(left)
    if first is None:
        raise FlashError(smallest(left))
    if ram is None:
        return first
    arenas: list[int] = []
    for picked in itertools.islice(_by_memory(left, best, _cycles), MOST_PLANS):
        arenas.append(arena_of(picked))
        if arenas[-1] <= ram:
            return picked
    raise RamError(0, min(arenas), gaps=True, bounded=len(arenas) == MOST_PLANS)


def _smaller(options: Options, fastest: Picked, floor: Floor, arena_of: ArenaOf) -> Picked:
    """Return the combination with the least flash that is nearly as fast and needs no more RAM.

    Where the fastest was measured, what was only estimated is not known to be nearly as fast.
    """
    cycles = _cycles(fastest) * (1 + NEARLY)
    near = [
        [c for c in choices if c is chosen or not (c.last_resort or (chosen.measured and not c.measured))]
        for choices, chosen in zip(options, fastest, strict=True)
    ]
    best = partial(_least_flash, cycles=cycles)
    if best(near) == fastest:
        return fastest
    arena = arena_of(fastest)
    left = [[c for c in choices if floor(index, c) <= arena] for index, choices in enumerate(near)]
    for picked in itertools.islice(_by_memory(left, best, _flash), MOST_PLANS):
        if arena_of(picked) <= arena:
            return picked
    return fastest


def _within(options: Options, ram: int, floor: Floor) -> list[list[Candidate]]:
    left = [[c for c in choices if floor(index, c) <= ram] for index, choices in enumerate(options)]
    # What is there for the flash does not mend the RAM: stripes cost less.
    short = [
        (min(floor(index, c) for c in options[index] if not c.last_resort), index)
        for index, choices in enumerate(left)
        if all(c.last_resort for c in choices)
    ]
    if short:
        needed, index = max(short)
        raise RamError(index, needed)
    return left


def _fewest_cycles(options: Options, flash: int | None) -> Picked | None:
    if flash is None:
        return tuple(min(choices, key=lambda c: c.cycles) for choices in options)
    front = _front(options, flash=flash)
    return front[-1] if front else None


def _least_flash(options: Options, cycles: float) -> Picked | None:
    front = _front(options, cycles=cycles)
    return front[0] if front else None


def _front(options: Options, *, flash: int | None = None, cycles: float | None = None) -> list[Picked]:
    """Return the combinations within limits that no other beats in cycles and flash, the least flash first."""
    least = [min((c.cycles for c in choices), default=0.0) for choices in options]
    entries: list[tuple[int, float, tuple[int, ...]]] = [(0, 0.0, ())]
    for position, choices in enumerate(options):
        rest = sum(least[position + 1 :])
        merged = [
            (size + choice.flash_bytes, spent + choice.cycles, (*picked, index))
            for size, spent, picked in entries
            for index, choice in enumerate(choices)
            if (flash is None or size + choice.flash_bytes <= flash)
            and (cycles is None or spent + choice.cycles + rest <= cycles)
        ]
        entries = _undominated(merged)
    return [tuple(choices[index] for choices, index in zip(options, picked, strict=True)) for _, _, picked in entries]


def _undominated(entries: list[tuple[int, float, tuple[int, ...]]]) -> list[tuple[int, float, tuple[int, ...]]]:
    kept: list[tuple[int, float, tuple[int, ...]]] = []
    for entry in sorted(entries):
        if not kept or entry[1] < kept[-1][1]:
            kept.append(entry)
    return kept


def _by_memory(
    options: Options, best: Callable[[Options], Picked | None], cost: Callable[[Picked], float]
) -> Iterator[Picked]:
    """Yield the best combination of each memory plan, the one with the least cost first.

    After each, what is left of its part of the combinations is divided by the first operator that asks something else
    of the memory (E. L. Lawler, "A procedure for computing the K best solutions to discrete optimization problems",
    1972), and the best of every part waits for its turn.

    Args:
        options: what to choose from.
        best: the combination of a part with the least cost that is allowed, None if none is.
        cost: what `best` makes as small as it can.
    """
    order = itertools.count()
    waiting: list[tuple[float, int, Picked, list[Sequence[Candidate]]]] = []

    def wait(part: list[Sequence[Candidate]]) -> None:
        picked = best(part)
        if picked is not None:
            heapq.heappush(waiting, (cost(picked), next(order), picked, part))

    wait(list(options))
    while waiting:
        _, _, picked, part = heapq.heappop(waiting)
        yield picked
        for index, choice in enumerate(picked):
            others = [c for c in part[index] if c.memory != choice.memory]
            part[index] = [c for c in part[index] if c.memory == choice.memory]
            if others:
                wait([*part[:index], others, *part[index + 1 :]])


def _cycles(picked: Picked) -> float:
    return sum(c.cycles for c in picked)


def _flash(picked: Picked) -> int:
    return sum(c.flash_bytes for c in picked)
