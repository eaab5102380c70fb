"""Timing of the Cortex-M4 and Cortex-M3 as measured on silicon, zero-wait memory.

Sources: the table of Arm DDI 0439 (`cortex_m4_timing`), and where that is silent or coarser
J: github.com/jnk0le/random, "pipeline cycle test/doc/cortex_m3m4.md", commit 3dfc2ab: STM32F407 (rev Y), STM32F103.

Not modelled: loads that leave their memory block (J: a part's matter), and three unaligned 32-bit instructions behind
one of several cycles (eprint 2025/523), of which the loads are charged here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from utvm.cores.cortex_m4_timing import CORTEX_M3_TIMING, CORTEX_M4_TIMING, CortexM4Timing
from utvm.cores.instruction import Instruction, Kind

_LOADS = frozenset({Kind.LOAD, Kind.LOAD_NARROW, Kind.FP_LOAD})
_STORES = frozenset({Kind.STORE, Kind.FP_STORE})


@dataclass(frozen=True, slots=True, kw_only=True)
class CortexM4Facts:
    """What a board can settle, in cycles unless it says otherwise; all by J.

    Attributes:
        aligned_loads: whether a load of 32 bits that does not start at a word fails to pipeline (J: "may fail").
        store_before_load: what a load right after a store costs more.
        store_after_load: what a store with a constant offset costs right after a load, which then costs one.
        nop_after_load: likewise a NOP.
        indexed_chain: whether a load that moves its base pipelines with the load before it (M4: if that has another
            base, which the manual's rule on bases says too; M3: never).
    """

    aligned_loads: bool = True
    store_before_load: int = 1
    store_after_load: int = 0
    nop_after_load: int = 0
    indexed_chain: bool = True


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeasuredCortexM4Timing:
    """A single-issue core whose costs depend on an instruction and the one before it."""

    name: str
    manual: CortexM4Timing
    facts: CortexM4Facts = field(default_factory=CortexM4Facts)
    mispredict_cycles: int = 0
    misaligned_target_cycles: int = 0
    unaligned_cycles: Mapping[str, int] = field(
        default_factory=lambda: {"odd_halfword": 1, "word_at_2": 1, "word_at_odd": 2}
    )

    @property
    def loads_at_words(self) -> bool:
        """Whether a load of 32 bits should begin at a multiple of 4; see `Timing`."""
        return self.facts.aligned_loads

    def parse(self, text: str) -> Instruction:
        """Return an instruction from its text; see `Timing`."""
        return self.manual.parse(text)

    def misprediction(self, block: Sequence[Instruction]) -> int:
        """Return 0: nothing is predicted; see `Timing`."""
        return self.manual.misprediction(block)

    def cost(self, context: Sequence[Instruction], block: Sequence[Instruction], *, jumped: bool = False) -> float:
        """Return the cycles that `block` adds after `context`; see `Timing`."""
        total = self.manual.cost(context, block, jumped=jumped)
        before = context[-1] if context else None
        for instruction in block:
            if before is not None:
                total += self._difference(instruction, before)
            before = instruction
        return total

    def _difference(self, instruction: Instruction, before: Instruction) -> int:
        """Return what an instruction costs more than the manual says, by the one before it."""
        facts = self.facts
        if before.kind in _STORES and instruction.kind in _LOADS:
            return facts.store_before_load
        if before.kind not in _LOADS:
            return 0
        if instruction.kind is Kind.NOP:
            return facts.nop_after_load - 1
        made = set(before.writes) & set(instruction.address)
        if instruction.kind in _STORES:
            free = not made and not instruction.register_offset and not before.loads_pc
            return facts.store_after_load - 1 if free else 0
        if instruction.kind in _LOADS and not made and self._fails(instruction, before):
            return 1
        return 0

    def _fails(self, load: Instruction, before: Instruction) -> bool:
        """Whether a load does not pipeline with one before it."""
        facts = self.facts
        if facts.aligned_loads and load.off_word:
            return True
        return not facts.indexed_chain and load.updates_base


def measured_cortex_m4(facts: CortexM4Facts, name: str = "model: measured cortex-m4") -> MeasuredCortexM4Timing:
    """Return the Cortex-M4 that facts describe."""
    return MeasuredCortexM4Timing(name=name, manual=CORTEX_M4_TIMING, facts=facts)


def measured_cortex_m3(facts: CortexM4Facts, name: str = "model: measured cortex-m3") -> MeasuredCortexM4Timing:
    """Return the Cortex-M3 that facts describe."""
    return MeasuredCortexM4Timing(name=name, manual=CORTEX_M3_TIMING, facts=facts)


MEASURED_CORTEX_M4_TIMING = measured_cortex_m4(CortexM4Facts())
MEASURED_CORTEX_M3_TIMING = measured_cortex_m3(CortexM4Facts(indexed_chain=False))
