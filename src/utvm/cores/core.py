"""What a core can do. The rest of the compiler asks these fields and never tests for a core's name."""

from __future__ import annotations

from dataclasses import dataclass

from utvm.cores.isa import Isa
from utvm.cores.timing import Timing


@dataclass(frozen=True, slots=True, kw_only=True)
class FlashCaches:
    """Caches in front of flash, in bytes, and the cycles that a line of 32 bytes costs when it is not in them."""

    code_bytes: int
    constant_bytes: int
    code_line_cycles: int
    constant_line_cycles: int

    def streaming(self, code_bytes: float, constant_bytes: float, turns: float) -> float:
        """Return the cycles of reading so much code and so many constants anew in each of `turns` turns.

        What fits its cache is read once and costs nothing after that.
        """
        code = code_bytes * self.code_line_cycles if code_bytes > self.code_bytes else 0.0
        constants = constant_bytes * self.constant_line_cycles if constant_bytes > self.constant_bytes else 0.0
        return turns * (code + constants) / _LINE_BYTES


_LINE_BYTES = 32

_MACHINES = {
    "armv6-m": "__ARM_ARCH_6M__",
    "armv7-m": "__ARM_ARCH_7M__",
    "armv7e-m": "__ARM_ARCH_7EM__",
    "armv8-m.main": "__ARM_ARCH_8M_MAIN__",
    "armv8.1-m.main": "__ARM_FEATURE_MVE",
}
"""What GCC and Clang define for architectures of Arm (Arm C language extensions, section 5.4.1)."""

XPULP_MACRO = "UTVM_XPULP"
"""Defined by builds for cores with the Xpulp extension."""
ZVE32X_MACRO = "UTVM_ZVE32X"
"""Defined by builds for cores with the vector extension of RISC-V."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Core:
    """A processor core.

    `isa` is its instruction set, `cflags` are GCC's machine options. `part_number` is PARTNO of Arm's CPUID register.
    `dsp` is the Arm DSP extension (16-bit SIMD), `mve` the M-profile vector extension, `xpulp` the Xpulp extension of
    RISC-V (dot products of bytes, hardware loops), `zve32x` the bits of a register of RISC-V's vector extension by
    which kernels are chosen, which work with any size; 0 is none. `fault_status` is whether the fault status registers
    of Armv7-M exist,
    `vector_table_register` whether vectors can be anywhere (VTOR: optional on the Cortex-M0+, where every part that is
    described has it), `timing` the model of the pipeline if there is one, `macs_per_cycle` the most
    multiply-accumulates that its multiplier can do (loads not counted), `registers` how many a compiler has for values
    and addresses, `caches` what estimates know of the memories of a part; None is zero-wait memory.
    """

    name: str
    isa: Isa
    architecture: str
    cflags: tuple[str, ...]
    part_number: int | None = None
    fpu: bool = False
    dsp: bool = False
    mve: bool = False
    xpulp: bool = False
    zve32x: int = 0
    unaligned: bool = False
    fault_status: bool = False
    vector_table_register: bool = False
    timing: Timing | None = None
    macs_per_cycle: float = 0.5
    registers: int = 12
    caches: FlashCaches | None = None

    @property
    def tool_prefix(self) -> str:
        """What stands before `gcc` in the name of its compiler."""
        return self.isa.tool_prefix

    @property
    def machine(self) -> str:
        """Condition of the C preprocessor that holds where a compiler's target has the core's architecture."""
        return f"defined({_MACHINES.get(self.architecture, self.isa.macro)})"

    @property
    def feature(self) -> str:
        """Condition of the C preprocessor that holds where a compiler's target has the core's extensions; "" for none.

        No macro of GCC 12 says Xpulp or vectors of RISC-V: builds for a core that has them define ours.
        """
        macros = {
            "__ARM_FEATURE_DSP": self.dsp,
            "__ARM_FEATURE_MVE": self.mve,
            XPULP_MACRO: self.xpulp,
            ZVE32X_MACRO: self.zve32x,
        }
        return " && ".join(f"defined({macro})" for macro, held in macros.items() if held)

    @property
    def feature_flags(self) -> tuple[str, ...]:
        """Compiler options, beside `cflags`, that make `feature` hold."""
        macros = {XPULP_MACRO: self.xpulp, ZVE32X_MACRO: self.zve32x}
        return tuple(f"-D{macro}=1" for macro, held in macros.items() if held)
