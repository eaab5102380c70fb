"""A list scheduler with register allocation, driven by a core's timing.

Each walk (`walk`) goes forward in time and issues, of the instructions whose predecessors are done, the best that the
core can take now, inside a window of the written order. A virtual register takes a physical one where it is first
written and gives it back at its last use. A few strategies are tried; the core's timing judges.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from utvm.cores.microkernel.block import Block
from utvm.cores.microkernel.memo import known
from utvm.cores.microkernel.walk import Strategy, Walked, Walker
from utvm.cores.thumb import Kind
from utvm.cores.thumb.placing import with_loads_at_words
from utvm.cores.timing import InOrderPipeline, Timing

_IN_ORDER = (("pair", 24, 0), ("pair", 12, 1), ("pair", 8, 0), ("critical", 4, 0), ("critical", 40, 1), ("pair", 4, 0))
_OTHERS = (("order", 8, 0), ("order", 12, 1), ("order", 16, 0), ("order", 24, 2), ("order", 40, 1), ("order", 40, 3),
           ("order", 4, 0))  # fmt: skip
_WRITTEN = ("order", 1, 0)
_STRATEGIES = {
    in_order: tuple(Strategy(priority=p, window=w, reserve=r) for p, w, r in (*few, _WRITTEN))
    for in_order, few in ((True, _IN_ORDER), (False, _OTHERS))
}
"""For in-order pipelines and for others: few that together found the best of a full search, last the written order."""
_VECTORS = (
    *(
        Strategy(priority="order", window=w, reserve=r, lead=lead, push=push)
        for w, r, lead, push in (
            *((8, 3, 10, 0), (12, 3, 14, 0), (24, 3, 10, 0), (8, 2, 10, 0), (12, 2, 6, 0), (40, 1, 4, 0), (8, 0, 2, 0)),
            *((8, 0, 0, 0), (12, 1, 14, 0), (24, 0, 14, 0), (24, 1, 14, 0), (12, 0, 10, 0), (12, 3, 20, 10)),
            *((12, 2, 28, 10), (12, 3, 28, 10)),
        )
    ),
    *(Strategy(priority="critical", window=w, reserve=r) for w, r in ((8, 0), (12, 0), (24, 3))),
)
"""For code of vectors, whose loads must run ahead of the multiplications that they feed."""
_OF_VECTORS = frozenset({Kind.VECTOR_LOAD, Kind.VECTOR_SUM, Kind.VECTOR_MULTIPLY, Kind.VECTOR, Kind.GATHER})
_SUFFIX = ".schedule"
_GOOD_ENOUGH = 1.005
_LONG, _BEGINNING, _WALKED = 800, 300, 2
"""Of blocks of so many instructions, strategies walk a beginning of so many, and the best of them the whole."""


class ScheduleError(ValueError):
    """No attempt found an order in which the registers suffice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled:
    """Physical code in issue order, the cycles of one turn when it repeats, and where live-in registers are."""

    lines: tuple[str, ...]
    cycles: float
    registers: Mapping[str, str]


def schedule(
    block: Block,
    timing: Timing,
    *,
    pool: Sequence[str],
    fixed: Mapping[str, str] | None = None,
    live_in: Sequence[str] = (),
) -> Scheduled:
    """Order a block for a core and give its virtual registers physical ones. Results are kept in the user's cache.

    Args:
        block: the code. A virtual register that is written before it is read is local; see `live_in`.
        timing: the core.
        pool: physical registers for virtual ones.
        fixed: virtual registers (with `%`) whose physical register is given; they keep it throughout.
        live_in: virtual registers that have a value before the block; they take the first registers of `pool`.

    Raises:
        ScheduleError: the registers do not suffice in any order tried.
    """
    places = (f"{name} {register}" for name, register in (fixed or {}).items())
    parts = [timing.name, *pool, "", *places, "", *live_in, "", "\n".join(block.lines)]
    held = known(parts, _SUFFIX, lambda: _search(block, timing, pool=pool, fixed=fixed or {}, live_in=live_in))
    if isinstance(held, str):
        raise ScheduleError(held)
    return Scheduled(lines=tuple(held["lines"]), cycles=held["cycles"], registers=held["registers"])


def _search(
    block: Block, timing: Timing, *, pool: Sequence[str], fixed: Mapping[str, str], live_in: Sequence[str]
) -> dict[str, Any] | str:
    """Return the fields of the best of all strategies, or why there is none."""
    best: Walked | None = None
    walker = Walker(block, timing, pool=pool, fixed=fixed, live_in=live_in)
    good_enough = _GOOD_ENOUGH * walker.fewest_cycles
    vectors = any(instruction.kind in _OF_VECTORS for instruction in block.code)
    in_order = isinstance(timing, InOrderPipeline)
    strategies = _VECTORS if vectors else _STRATEGIES[in_order]
    race, walks = in_order and len(block) > _LONG, 0
    if race:
        # What repeats itself goes on as it begins.
        strategies = tuple(sorted(strategies, key=lambda strategy: walker.pace(strategy, _BEGINNING)))
    for strategy in strategies:
        if race and walks == _WALKED and best is not None:
            break
        walks += 1
        walked = walker.walk(strategy, below=math.inf if best is None else best.cycles)
        if walked is None:
            continue
        if best is None or walked.cycles < best.cycles:
            best = walked
        if best.cycles <= good_enough:
            break
    if best is None:
        return f"{len(block)} instructions do not fit {len(pool)} registers in any order tried"
    lines = walker.lines(best)
    if timing.loads_at_words:
        lines = with_loads_at_words(lines)
    return {"lines": list(lines), "cycles": best.cycles, "registers": walker.entry}
