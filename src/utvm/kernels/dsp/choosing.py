"""The choice among configs or plans that may not all fit the registers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import TypeVar

from utvm.cores.microkernel import ScheduleError

_Choice = TypeVar("_Choice")


def fastest(
    choices: Iterable[_Choice],
    cycles: Callable[[_Choice], float],
    none: str,
    *,
    estimate: Callable[[_Choice], float] | None = None,
    error: float = 0.0,
) -> _Choice:
    """Return the choice with the fewest cycles, the first of equal ones, of those that can be scheduled.

    With an estimate, only choices that can still win within its error are scheduled.

    Args:
        choices: configs or plans.
        cycles: the modelled cycles of one; it raises ScheduleError where that can't be scheduled.
        none: what the error says if none can.
        estimate: about the same, at little cost and with the same error.
        error: the share by which an estimate can be too high.

    Raises:
        ScheduleError: none can be scheduled.
    """
    every = list(choices)
    ranked = [(0.0, position) for position in range(len(every))] if estimate is None else _ranked(every, estimate)
    best: tuple[float, int] | None = None
    for about, position in ranked:
        if best is not None and about * (1 - error) > best[0]:
            break
        with contextlib.suppress(ScheduleError):
            found = (cycles(every[position]), position)
            best = found if best is None else min(best, found)
    if best is None:
        raise ScheduleError(none)
    return every[best[1]]


def near_fastest(choices: Iterable[_Choice], estimate: Callable[[_Choice], float], error: float) -> list[_Choice]:
    """Return the choices that may be the fastest by estimates that can be off by `error`, the fewest cycles first."""
    every = list(choices)
    ranked = _ranked(every, estimate)
    return [every[position] for about, position in ranked if about * (1 - error) <= ranked[0][0] * (1 + error)]


def _ranked(choices: list[_Choice], estimate: Callable[[_Choice], float]) -> list[tuple[float, int]]:
    """Return estimates and positions of choices, the fewest cycles first, without those that can't be scheduled."""
    found: list[tuple[float, int]] = []
    for position, choice in enumerate(choices):
        with contextlib.suppress(ScheduleError):
            found.append((estimate(choice), position))
    return sorted(found)
