"""The cycle counter of a board, read through its debug link."""

from __future__ import annotations

import time

from utvm.boards import Board
from utvm.device.firmware import SYSTICK_TURNS_SYMBOL
from utvm.device.link import Count, DebugLink
from utvm.device.mcycle import begin_mcycle, read_mcycle
from utvm.toolchain import Image

_CYCCNT = 0xE0001004
_SYST_CVR, _ICSR = 0xE000E018, 0xE000ED04
_PENDSTSET = 26
_SYSTICK_BITS, _CYCCNT_BITS = 24, 32


class CycleCounter:
    """Counts the cycles that a board's core runs between two reads.

    DWT_CYCCNT (Arm DDI 0403, C1.8.8) has 32 bits; SysTick (DDI 0419, B3.3) has 24, and start-up code counts its turns.
    Both are enabled by the start-up code and stand still while the core is halted. A run that may have taken more than
    a turn of DWT_CYCCNT by the host's clock has unknown cycles. RISC-V cores count with mcycle, see `mcycle.py`.
    """

    def __init__(self, board: Board) -> None:
        self._kind = board.cycle_counter
        self._clock_hz = board.clock_hz
        self._began = 0.0
        self._position = 0

    def begin(self, image: Image, link: DebugLink) -> None:
        """Count from here on. An Arm core's counter is only read: before the start-up code ran it takes no writes."""
        if self._kind == "mcycle":
            begin_mcycle(image, link)
        self._position = self._read(image, link)
        self._began = time.monotonic()

    def count(self, image: Image, link: DebugLink) -> Count:
        """Return the cycles since `begin`; None for what is not known."""
        passed = self._read(image, link) - self._position
        if self._kind == "dwt":
            if (time.monotonic() - self._began) * self._clock_hz >= 1 << _CYCCNT_BITS:
                return Count()
            return Count(cycles=passed % (1 << _CYCCNT_BITS), cycles_source="DWT_CYCCNT")
        if self._kind == "systick":
            return Count(cycles=passed, cycles_source="SysTick")
        if self._kind == "mcycle":
            cycles, instructions = read_mcycle(link)
            return Count(instructions=instructions, cycles=cycles, cycles_source="mcycle")
        return Count()

    def _read(self, image: Image, link: DebugLink) -> int:
        if self._kind == "dwt":
            return _word(link, _CYCCNT)
        if self._kind == "systick":
            # It counts down, and a turn ends at 0; its exception may be pending still.
            turns = _word(link, image.symbol(SYSTICK_TURNS_SYMBOL).address) + (_word(link, _ICSR) >> _PENDSTSET & 1)
            return (turns << _SYSTICK_BITS) + -_word(link, _SYST_CVR) % (1 << _SYSTICK_BITS)
        return 0


def _word(link: DebugLink, address: int) -> int:
    return int.from_bytes(link.read_memory(address, 4), "little")
