"""What a core can do. The rest of the compiler asks these fields and never tests for a core's name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from utvm.cores.timing import Timing


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Core:
    """A processor core.

    `cflags` are GCC's machine options. `dsp` is the Arm DSP extension (16-bit SIMD), `mve` the M-profile vector
    extension, `fault_status` whether the fault status registers of Armv7-M exist, `timing` the model of the pipeline if
    there is one, `macs_per_cycle` the most multiply-accumulates that its multiplier can do (loads not counted).
    """

    name: str
    isa: Literal["arm", "riscv"]
    architecture: str
    tool_prefix: str
    cflags: tuple[str, ...]
    fpu: bool = False
    dsp: bool = False
    mve: bool = False
    unaligned: bool = False
    fault_status: bool = False
    timing: Timing | None = None
    macs_per_cycle: float = 0.5
