"""One instruction as timing and scheduling see it: its kind, and the registers that it reads and writes.

Each instruction set has its parser (`thumb`, `riscv`); not every kind exists in both.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What an instruction asks of a pipeline."""

    ALU = "alu"
    ALU_SHIFTED = "alu-shifted"
    SHIFT = "shift"
    COMPARE = "compare"
    EXTEND = "extend"
    SIMD = "simd"
    SIMD_SATURATING = "simd-saturating"
    BITFIELD = "bitfield"
    PACK = "pack"
    REVERSE = "reverse"
    SATURATE = "saturate"
    COUNT = "count"
    MULTIPLY = "multiply"
    MULTIPLY_LONG = "multiply-long"
    MAC = "mac"
    MAC_LONG = "mac-long"
    DIVIDE = "divide"
    LOAD = "load"
    LOAD_NARROW = "load-narrow"
    LOAD_DOUBLE = "load-double"
    LOAD_MULTIPLE = "load-multiple"
    STORE = "store"
    STORE_DOUBLE = "store-double"
    STORE_MULTIPLE = "store-multiple"
    BRANCH = "branch"
    CALL = "call"
    RETURN = "return"
    TABLE_BRANCH = "table-branch"
    IT = "it"
    NOP = "nop"
    SYSTEM = "system"
    FP = "fp"
    FP_MULTIPLY = "fp-multiply"
    FP_MAC = "fp-mac"
    FP_DIVIDE = "fp-divide"
    FP_MOVE = "fp-move"
    FP_LOAD = "fp-load"
    FP_STORE = "fp-store"
    VECTOR = "vector"
    VECTOR_SHIFT = "vector-shift"
    """A rounding shift, or one that changes the width of lanes."""
    VECTOR_MULTIPLY = "vector-multiply"
    VECTOR_SUM = "vector-sum"
    """A sum across lanes into a register, of products or not."""
    VECTOR_MOVE = "vector-move"
    """Between lanes and registers."""
    VECTOR_LOAD = "vector-load"
    VECTOR_STORE = "vector-store"
    GATHER = "gather"
    """Of four lanes, as a scatter is."""
    GATHER_HALVES = "gather-halves"
    """Of eight lanes."""
    GATHER_BYTES = "gather-bytes"
    """Of sixteen lanes."""
    SCATTER = "scatter"
    PREDICATE = "predicate"
    LOOP = "loop"


class Form(StrEnum):
    """What some pipelines tell apart within a kind."""

    OTHER = "other"
    SIMPLE = "simple"
    """An addition, subtraction or move without a shift: the Cortex-M7 can execute it a stage early."""
    SHIFTED_CONSTANT = "shifted-constant"
    """A constant that the shifter makes: eight bits at an even or odd place above the lowest byte."""
    MOVED_SHIFT = "moved-shift"
    """A plain shift that a disassembler writes as a move with a shifted operand."""
    FLAGS = "flags"
    """A multiplication that sets the flags."""
    NARROW_STORE = "narrow-store"
    """A store of a byte or halfword."""
    COMPARED = "compared"
    """A branch that compares a register with zero itself: CBZ, CBNZ."""
    PLAIN_EXTEND = "plain-extend"
    """SXTB, SXTH, UXTB or UXTH: not the forms of the DSP extension."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """A parsed instruction. Registers are names; `flags` and `ge` stand for the condition and GE flags.

    `reads` are ordinary operands, `address` those that make an address, `early` those that pass a shifter first and
    `accumulates` the addend of a multiply-accumulate, which is needed late. `registers` counts a list's registers.
    `size` is in bytes, 0 where the instruction set has no choice. `off_word`: of 4 bytes, and known not to start at a
    multiple of 4.
    """

    text: str
    kind: Kind
    writes: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    address: tuple[str, ...] = ()
    early: tuple[str, ...] = ()
    accumulates: str | None = None
    updates_base: bool = False
    registers: int = 0
    register_offset: bool = False
    conditional: bool = False
    loads_pc: bool = False
    form: Form = Form.OTHER
    size: int = 0
    off_word: bool = False

    @property
    def uses(self) -> tuple[str, ...]:
        """Every register read."""
        late = () if self.accumulates is None else (self.accumulates,)
        return (*self.reads, *self.address, *self.early, *late)


class UnknownInstructionError(ValueError):
    """An instruction that the table lacks."""
