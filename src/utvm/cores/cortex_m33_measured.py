"""Timing of the Cortex-M33 as it was measured on silicon, zero-wait memory.

Source J: github.com/jnk0le/random, "pipeline cycle test/doc/cortex_m33.md", commit 3dfc2ab: an RP2350 (r1p0). Where it
is silent: its DSP extension's SXTB16 is taken as SIMD (2 cycles), a saturation and a multiplication too; accesses that
are not aligned as Arm DDI 0439 has them for the Cortex-M4; a division as there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from utvm.cores.instruction import Form, Instruction, Kind
from utvm.cores.timing import InOrderPipeline, Timetable

_BRANCHES = frozenset({Kind.BRANCH, Kind.CALL, Kind.RETURN})


@dataclass(frozen=True, slots=True, kw_only=True)
class CortexM33Facts:
    """What a board can settle, in cycles unless it says otherwise; all by J.

    Attributes:
        load: from a load to an ALU operand or factor. An addend or the data of a store takes one less.
        multiply: from a multiplication to a use that is not an addend.
        simd: from SIMD, packing, saturation to a use.
        shifted: from an instruction with a shifted operand or shifted constant to a use.
        multiply_flags: what MULS costs more.
        constant_flags: what a shifted constant costs more in an instruction that makes flags, MOVS aside.
        branch: a taken branch alone.
        branch_pairs: whether a 16-bit branch goes with a 16-bit instruction before it, unless it is taken and that one
            makes flags.
    """

    load: int = 2
    multiply: int = 2
    simd: int = 2
    shifted: int = 2
    multiply_flags: int = 1
    constant_flags: int = 1
    branch: int = 2
    branch_pairs: bool = True


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CortexM33Timing(InOrderPipeline):
    """One instruction a cycle, with branches and NOPs that go with a 16-bit instruction before them."""

    facts: CortexM33Facts = field(default_factory=CortexM33Facts)

    def cost(self, context: Sequence[Instruction], block: Sequence[Instruction], *, jumped: bool = False) -> float:
        """Return the cycles that `block` adds after `context`; see `Timing`."""
        total = InOrderPipeline.cost(self, context, block)
        if jumped and context and context[-1].kind is Kind.BRANCH and context[-1].conditional:
            before = context[-2] if len(context) > 1 else None
            total += self._taken(context[-1], before) - self._not_taken(context[-1], before)
        before = context[-1] if context else None
        for instruction in block:
            if instruction.kind is Kind.BRANCH and instruction.conditional:
                total += self._not_taken(instruction, before) - 1
            elif instruction.kind in _BRANCHES:
                total += self._taken(instruction, before) - 1
            elif instruction.loads_pc:
                total += self.facts.branch
            elif instruction.kind in (Kind.NOP, Kind.IT) and self._pairs(instruction, before):
                total -= 1
            elif instruction.form is Form.SHIFTED_CONSTANT and "flags" in instruction.writes:
                total += 0 if instruction.text.startswith("mov") else self.facts.constant_flags
            before = instruction
        return total

    def _not_taken(self, branch: Instruction, before: Instruction | None) -> int:
        return 0 if self._pairs(branch, before) else 1

    def _taken(self, branch: Instruction, before: Instruction | None) -> int:
        makes_flags = before is not None and "flags" in before.writes
        return self.facts.branch - (self._pairs(branch, before) and not makes_flags)

    def _pairs(self, instruction: Instruction, before: Instruction | None) -> bool:
        return self.facts.branch_pairs and instruction.size == 2 and before is not None and before.size == 2


def measured_cortex_m33(facts: CortexM33Facts, name: str = "model: measured cortex-m33") -> CortexM33Timing:
    """Return the pipeline that facts describe."""
    one = Timetable(address_lead=0, early_lead=0)
    load = replace(one, latency=facts.load)
    store = replace(one, late_slack=1)
    simd = replace(one, latency=facts.simd)
    multiply = replace(one, latency=facts.multiply)
    shifted = replace(one, latency=facts.shifted)
    fp = replace(one, latency=2)
    return CortexM33Timing(
        name=name,
        width=1,
        units={},
        unaligned_cycles={"odd_halfword": 1, "word_at_2": 1, "word_at_odd": 2},
        facts=facts,
        kinds={
            **dict.fromkeys(Kind, one),
            Kind.ALU_SHIFTED: shifted,
            Kind.EXTEND: simd,
            Kind.SIMD: simd,
            Kind.SIMD_SATURATING: simd,
            Kind.PACK: simd,
            Kind.SATURATE: simd,
            Kind.MULTIPLY: multiply,
            Kind.MULTIPLY_LONG: multiply,
            Kind.MAC: multiply,
            Kind.MAC_LONG: multiply,
            Kind.DIVIDE: replace(one, busy=5),
            Kind.LOAD: load,
            Kind.LOAD_NARROW: load,
            Kind.LOAD_DOUBLE: replace(load, busy=1),
            Kind.LOAD_MULTIPLE: load,
            Kind.STORE: store,
            Kind.STORE_DOUBLE: replace(store, busy=1),
            Kind.STORE_MULTIPLE: store,
            Kind.TABLE_BRANCH: replace(one, busy=3),
            Kind.SYSTEM: replace(one, busy=1),
            Kind.FP: fp,
            Kind.FP_MULTIPLY: fp,
            Kind.FP_MAC: replace(fp, latency=4, chain_slack=1, busy=2),
            Kind.FP_DIVIDE: replace(fp, latency=14),
            Kind.FP_STORE: store,
        },
        forms={
            (Kind.ALU_SHIFTED, Form.MOVED_SHIFT): one,
            (Kind.EXTEND, Form.PLAIN_EXTEND): one,
            (Kind.MULTIPLY, Form.FLAGS): replace(multiply, busy=facts.multiply_flags),
            (Kind.ALU, Form.SHIFTED_CONSTANT): shifted,
        },
    )


MEASURED_CORTEX_M33_TIMING = measured_cortex_m33(CortexM33Facts())
