"""Timing of the Cortex-M4 on zero-wait memory by its manual, also used for the Cortex-M33, and unvalidated for the M3.

Source: Arm DDI 0439 (Cortex-M4 TRM), section 3.3.1 (cycle counts) and 3.3.2 (load/store timings): a load that follows a
load pipelines with it; a base register that the instruction before made costs a cycle; a taken branch refills the
pipeline, here in 2 cycles; misaligned accesses are split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from utvm.cores import thumb
from utvm.cores.instruction import Instruction, Kind

_REFILL = 2
_SINGLE_LOADS = frozenset({Kind.LOAD, Kind.LOAD_NARROW, Kind.FP_LOAD})
_SINGLE_TRANSFERS = frozenset({*_SINGLE_LOADS, Kind.STORE, Kind.FP_STORE})
_ANY_LOAD = frozenset({*_SINGLE_LOADS, Kind.LOAD_DOUBLE, Kind.LOAD_MULTIPLE})

_FIXED: Mapping[Kind, int] = {
    Kind.LOAD_DOUBLE: 3,
    Kind.STORE_DOUBLE: 3,
    Kind.DIVIDE: 6,
    Kind.FP_DIVIDE: 14,
    Kind.FP_MAC: 3,
    Kind.CALL: 1 + _REFILL,
    Kind.RETURN: 1 + _REFILL,
    Kind.TABLE_BRANCH: 2 + _REFILL,
    Kind.SYSTEM: 2,
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CortexM4Timing:
    """A single-issue core whose costs depend on an instruction and the one before it."""

    name: str
    long_multiply_cycles: int = 1
    mispredict_cycles: int = 0
    loads_at_words: bool = False
    misaligned_target_cycles: int = 0
    unaligned_cycles: Mapping[str, int] = field(
        default_factory=lambda: {"odd_halfword": 1, "word_at_2": 1, "word_at_odd": 2}
    )

    def parse(self, text: str) -> Instruction:
        """Return an instruction from its text; see `Timing`."""
        return thumb.parse(text)

    def misprediction(self, block: Sequence[Instruction]) -> int:
        """Return 0: nothing is predicted; see `Timing`."""
        del block
        return self.mispredict_cycles

    def cost(self, context: Sequence[Instruction], block: Sequence[Instruction], *, jumped: bool = False) -> float:
        """Return the cycles that `block` adds after `context`; see `Timing`."""
        before = context[-1] if context else None
        refill = _REFILL if jumped and before is not None and _refills_when_taken(before) else 0
        total = float(refill)
        for instruction in block:
            total += self._single(instruction, before)
            before = instruction
        return total

    def _single(self, instruction: Instruction, before: Instruction | None) -> int:
        kind = instruction.kind
        if kind in _SINGLE_TRANSFERS:
            return self._transfer(instruction, before)
        if kind in (Kind.LOAD_MULTIPLE, Kind.STORE_MULTIPLE):
            return 1 + instruction.registers + (_REFILL if instruction.loads_pc else 0)
        if kind is Kind.BRANCH and not instruction.conditional:
            return 1 + _REFILL
        if kind is Kind.MAC and instruction.text.split()[0].startswith(("mla", "mls")):
            return 2
        if kind is Kind.ALU and instruction.loads_pc:
            return 1 + _REFILL
        if kind in (Kind.MULTIPLY_LONG, Kind.MAC_LONG):
            return self.long_multiply_cycles
        return _FIXED.get(kind, 1)

    def _transfer(self, instruction: Instruction, before: Instruction | None) -> int:
        load = instruction.kind in _SINGLE_LOADS
        cycles = 2 if load or instruction.register_offset else 1
        if before is not None:
            made = set(before.writes)
            needed = set(instruction.address)
            if before.kind in _SINGLE_LOADS and not made & needed:
                cycles = 1
            elif before.kind not in _ANY_LOAD and made & needed:
                cycles += 1
        return cycles + (_REFILL if instruction.loads_pc else 0)


def _refills_when_taken(instruction: Instruction) -> bool:
    return instruction.kind is Kind.BRANCH and instruction.conditional


CORTEX_M4_TIMING = CortexM4Timing(name="model: cortex-m4 by its manual")
CORTEX_M33_TIMING = CortexM4Timing(name="model: cortex-m33 by the cortex-m4's manual")
"""The same table: Arm publishes none. Within 9 % of four networks on an nRF5340 (docs/cycle-model.md)."""
CORTEX_M3_TIMING = CortexM4Timing(name="model: cortex-m3 by its manual (unvalidated)", long_multiply_cycles=4)
"""The Cortex-M3 differs in its long multiplications: 3 to 7 cycles, by operand (Arm DDI 0337, section 3.3.1)."""
