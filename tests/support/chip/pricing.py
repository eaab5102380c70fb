"""Cycles for a simulated chip: blocks of known code, priced by a core's pipeline with facts of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from utvm.cores.instruction import Instruction
from utvm.cores.measured import measured_timing

_CONTEXT = 40


class Pricing:
    """What the cycle counter of a chip counts.

    Args:
        core: the core whose measured pipeline it has.
        facts: what it does differently.
        listing: address → instruction text; code that is not listed takes a cycle an instruction.
    """

    def __init__(self, core: str, facts: Mapping[str, bool | int | float], listing: Mapping[int, str]) -> None:
        self._timing = measured_timing(core, facts, "model: simulated chip")
        self._listing = dict(listing)
        self._before: tuple[Instruction, ...] = ()
        self._end = 0
        self.cycles = 0.0

    def block(self, address: int, size: int, count: int) -> None:
        """Charge a block of `count` instructions, behind the one before."""
        code = []
        for place in range(address, address + size, 2):
            if place in self._listing:
                instruction = self._timing.parse(self._listing[place])
                code.append(replace(instruction, off_word=instruction.size == 4 and place % 4 != 0))
        if len(code) != count:
            self.cycles += count
            self._before = ()
        else:
            self.cycles += self._timing.cost(self._before, code, jumped=self._end != address)
            self._before = tuple(code[-_CONTEXT:])
        self._end = address + size

    def access(self, address: int, size: int, *, store: bool) -> None:
        """Charge an access that is not aligned."""
        costs = self._timing.unaligned_cycles
        if address % size:
            kind = "word_at_odd" if address % 2 else "word_at_2"
            self.cycles += costs.get("unaligned_store" if store else "unaligned_load", 0)
            self.cycles += costs.get("odd_halfword" if size == 2 else kind, 0)
