"""Cycles and instructions of RISC-V cores by their own counters, mcycle and minstret.

They may run in debug mode too (CV32E40P's do): code on the target starts and stops them around a call, see
`runtime/riscv.c`.
"""

from __future__ import annotations

from collections.abc import Mapping

from utvm.device.firmware import MEASURED_SYMBOL
from utvm.device.link import DebugLink
from utvm.toolchain import Image

_COUNTERS = ("mcycle", "mcycleh", "minstret", "minstreth")


def begin_mcycle(image: Image, link: DebugLink, registers: Mapping[str, int] | None = None) -> None:
    """Let the call that the program counter is set up for go through the code that counts; set `registers` with it."""
    function = link.read_register("pc")
    link.write_registers({**(registers or {}), "t0": function, "pc": image.symbol(MEASURED_SYMBOL).address})


def read_mcycle(link: DebugLink) -> tuple[int, int]:
    """Return cycles and instructions of the call that has just returned."""
    cycles, cycles_high, instructions, instructions_high = link.read_registers(_COUNTERS)
    return cycles | cycles_high << 32, instructions | instructions_high << 32
