"""The choice among configs or plans that may not all fit the registers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import TypeVar

from utvm.cores.microkernel import ScheduleError

_Choice = TypeVar("_Choice")


def fastest(choices: Iterable[_Choice], cycles: Callable[[_Choice], float], none: str) -> _Choice:
    """Return the choice with the fewest cycles, the first of equal ones, of those that can be scheduled.

    Args:
        choices: configs or plans.
        cycles: the modelled cycles of one; it raises ScheduleError where that can't be scheduled.
        none: what the error says if none can.

    Raises:
        ScheduleError: none can be scheduled.
    """
    found: list[tuple[float, _Choice]] = []
    for choice in choices:
        with contextlib.suppress(ScheduleError):
            found.append((cycles(choice), choice))
    if not found:
        raise ScheduleError(none)
    return min(found, key=lambda item: item[0])[1]
