"""Which candidate for each operator: the fewest cycles that fit budgets of flash and RAM, found exactly.

The arena depends on the combination, but what an operator needs while it runs is bounded from below by its own
candidate: candidates over the limit go, and of the rest the combination with the fewest cycles under the flash is found
by dynamic programming. Where its plan reaches the bound, as it does for chains and residual networks, no other can be
better. Where gaps make the plan larger, the next are tried in the order of their cycles; combinations that ask the same
of the memory are placed alike, so that only the fastest of them is planned.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from utvm.lowering.select import Candidate

MOST_PLANS = 300
"""So many memory plans are made where gaps are in the way; then none is said to fit, though another might."""

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
    picked: tuple[Candidate, ...]


class RamError(Exception):
    """No combination fits the RAM: operator `index` needs at least `needed` bytes, or the plan does with its gaps."""

    def __init__(self, index: int, needed: int, *, gaps: bool = False) -> None:
        super().__init__(index, needed)
        self.index, self.needed, self.gaps = index, needed, gaps


class FlashError(Exception):
    """No combination fits the flash; `needed` is the least of those that fit the RAM."""

    def __init__(self, needed: int) -> None:
        super().__init__(needed)
        self.needed = needed


def choose(
    options: Sequence[Sequence[Candidate]], *, flash: int | None, ram: int | None, floor: Floor, arena_of: ArenaOf
) -> tuple[Candidate, ...]:
    """Return one candidate for each operator: the fewest cycles in all that fit.

    Args:
        options: the candidates of each operator, the fastest first.
        flash: bytes for all constants and micro-kernels; None is no limit.
        ram: bytes for the arena; None is no limit.
        floor: a lower bound of the arena for one operator's candidate.
        arena_of: the arena of a combination.

    Raises:
        RamError, FlashError: nothing fits.
    """
    if ram is None:
        return _fewest_cycles(options, flash)
    least: int | None = None
    for picked in itertools.islice(_by_memory(_within(options, ram, floor), flash), MOST_PLANS):
        arena = arena_of(picked)
        if arena <= ram:
            return picked
        least = arena if least is None else min(least, arena)
    assert least is not None
    raise RamError(0, least, gaps=True)


def frontier(
    options: Sequence[Sequence[Candidate]], *, floor: Floor, arena_of: ArenaOf, most: int | None = None
) -> Iterator[Point]:
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


def _sweep(
    options: Sequence[Sequence[Candidate]], ram: int | None, floor: Floor, arena_of: ArenaOf, most: int | None
) -> Iterator[Point]:
    """Yield the combinations within an arena that no other beats in cycles and flash."""
    left = options if ram is None else _within(options, ram, floor)
    front = [_point(picked, arena_of) for picked in _spread(_front(left, None), most)]
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
            picked = choose(options, flash=flash, ram=ram, floor=floor, arena_of=arena_of)
        except (FlashError, RamError):
            if flash is None:
                raise
            return
        point = _point(picked, arena_of)
        yield point
        flash = point.flash_bytes - 1


def _point(picked: Sequence[Candidate], arena_of: ArenaOf) -> Point:
    return Point(
        cycles=_cycles(picked),
        flash_bytes=sum(c.flash_bytes for c in picked),
        arena_bytes=arena_of(picked),
        picked=tuple(picked),
    )


def _spread(front: list[tuple[Candidate, ...]], most: int | None) -> list[tuple[Candidate, ...]]:
    """Return at most so many of a front, the first and the last among them."""
    if most is None or len(front) <= most:
        return front
    return [front[round(index * (len(front) - 1) / (most - 1))] for index in range(most)]


def smallest(options: Sequence[Sequence[Candidate]]) -> int:
    """Return the fewest bytes of flash that any combination needs."""
    return sum(min(choice.flash_bytes for choice in choices) for choices in options)


def _within(options: Sequence[Sequence[Candidate]], ram: int, floor: Floor) -> list[list[Candidate]]:
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


def _fewest_cycles(options: Sequence[Sequence[Candidate]], flash: int | None) -> tuple[Candidate, ...]:
    if flash is None:
        return tuple(min(choices, key=lambda c: c.cycles) for choices in options)
    front = _front(options, flash)
    if not front:
        raise FlashError(smallest(options))
    return front[-1]


def _front(options: Sequence[Sequence[Candidate]], flash: int | None) -> list[tuple[Candidate, ...]]:
    """Return the combinations that no other beats in cycles and flash, the least flash first."""
    entries: list[tuple[int, float, tuple[int, ...]]] = [(0, 0.0, ())]
    for choices in options:
        merged = [
            (size + choice.flash_bytes, cycles + choice.cycles, (*picked, index))
            for size, cycles, picked in entries
            for index, choice in enumerate(choices)
            if flash is None or size + choice.flash_bytes <= flash
        ]
        entries = _undominated(merged)
    return [tuple(choices[index] for choices, index in zip(options, picked, strict=True)) for _, _, picked in entries]


def _undominated(entries: list[tuple[int, float, tuple[int, ...]]]) -> list[tuple[int, float, tuple[int, ...]]]:
    kept: list[tuple[int, float, tuple[int, ...]]] = []
    for entry in sorted(entries):
        if not kept or entry[1] < kept[-1][1]:
            kept.append(entry)
    return kept


def _by_memory(options: Sequence[Sequence[Candidate]], flash: int | None) -> Iterator[tuple[Candidate, ...]]:
    """Yield the fastest combination of each memory plan that fits the flash, the fewest cycles first.

    After each, what is left of its part of the combinations is divided by the first operator that asks something else
    of the memory (E. L. Lawler, "A procedure for computing the K best solutions to discrete optimization problems",
    1972), and the fastest of every part waits for its turn.

    Raises:
        FlashError: none fits.
    """
    order = itertools.count()
    first = _fewest_cycles(options, flash)
    waiting: list[tuple[float, int, tuple[Candidate, ...], list[Sequence[Candidate]]]] = []
    heapq.heappush(waiting, (_cycles(first), next(order), first, list(options)))
    while waiting:
        _, _, picked, part = heapq.heappop(waiting)
        yield picked
        for index, choice in enumerate(picked):
            others = [c for c in part[index] if c.memory != choice.memory]
            part[index] = [c for c in part[index] if c.memory == choice.memory]
            if others:
                rest = [*part[:index], others, *part[index + 1 :]]
                with contextlib.suppress(FlashError):
                    best = _fewest_cycles(rest, flash)
                    heapq.heappush(waiting, (_cycles(best), next(order), best, rest))


def _cycles(picked: Sequence[Candidate]) -> float:
    return sum(c.cycles for c in picked)
