"""All combinations of candidates that no other beats in cycles and flash, under a limit of one of them.

Operator by operator, each combination of the first ones is extended by each candidate of the next, and what another
beats in both goes: dynamic programming over fronts of a few hundred entries, one array operation for a whole front.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import overload

import numpy as np
from numpy.typing import NDArray

from utvm.lowering.select import Candidate

_MOST_ENTRIES = 500
"""Combinations of the first operators that a search goes on with."""


class Front(Sequence[tuple[Candidate, ...]]):
    """The combinations within limits that no other beats in cycles and flash, the least flash first.

    Of combinations that cost the same, the one with the earlier candidates stands for all.

    Args:
        options: the candidates of each operator.
        flash: bytes that a combination may take; None is no limit.
        cycles: what it may take; None is no limit.
    """

    def __init__(
        self, options: Sequence[Sequence[Candidate]], *, flash: int | None = None, cycles: float | None = None
    ) -> None:
        worthy = [_worthy(choices) for choices in options]
        sizes = [np.array([choice.flash_bytes for choice in choices], np.int64) for choices in worthy]
        spent = [np.array([choice.cycles for choice in choices], np.float64) for choices in worthy]
        # What those that follow take at least.
        sizes_after, spent_after = _least_after(sizes), _least_after(spent)
        self._options = worthy
        self._steps: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
        # Entries are in the order of their candidates, so that of equal ones the first is found first.
        total_size, total_spent = np.zeros(1, np.int64), np.zeros(1, np.float64)
        for size_of, cost_of, least_size, least_cost in zip(sizes, spent, sizes_after, spent_after, strict=True):
            size = (total_size[:, None] + size_of).ravel()
            cost = (total_spent[:, None] + cost_of).ravel()
            kept = np.arange(size.size)
            if flash is not None:
                kept = kept[size <= flash - least_size]
            if cycles is not None:
                kept = kept[cost[kept] + least_cost <= cycles]
            kept = kept[np.argsort(size[kept], kind="stable")]
            kept = kept[_falls(cost[kept])]
            kept = kept[np.append(size[kept][1:] != size[kept][:-1], True)[: kept.size]]
            kept = np.sort(kept[_apart(size[kept], cost[kept], by_flash=flash is None and cycles is not None)])
            total_size, total_spent = size[kept], cost[kept]
            self._steps.append(np.divmod(kept, max(size_of.size, 1)))
        self._order = np.argsort(total_size)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._order)

    @overload
    def __getitem__(self, index: int) -> tuple[Candidate, ...]: ...

    @overload
    def __getitem__(self, index: slice) -> list[tuple[Candidate, ...]]: ...

    def __getitem__(self, index: int | slice) -> tuple[Candidate, ...] | list[tuple[Candidate, ...]]:
        """Return a combination."""
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place = int(self._order[index])
        picked: list[Candidate] = []
        for choices, (parents, chosen) in zip(reversed(self._options), reversed(self._steps), strict=True):
            picked.append(choices[chosen[place]])
            place = int(parents[place])
        return tuple(reversed(picked))


def _worthy(choices: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates that no other one beats, or equals and stands before."""
    found: list[tuple[int, Candidate]] = []
    least = math.inf
    for place, choice in sorted(enumerate(choices), key=lambda each: (each[1].flash_bytes, each[1].cycles, each[0])):
        if choice.cycles < least:
            least = choice.cycles
            found.append((place, choice))
    return [choice for _, choice in sorted(found, key=lambda each: each[0])]


_Numbers = NDArray[np.int64] | NDArray[np.float64]


def _least_after(costs: Sequence[_Numbers]) -> list[int | float]:
    """Return, for each operator, the sum of the least costs of all that follow it."""
    least = [each.min().item() if each.size else 0 for each in costs]
    return list(accumulate(reversed(least[1:]), initial=0))[::-1] if least else []


def _falls(cost: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which entries cost less than all before them."""
    return np.concatenate([np.ones(min(cost.size, 1), np.bool_), cost[1:] < np.minimum.accumulate(cost)[:-1]])


def _apart(size: NDArray[np.int64], cost: NDArray[np.float64], *, by_flash: bool) -> NDArray[np.bool_]:
    """Return at most `_MOST_ENTRIES` entries of a front that differ most, in flash or in cycles.

    Of those that hardly differ in cycles the least flash is kept, or the fewest cycles of those alike in flash: what
    could be completed within the limit still can be.
    """
    if size.size <= _MOST_ENTRIES:
        return np.ones(size.shape, np.bool_)
    if by_flash:
        bucket = ((size - size[0]) * _MOST_ENTRIES / (size[-1] - size[0])).astype(np.int64)
        return np.append(bucket[1:] != bucket[:-1], True)
    bucket = ((cost - cost[-1]) * _MOST_ENTRIES / (cost[0] - cost[-1])).astype(np.int64)
    return np.append(True, bucket[1:] != bucket[:-1])
