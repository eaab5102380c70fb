"""Where a list of calls repeats itself: turns of a loop, whose places are the same or move by a constant stride.

A network that was written out step by step, such as a recurrent layer, calls the same kernels with the same constants
again and again. A period of several steps is found too, as where a state alternates between two places.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MOST_PERIOD = 1024
"""Longer turns are not looked for."""
_MOST_PLACES = 16
"""Calls with more places are never part of a loop: each of these takes a register or a word of the stack."""
_FEWEST_TURNS = 3
"""Any two turns have constant strides, which says nothing of a repetition."""
_FEWEST_SAVED = 8
"""Calls that a loop must save: its counter and moving addresses take the code of several calls."""

_Bools = NDArray[np.bool_]
_Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    """Calls from `first` on: `turns` times `period` calls. One turn is a stretch that repeats nothing."""

    first: int
    period: int
    turns: int

    @property
    def stop(self) -> int:
        """The place after its last call."""
        return self.first + self.period * self.turns


def rolled(keys: Sequence[Hashable], places: Sequence[Sequence[int]]) -> list[Turns]:
    """Return all calls, in order, in stretches: loops where they save most calls, and what is between them.

    Args:
        keys: what calls of the same statement have in common.
        places: the numbers of each call that may move by a constant stride; equal keys have equally many.
    """
    runs = list(_runs(_numbered(keys, places), _table(places)))
    stretches: list[Turns] = []
    at = 0
    for loop in [*_chosen(runs), Turns(first=len(keys), period=0, turns=0)]:
        if at < loop.first:
            stretches.append(Turns(first=at, period=loop.first - at, turns=1))
        if loop.turns:
            stretches.append(loop)
        at = loop.stop
    return stretches


@dataclass(frozen=True, slots=True, order=True)
class _Run:
    """Calls in which each repeats the one a period before; of several, that which saves most comes first."""

    added: int
    period: int
    start: int
    stop: int

    @classmethod
    def of(cls, period: int, start: int, stop: int) -> _Run | None:
        turns = (stop - start) // period
        saved = (turns - 1) * period
        if turns < _FEWEST_TURNS or saved < _FEWEST_SAVED:
            return None
        return cls(-saved, period, start, stop)

    @property
    def loop(self) -> Turns:
        return Turns(first=self.start, period=self.period, turns=(self.stop - self.start) // self.period)


def _numbered(keys: Sequence[Hashable], places: Sequence[Sequence[int]]) -> _Ints:
    """Return a number for each call, equal for equal keys; calls with too many places have one of their own."""
    known: dict[Hashable, int] = {}
    numbers = [
        known.setdefault(key if len(places[index]) <= _MOST_PLACES else (index,), index)
        for index, key in enumerate(keys)
    ]
    return np.array(numbers, np.int64)


def _table(places: Sequence[Sequence[int]]) -> _Ints:
    """Return the places of all calls as rows of one length; of those that have too many, none."""
    held = [list(row) if len(row) <= _MOST_PLACES else [] for row in places]
    width = max(map(len, held), default=0)
    return np.array([row + [0] * (width - len(row)) for row in held], np.int64).reshape(len(held), width)


def _runs(numbers: _Ints, table: _Ints) -> Iterator[_Run]:
    """Return all longest runs of each period."""
    count = len(numbers)
    for period in range(1, min(count // _FEWEST_TURNS, _MOST_PERIOD) + 1):
        same = numbers[:-period] == numbers[period:]
        steady = same[:-period] & same[period:]
        for start, stop in _spans(steady, (_FEWEST_TURNS - 2) * period):
            rows = table[start : stop + 2 * period]
            moved = rows[period:] - rows[:-period]
            constant: _Bools = (moved[:-period] == moved[period:]).all(axis=1)
            for first, last in _spans(constant, (_FEWEST_TURNS - 2) * period):
                run = _Run.of(period, start + first, start + last + 2 * period)
                if run is not None:
                    yield run


def _spans(flags: _Bools, least: int) -> list[tuple[int, int]]:
    """Return where flags are set, from start to stop, for at least so many in a row."""
    edges = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0)).tolist()
    return [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= least]


def _chosen(runs: list[_Run]) -> list[Turns]:
    """Return loops that do not overlap, in order: always the one that saves most, then what it leaves of others."""
    heapq.heapify(runs)
    loops: list[Turns] = []
    while runs:
        run = heapq.heappop(runs)
        for loop in loops:
            if run.start < loop.stop and loop.first < run.stop:
                left = _Run.of(run.period, run.start, min(run.stop, loop.first))
                right = _Run.of(run.period, max(run.start, loop.stop), run.stop)
                for part in (left, right):
                    if part is not None:
                        heapq.heappush(runs, part)
                break
        else:
            loops.append(run.loop)
    return sorted(loops, key=lambda loop: loop.first)
