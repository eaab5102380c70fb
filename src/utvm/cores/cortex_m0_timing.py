"""Timing of the Cortex-M0 on zero-wait memory, unvalidated.

Source: Arm DDI 0432 (Cortex-M0 TRM), section 3.3 (instruction set summary): loads and stores take 2 cycles, multiple
ones 1 and 1 for each register, a taken branch 3, BL 4, everything else 1. MULS is that of the fast multiplier; a part
with the small one needs 32 cycles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from utvm.cores import thumb
from utvm.cores.instruction import Instruction, Kind

_BRANCH = 3
_FIXED: Mapping[Kind, int] = {
    Kind.LOAD: 2,
    Kind.LOAD_NARROW: 2,
    Kind.STORE: 2,
    Kind.RETURN: _BRANCH,
    Kind.SYSTEM: 4,
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CortexM0Timing:
    """A core whose costs depend on the instruction alone, and on whether a branch is taken."""

    name: str = "model: cortex-m0 (unvalidated)"
    mispredict_cycles: int = 0
    loads_at_words: bool = False
    misaligned_target_cycles: int = 0
    unaligned_cycles: Mapping[str, int] = field(default_factory=dict)

    def parse(self, text: str) -> Instruction:
        """Return an instruction from its text; see `Timing`."""
        return thumb.parse(text)

    def misprediction(self, block: Sequence[Instruction]) -> int:
        """Return 0: nothing is predicted; see `Timing`."""
        del block
        return self.mispredict_cycles

    def cost(self, context: Sequence[Instruction], block: Sequence[Instruction], *, jumped: bool = False) -> float:
        """Return the cycles that `block` adds after `context`; see `Timing`."""
        taken = jumped and bool(context) and context[-1].kind is Kind.BRANCH and context[-1].conditional
        return float(sum(map(_single, block)) + (_BRANCH - 1 if taken else 0))


def _single(instruction: Instruction) -> int:
    kind = instruction.kind
    if kind in (Kind.LOAD_MULTIPLE, Kind.STORE_MULTIPLE):
        return 1 + instruction.registers + (_BRANCH if instruction.loads_pc else 0)
    if kind is Kind.CALL:
        return 4 if instruction.text.split()[0] == "bl" else _BRANCH
    if (kind is Kind.BRANCH and not instruction.conditional) or instruction.loads_pc:
        return _BRANCH
    return _FIXED.get(kind, 1)


CORTEX_M0_TIMING = CortexM0Timing()
