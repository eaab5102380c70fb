"""Timing of OpenHW Group's CV32E40P (RV32IMC, four stages, in order) on zero-wait memory.

Source: CV32E40P user manual, chapter "Pipeline Details": one instruction a cycle, but 5 for the upper half of a
product, 3 to 35 for a division by the leading zeros of the divisor, 2 for a jump, 3 for a taken branch, each 1 more
where the target is an instruction of 32 bits that does not start at a word, 2 for an access that crosses a word, 4 for
most control registers; 1 more where a load's result or a jump's register was made by the instruction before.

Validated against the core's RTL: docs/cycle-model.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from utvm.cores import riscv
from utvm.cores.instruction import Instruction, Kind

_TAKEN = 2
_FIXED: Mapping[Kind, int] = {
    Kind.MULTIPLY_LONG: 5,
    # 28 leading zeros: divisors are counts of a pooling window.
    Kind.DIVIDE: 31,
    Kind.CALL: 2,
    Kind.RETURN: 2,
    Kind.SYSTEM: 4,
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cv32e40pTiming:
    """A single-issue core whose costs depend on an instruction and the one before it."""

    name: str
    mispredict_cycles: int = 0
    loads_at_words: bool = False
    misaligned_target_cycles: int = 1
    unaligned_cycles: Mapping[str, int] = field(default_factory=lambda: {"crosses_word": 1})

    def parse(self, text: str) -> Instruction:
        """Return an instruction from its text; see `Timing`."""
        return riscv.parse(text)

    def misprediction(self, block: Sequence[Instruction]) -> int:
        """Return 0: nothing is predicted; see `Timing`."""
        del block
        return self.mispredict_cycles

    def cost(self, context: Sequence[Instruction], block: Sequence[Instruction], *, jumped: bool = False) -> float:
        """Return the cycles that `block` adds after `context`; see `Timing`."""
        before = context[-1] if context else None
        taken = jumped and before is not None and before.kind is Kind.BRANCH and before.conditional
        total = _TAKEN if taken else 0
        for instruction in block:
            total += _single(instruction) + _hazard(instruction, before)
            before = instruction
        return float(total)


def _single(instruction: Instruction) -> int:
    if instruction.kind is Kind.BRANCH and not instruction.conditional:
        return 2
    return _FIXED.get(instruction.kind, 1)


def _hazard(instruction: Instruction, before: Instruction | None) -> int:
    if before is None:
        return 0
    jump = instruction.kind in (Kind.CALL, Kind.RETURN)
    needed = instruction.reads if jump else instruction.uses
    return int((jump or before.kind is Kind.LOAD) and bool(set(before.writes) & set(needed)))


CV32E40P_TIMING = Cv32e40pTiming(name="model: cv32e40p")
