"""Loops over elements by vectors of four: turns of four vectors, then single ones, of which the last is predicated."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from utvm.cores.microkernel import Block, schedule
from utvm.cores.timing import Timing

_LANES, _AT_ONCE = 4, 4
TURN = _LANES * _AT_ONCE
"""Elements of a turn."""


def loops_by_fours(
    write: Callable[[Block, int], None], timing: Timing, *, pool: Sequence[str], turns: str
) -> tuple[list[str], float]:
    """Return loops over as many elements as r2 says, and the modelled cycles of a turn of the first loop.

    Args:
        write: writes the vector of a number into a block.
        timing: the core's.
        pool: the vector registers that it may use.
        turns: the register that counts turns before the first.

    Raises:
        ScheduleError: it can't be scheduled.
    """
    bodies = []
    for count in (_AT_ONCE, 1):
        block = Block()
        for number in range(count):
            write(block, number)
        bodies.append(schedule(block, timing, pool=pool))
    turn, single = bodies
    lines = [f"lsrs {turns}, r2, #4", "and.w r2, r2, #15", f"wls lr, {turns}, 2f", "1:", *turn.lines, "le lr, 1b", "2:"]
    lines += ["wlstp.32 lr, r2, 4f", "3:", *single.lines, "letp lr, 3b", "4:"]
    return lines, turn.cycles
