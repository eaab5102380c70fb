"""Short kernels that settle what a pipeline does: a few instructions each, executed many times in a row.

They use r0 to r9 and flags as they like; r10 and r11 point to words of a buffer, multiples of 8 apart. On RISC-V a0 to
a5 and t0 to t2 are free and s10 points to the buffer.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineKernel:
    """One question to a pipeline.

    Attributes:
        what: the question, in a few words.
        turn: instructions.
        settles: the fact of `utvm.cores.measured` that the answer settles; empty for what only confirms the table.
        misaligned: kinds of a misaligned access of each turn, as the emulators count them.
    """

    what: str
    turn: tuple[str, ...]
    settles: str = ""
    misaligned: tuple[str, ...] = ()


def _kernel(what: str, *turn: str, settles: str = "", misaligned: str = "") -> PipelineKernel:
    return PipelineKernel(what=what, turn=turn, settles=settles, misaligned=tuple(misaligned.split()))


_WORD_AT_2 = "word_at_2 crosses_word unaligned_load"
_ANY_ARM = (
    _kernel("additions in a chain", "add.w r0, r0, r1"),
    _kernel("a load to an ALU operand", "ldr.w r0, [r10]", "add.w r1, r0, r2", "add.w r3, r4, r5"),
    _kernel("independent loads", "ldr.w r0, [r10]", "ldr.w r1, [r10, #4]"),
    _kernel("stores of words in a row", "str.w r0, [r10]"),
)
# The Cortex-M7 has questions of its own: there the cycles of such a load depend on its neighbour.
_UNALIGNED = (_kernel("an unaligned load", "ldr.w r0, [r10, #2]", "nop.w", misaligned=_WORD_AT_2),)
_DSP = (
    _kernel("SMLAD in a chain through its addend", "smlad r0, r1, r2, r0"),
    _kernel("a product to an ALU operand", "mul r0, r1, r2", "add.w r3, r0, r4"),
    _kernel("SIMD to an ALU operand", "sadd16 r0, r1, r2", "add.w r3, r0, r4"),
)
_M4 = (
    _kernel(
        "32-bit loads off words",
        *("nop", "ldr.w r0, [r10]", "ldr.w r1, [r10, #4]", "ldr.w r2, [r10, #8]", "add.w r3, r4, r5", "nop"),
        settles="aligned_loads",
    ),
    _kernel(
        "a store before a load", "str.w r1, [r10]", "ldr.w r0, [r11]", "add.w r2, r3, r4", settles="store_before_load"
    ),
    _kernel(
        "a store after a load", "ldr.w r0, [r10]", "str.w r1, [r11]", "add.w r2, r3, r4", settles="store_after_load"
    ),
    _kernel("a NOP after a load", "ldr.w r0, [r10]", "nop.w", "add.w r2, r3, r4", settles="nop_after_load"),
    _kernel(
        "post-indexed loads of two bases",
        *("ldr.w r0, [r10], #4", "ldr.w r1, [r11], #4", "add.w r2, r3, r4"),
        settles="indexed_chain",
    ),
)
_M7 = (
    _kernel("a word load to a factor", "ldr.w r0, [r10]", "smlad r1, r0, r2, r1", settles="multiply_waits"),
    _kernel(
        "a word load to an addition with a shift", "ldr.w r0, [r10]", "add.w r1, r0, r2, lsl #3",
        settles="shifter_waits",
    ),
    _kernel("a byte load to an ALU operand", "ldrb.w r0, [r10]", "add.w r1, r0, r2", settles="narrow_load"),
    _kernel("LDRD to an ALU operand", "ldrd r0, r1, [r10]", "nop", "nop", "add.w r2, r0, r3", settles="double_load"),
    _kernel("two loads of one bank", "ldr.w r0, [r10]", "ldr.w r1, [r10, #8]", settles="banks"),
    _kernel("two loads of both banks", "ldr.w r0, [r10]", "ldr.w r1, [r10, #4]"),
    _kernel(
        "a multiplication beside a store", "smlad r0, r1, r2, r0", "str.w r3, [r10]", settles="multiply_beside_store"
    ),
    _kernel("an addition that forwards within its cycle",
        *("sadd16 r6, r7, r8", "nop.w", "add.w r0, r1, r2", "eor.w r3, r0, r4"),
        settles="early_alu"),
    # SIMD begins a cycle, so that the two behind it are in one.
    _kernel(
        "a shifted operand, then a shift",
        *("sadd16 r6, r7, r8", "nop.w", "eor.w r0, r1, r2, ror #2", "ror.w r3, r4, #5"),
        settles="shift_beside_shifted",
    ),
    _kernel("a load, then SMLAD", "ldr.w r3, [r10]", "smlad r0, r1, r2, r0"),
    _kernel("SMLAD, then a load", "smlad r0, r1, r2, r0", "ldr.w r3, [r10]"),
    _kernel("SIMD, then SMLAD", "sadd16 r3, r4, r5", "smlad r0, r1, r2, r0"),
    _kernel("two of SIMD", "sadd16 r3, r4, r5", "sadd16 r6, r7, r8"),
    # The aligned one is of the other bank than the word that the unaligned one reads first.
    _kernel(
        "an aligned load, then an unaligned one", "ldr.w r1, [r10, #4]", "ldr.w r0, [r11, #2]",
        settles="unaligned_load", misaligned=_WORD_AT_2,
    ),
    # The table takes the case above for both, as counts do not tell which load is beside an unaligned one.
    _kernel("an unaligned load, then an aligned one", "ldr.w r0, [r11, #2]", "ldr.w r1, [r10, #4]",
        misaligned=_WORD_AT_2),
    _kernel("an unaligned load beside an aligned one of its first bank", "ldr.w r1, [r10]", "ldr.w r0, [r10, #2]",
        misaligned=_WORD_AT_2),
    _kernel(
        "unaligned stores in a row", "str.w r0, [r10, #6]",
        settles="unaligned_store", misaligned="word_at_2 crosses_word unaligned_store",
    ),
    # Counts do not tell that the buffer has room: the table charges a row of them.
    _kernel(
        "an unaligned store now and then", "str.w r0, [r10, #6]", *["nop.w"] * 8,
        misaligned="word_at_2 crosses_word unaligned_store",
    ),
    _kernel("a division", "movs r1, #100", "movs r2, #9", "sdiv r0, r1, r2", "add.w r3, r0, r4"),
    _kernel("byte stores to one bank", "strb.w r0, [r10]", "strb.w r1, [r10, #8]", settles="narrow_store"),
    _kernel("byte stores to both banks", "strb.w r0, [r10]", "strb.w r1, [r10, #4]", settles="spread_store"),
    _kernel("byte stores in sequence", "strb.w r0, [r10], #1", settles="adjacent_store"),
    _kernel("LDRD among 32-bit instructions", "ldrd r0, r1, [r10]", "nop.w", "nop.w", settles="fetch_stall"),
)  # fmt: skip
_M33 = (
    _kernel("a load to an ALU operand", "ldr.w r0, [r10]", "add.w r1, r0, r2", settles="load"),
    _kernel("a load to an addend", "ldr.w r0, [r10]", "smlad r1, r2, r3, r0"),
    _kernel("a product to an ALU operand", "smulbb r0, r1, r2", "add.w r3, r0, r4", settles="multiply"),
    _kernel("packing to an ALU operand", "pkhbt r0, r1, r2", "add.w r3, r0, r4", settles="simd"),
    _kernel(
        "an addition with a shift to an ALU operand", "add.w r0, r1, r2, lsl #3", "add.w r3, r0, r4", settles="shifted"
    ),
    _kernel("MULS", "muls r0, r1, r0", "nop.w", settles="multiply_flags"),
    _kernel("a shifted constant that makes flags", "ands.w r0, r1, #0x1fc0", "nop.w", settles="constant_flags"),
    _kernel("a NOP beside a 16-bit instruction", "adds r0, r1, r2", "nop", settles="branch_pairs"),
)
_RISCV = (
    _kernel("additions in a chain", "add a0, a0, a1"),
    _kernel("multiplications", "mul a0, a1, a2"),
    _kernel("upper halves of products", "mulh a0, a1, a2"),
    _kernel("a load to a use", "lw a0, 0(s10)", "add a1, a0, a2"),
    _kernel("a load to a use one later", "lw a0, 0(s10)", "add a3, a4, a5", "add a1, a0, a2"),
    _kernel("independent loads", "lw a0, 0(s10)", "lw a1, 4(s10)"),
    _kernel("stores", "sw a0, 0(s10)"),
    _kernel("a load that crosses a word", "lw a0, 2(s10)", misaligned="crosses_word"),
    _kernel("a branch that is not taken", "bne zero, zero, 9f", "add a0, a0, a1"),
    _kernel("a control register", "csrr a0, mcycle", "add a1, a2, a3"),
)
_ARMV6M = (
    _kernel("additions in a chain", "adds r0, r0, r1"),
    _kernel("multiplications", "muls r0, r1, r0"),
    _kernel("a load to a use", "ldr r0, [r4]", "adds r1, r0, r2"),
    _kernel("a load without a use", "ldr r0, [r4]", "adds r1, r2, r3"),
    _kernel("stores", "str r0, [r4]"),
    _kernel("a store of a byte", "strb r0, [r4]"),
)


_OTHERS = {"riscv": _RISCV}
"""Kernels of instruction sets whose cores are all asked the same."""

_Lines = tuple[str, ...]


def pipeline_frame(isa: str, *, narrow: bool, buffer: str) -> tuple[_Lines, _Lines]:
    """Return the lines before and after the turns of a kernel: they set the pointers to `buffer` and return.

    The other arguments are those of `pipeline_kernels`.
    """
    if isa in _OTHERS:
        return (
            ("addi sp, sp, -16", "sw s10, 0(sp)", f"la s10, {buffer}"),
            ("9:", "lw s10, 0(sp)", "addi sp, sp, 16", "ret"),
        )
    if narrow:
        return ("push {r4, lr}", f"ldr r4, ={buffer}"), ("pop {r4, pc}", ".balign 4", ".ltorg")
    return (
        ("push {r4-r11, lr}", f"ldr.w r10, ={buffer}", "add.w r11, r10, #512"),
        ("pop {r4-r11, pc}", ".balign 4", ".ltorg"),
    )


def pipeline_kernels(core: str, isa: str, *, dsp: bool, narrow: bool) -> tuple[PipelineKernel, ...]:
    """Return the kernels for a core.

    Args:
        core: its name, for what is asked of it alone.
        isa: its instruction set.
        dsp: whether it has the DSP extension.
        narrow: whether it has 16-bit instructions alone (Armv6-M); the buffer is in r4 then.
    """
    if isa in _OTHERS:
        return _OTHERS[isa]
    if narrow:
        return _ARMV6M
    own = {"cortex-m7": _M7, "cortex-m33": _M33, "cortex-m4": _M4, "cortex-m3": _M4}.get(core, ())
    if core != "cortex-m7":
        own = (*_UNALIGNED, *own)
    return (*_ANY_ARM, *(_DSP if dsp else ()), *own)
