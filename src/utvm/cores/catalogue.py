"""The cores that are described."""

from __future__ import annotations

from dataclasses import replace

from utvm.cores.core import Core
from utvm.cores.cortex_m0_timing import CORTEX_M0_TIMING
from utvm.cores.cortex_m4_measured import MEASURED_CORTEX_M3_TIMING, MEASURED_CORTEX_M4_TIMING
from utvm.cores.cortex_m7_measured import MEASURED_CORTEX_M7_TIMING
from utvm.cores.cortex_m33_measured import MEASURED_CORTEX_M33_TIMING
from utvm.cores.cortex_m55_timing import CORTEX_M55_TIMING, CORTEX_M85_TIMING
from utvm.cores.cv32e40p_timing import CV32E40P_TIMING
from utvm.cores.isa import ARM_M, RISCV32, XTENSA_CALL0
from utvm.errors import UtvmError


class CoreError(UtvmError):
    """A core that is not described."""


def _arm(cpu: str, *, fpu: bool) -> tuple[str, ...]:
    floating = ("-mfloat-abi=hard", "-mfpu=auto") if fpu else ("-mfloat-abi=soft",)
    return (f"-mcpu={cpu}", "-mthumb", *floating)


CORTEX_M0 = Core(
    name="cortex-m0",
    isa=ARM_M,
    architecture="armv6-m",
    part_number=0xC20,
    cflags=_arm("cortex-m0", fpu=False),
    registers=7,
    timing=CORTEX_M0_TIMING,
)

CORTEX_M0PLUS = Core(
    name="cortex-m0plus",
    isa=ARM_M,
    architecture="armv6-m",
    part_number=0xC60,
    cflags=_arm("cortex-m0plus", fpu=False),
    registers=7,
    vector_table_register=True,
)

CORTEX_M3 = Core(
    name="cortex-m3",
    isa=ARM_M,
    architecture="armv7-m",
    part_number=0xC23,
    cflags=_arm("cortex-m3", fpu=False),
    unaligned=True,
    fault_status=True,
    timing=MEASURED_CORTEX_M3_TIMING,
    vector_table_register=True,
)

CORTEX_M4 = Core(
    name="cortex-m4",
    isa=ARM_M,
    architecture="armv7e-m",
    part_number=0xC24,
    cflags=_arm("cortex-m4", fpu=True),
    fpu=True,
    dsp=True,
    macs_per_cycle=2.0,
    unaligned=True,
    fault_status=True,
    timing=MEASURED_CORTEX_M4_TIMING,
    vector_table_register=True,
)

CORTEX_M7 = Core(
    name="cortex-m7",
    isa=ARM_M,
    architecture="armv7e-m",
    part_number=0xC27,
    cflags=_arm("cortex-m7", fpu=True),
    fpu=True,
    dsp=True,
    macs_per_cycle=2.0,
    unaligned=True,
    fault_status=True,
    timing=MEASURED_CORTEX_M7_TIMING,
    vector_table_register=True,
)

CORTEX_M33 = Core(
    name="cortex-m33",
    isa=ARM_M,
    architecture="armv8-m.main",
    part_number=0xD21,
    cflags=_arm("cortex-m33", fpu=True),
    fpu=True,
    dsp=True,
    macs_per_cycle=2.0,
    unaligned=True,
    fault_status=True,
    timing=MEASURED_CORTEX_M33_TIMING,
    vector_table_register=True,
)

CORTEX_M55 = Core(
    name="cortex-m55",
    isa=ARM_M,
    architecture="armv8.1-m.main",
    part_number=0xD22,
    cflags=_arm("cortex-m55", fpu=True),
    fpu=True,
    dsp=True,
    macs_per_cycle=8.0,
    mve=True,
    unaligned=True,
    fault_status=True,
    timing=CORTEX_M55_TIMING,
    vector_table_register=True,
)

# GCC 12 does not know the Cortex-M85: it compiles for the Cortex-M55, whose architecture (Armv8.1-M with MVE and FPU)
# the M85 has, pointer authentication aside. The timing is the M55's table too: it ranks kernels, nothing models an M85.
CORTEX_M85 = replace(CORTEX_M55, name="cortex-m85", part_number=0xD23, timing=CORTEX_M85_TIMING)

RV32IMC = Core(
    name="rv32imc",
    isa=RISCV32,
    architecture="rv32imc",
    cflags=("-march=rv32imc", "-mabi=ilp32", "-misa-spec=2.2", "-mcmodel=medany"),
    registers=26,
    timing=CV32E40P_TIMING,
)

CV32E40P = replace(RV32IMC, name="cv32e40p")
"""OpenHW Group's CV32E40P: RV32IMC in four stages, in order."""

CV32E40P_XPULP = replace(CV32E40P, name="cv32e40p-xpulp", xpulp=True, macs_per_cycle=4.0)
"""The same with the Xpulp extension, which GCC 12 does not know: what uses it writes its instructions by `.insn`."""

RV32IMC_ZVE32X = replace(RV32IMC, name="rv32imc-zve32x", zve32x=128, macs_per_cycle=4.0, timing=None)
"""RV32IMC with the vector extension for integers up to 32 bits, which GCC 12 does not know: its assembler does."""

LX106 = Core(
    name="lx106",
    isa=XTENSA_CALL0,
    architecture="lx106",
    cflags=("-mlongcalls", "-mtext-section-literals"),
    registers=12,
)
"""Cadence's Xtensa LX106 (ESP8266): 32-bit products, no division, words at multiples of four alone."""

CORES = {
    core.name: core
    for core in (
        *(CORTEX_M0, CORTEX_M0PLUS, CORTEX_M3, CORTEX_M4, CORTEX_M7),
        *(CORTEX_M33, CORTEX_M55, CORTEX_M85, RV32IMC, CV32E40P, CV32E40P_XPULP, RV32IMC_ZVE32X, LX106),
    )
}


def get_core(name: str) -> Core:
    """Return a core by name.

    Raises:
        CoreError: no core has that name.
    """
    if name not in CORES:
        raise CoreError(f"no core is named '{name}'; known: {', '.join(CORES)}")
    return CORES[name]
