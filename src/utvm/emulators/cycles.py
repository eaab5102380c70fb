"""Cycles from counts: what a core's timing says of each executed edge between blocks, times how often it was taken.

For an edge from block A to block B the cost is what B adds when it runs right after A. A conditional branch is charged
a misprediction for each time that it went the way it goes less often; misaligned accesses are charged by kind.
Zero-wait memory. Validation: docs/cycle-model.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

from utvm.cores.instruction import Instruction, UnknownInstructionError
from utvm.cores.timing import Timing
from utvm.emulators.counters import Counts

_CONTEXT = 40
_WIDE = 4
"""Bytes of the longer instructions, and of a word."""

Block = tuple[int, int]
"""Address of the first instruction, and how many instructions."""


class CycleModel:
    """The cost of the edges of one program on one core.

    Args:
        listing: address → instruction text of the whole program.
        timing: the core's.
    """

    def __init__(self, listing: Mapping[int, str], timing: Timing) -> None:
        self.timing = timing
        self._listing = listing
        addresses = sorted(listing)
        self._following = dict(pairwise(addresses))
        self._blocks: dict[Block, tuple[tuple[Instruction, ...], int]] = {}
        self._costs: dict[tuple[Block, Block], float] = {}

    def cycles(self, counts: Counts) -> int | None:
        """Return the modelled cycles of what was counted; None if it holds an instruction without known timing."""
        if not counts.complete:
            return None
        total = 0.0
        ways: dict[Block, Counter[bool]] = {}
        try:
            for origin, origin_length, to, to_length, count, _ in counts.edges.tolist():
                before, after = (origin, origin_length), (to, to_length)
                total += count * self._cost(before, after)
                if origin:
                    ways.setdefault(before, Counter())[self._end(before) != to] += count
            total += sum(
                self.timing.misprediction(self._instructions(block)) * min(way[True], way[False])
                for block, way in ways.items()
                if self._is_conditional(block)
            )
        except (KeyError, UnknownInstructionError):
            return None
        unaligned = self.timing.unaligned_cycles
        return round(total + sum(unaligned.get(kind, 0) * number for kind, number in counts.misaligned.items()))

    def _cost(self, before: Block, after: Block) -> float:
        if (before, after) not in self._costs:
            context = self._instructions(before)[-_CONTEXT:] if before[0] else ()
            jumped = bool(before[0]) and self._end(before) != after[0]
            cost = self.timing.cost(context, self._instructions(after), jumped=jumped)
            if jumped and after[0] % 4 and self._following.get(after[0], 0) - after[0] == 4:
                cost += self.timing.misaligned_target_cycles
            self._costs[before, after] = cost
        return self._costs[before, after]

    def _is_conditional(self, block: Block) -> bool:
        return self._instructions(block)[-1].conditional

    def _instructions(self, block: Block) -> tuple[Instruction, ...]:
        return self._decoded(block)[0]

    def _end(self, block: Block) -> int:
        return self._decoded(block)[1]

    def _decoded(self, block: Block) -> tuple[tuple[Instruction, ...], int]:
        if block not in self._blocks:
            address, length = block
            found = []
            for _ in range(length):
                following = self._following.get(address, address + 2)
                instruction = self.timing.parse(self._listing[address])
                if following - address == _WIDE and address % _WIDE:
                    instruction = replace(instruction, off_word=True)
                found.append(instruction)
                address = following
            self._blocks[block] = tuple(found), address
        return self._blocks[block]
