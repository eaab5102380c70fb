"""A firmware of a board that people own, from its vector table on, on Unicorn with stubbed oscillators and a UART."""

from __future__ import annotations

import unicorn
from unicorn import arm_const

from tests.support.oscillators import PARTS
from tests.support.peripherals import MODELS, PERIPHERALS, PRIVATE, Registers, map_memories
from tests.support.uarts import WIRINGS, NordicDma, Uart
from utvm.deploy import Firmware

_SLICE, _MOST_SLICES = 200_000, 200


class BootedOnUnicorn:
    """The core from reset on. What it sends is in `said`.

    Args:
        firmware: of one of the boards in `WIRINGS`.
        vectors: where the boot ROM, or the core, takes stack pointer and program counter from.
    """

    def __init__(self, firmware: Firmware, vectors: int) -> None:
        board = firmware.board
        self.registers: Registers = PARTS[board.part or ""][0]()
        wiring = WIRINGS[board.name]
        self.uart: Uart = wiring.make(wiring, self.registers)
        engine = self._engine = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
        engine.ctl_set_cpu_model(MODELS[board.core.architecture])
        map_memories(engine, board)
        if isinstance(self.uart, NordicDma):
            self.uart.load = lambda address: engine.mem_read(address, 1)[0]
            self.uart.store = lambda address, byte: engine.mem_write(address, bytes([byte]))
        for base, length in (PERIPHERALS, PRIVATE):
            engine.mmio_map(base, length, self._read, base, self._write, base)
        for segment in firmware.segments:
            engine.mem_write(segment.address, segment.data)
        engine.reg_write(arm_const.UC_ARM_REG_SP, self._word(vectors))
        self._pc = self._word(vectors + 4)

    @property
    def said(self) -> str:
        """What was sent so far."""
        return self.uart.sent.decode("latin-1")

    def run_until(self, text: str) -> str:
        """Run until the firmware has sent a text, or for some ten million instructions; return what was sent."""
        for _ in range(_MOST_SLICES):
            if text in self.said:
                break
            self._engine.emu_start(self._pc | 1, 0, count=_SLICE)
            self._pc = int(self._engine.reg_read(arm_const.UC_ARM_REG_PC))
        return self.said

    def _word(self, address: int) -> int:
        return int.from_bytes(self._engine.mem_read(address, 4), "little")

    def _read(self, _uc: unicorn.Uc, offset: int, size: int, base: int) -> int:
        address = base + offset
        if self.uart.holds(address):
            return self.uart.read(address - self.uart.wiring.base)
        return self.registers.read(address, size)

    def _write(self, _uc: unicorn.Uc, offset: int, size: int, value: int, base: int) -> None:
        address = base + offset
        if self.uart.holds(address):
            self.uart.write(address - self.uart.wiring.base, value)
        else:
            self.registers.write(address, size, value)
