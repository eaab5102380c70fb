"""What the cycle model may assume beyond zero-wait memory: the memories of a real part, or a slower pipeline.

The memories are those that the parts' TOML describe (`utvm.boards.MemoryModel`). Nothing here was compared with silicon
access by access; docs/cycle-model.md says what was.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from utvm.boards import MemoryModel, list_boards
from utvm.cores.cortex_m7_timing import PESSIMISTIC_CORTEX_M7_TIMING
from utvm.cores.timing import Timing
from utvm.emulators.counters import RangeCounts
from utvm.errors import UtvmError


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumption:
    """A variant of the cycle model, for the cores named."""

    name: str
    description: str
    cores: tuple[str, ...]
    timing: Timing | None = None
    memory: MemoryModel | None = None


@cache
def assumptions() -> dict[str, Assumption]:
    """Return all by name."""
    memories = {
        board.memory_model.name: Assumption(
            name=board.memory_model.name,
            description=board.memory_model.description,
            cores=(board.core.name,),
            memory=board.memory_model,
        )
        for board in list_boards()
        if board.memory_model is not None
    }
    pessimistic = Assumption(
        name="pessimistic-m7",
        description="Cortex-M7 with one load a cycle and one cycle more from a load to its use",
        cores=("cortex-m7",),
        timing=PESSIMISTIC_CORTEX_M7_TIMING,
    )
    return {**memories, pessimistic.name: pessimistic}


def get_assumption(name: str, core: str) -> Assumption:
    """Return an assumption that can be made for a core.

    Raises:
        UtvmError: there is none of that name, or it is for other cores.
    """
    known = {key: value for key, value in assumptions().items() if core in value.cores}
    if name not in known:
        raise UtvmError(f"nothing is known to assume as '{name}' for {core}; known: {', '.join(known) or 'nothing'}")
    return known[name]


def stalls(memory: MemoryModel, flash: RangeCounts, ram: RangeCounts) -> int:
    """Return the cycles that the counted misses wait."""
    return (
        memory.sequential_fetch_miss * flash.sequential_fetch_misses
        + memory.fetch_miss * (flash.fetch_misses - flash.sequential_fetch_misses)
        + memory.sequential_constant_miss * flash.sequential_read_misses
        + memory.constant_miss * (flash.read_misses - flash.sequential_read_misses)
        + memory.ram_miss * (ram.read_misses + ram.write_misses)
    )
