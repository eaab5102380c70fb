"""What an STM32L4R5 has besides the core: flash controller, a UART, and registers that behave as far as clocks need."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.chip import flash_controller
from tests.support.chip.flash_controller import FlashController
from tests.support.chip.memory import BusError, Memory
from tests.support.chip.parts import FLASH_SIZE, INFORMATION
from tests.support.oscillators import PARTS
from tests.support.peripherals import Registers
from tests.support.uarts import WIRINGS

PERIPHERALS, PERIPHERALS_BYTES = 0x40000000, 0x20000000
_GPIOG_MODER, _ALL_ANALOG = 0x48001800, 0xFFFFFFFF


class PartPeripherals:
    """Everything from 0x40000000 to 0x5fffffff.

    Args:
        memory: the chip's; its information block gets what a factory writes there.
        pages: see `FlashController`.
    """

    def __init__(self, memory: Memory, pages: tuple[int, int]) -> None:
        memory.program(INFORMATION, b"")
        memory.overwrite(FLASH_SIZE, (2 * pages[1] // 1024).to_bytes(2, "little"))
        self.flash = FlashController(memory, pages)
        self._make: Callable[[], Registers] = PARTS["stm32l4r5"][0]
        self._others = self._make()
        wiring = WIRINGS["nucleo-l4r5zi"]
        self.uart = wiring.make(wiring, self._others)
        self.reset()

    def reset(self) -> None:
        """Set all registers as a system reset does."""
        fresh = self._make()
        fresh.initial[_GPIOG_MODER] = _ALL_ANALOG
        for name in ("initial", "written", "log", "_shown", "_late"):
            setattr(self._others, name, getattr(fresh, name))
        self.flash.reset()
        self.uart.reset()

    def holds(self, address: int) -> bool:
        """Return whether an address is a peripheral's."""
        return PERIPHERALS <= address < PERIPHERALS + PERIPHERALS_BYTES

    def read(self, address: int, size: int) -> int:
        """Return a register."""
        if flash_controller.BASE <= address < flash_controller.BASE + flash_controller.BYTES:
            return self.flash.read(address - flash_controller.BASE)
        if self.uart.holds(address):
            return self.uart.read(address - self.uart.wiring.base)
        self._others.log.clear()
        return self._others.read(address, size)

    def write(self, address: int, size: int, value: int) -> None:
        """Set a register."""
        if flash_controller.BASE <= address < flash_controller.BASE + flash_controller.BYTES:
            self.flash.write(address - flash_controller.BASE, value)
        elif self.uart.holds(address):
            self.uart.write(address - self.uart.wiring.base, value)
        else:
            self._others.write(address, size, value)

    def programs(self, address: int, data: bytes) -> bool:
        """Return whether a store of the CPU to memory that can't be written is programming, which it then does."""
        if not self.flash.holds(address):
            return False
        try:
            self.flash.program(address, data)
        except BusError:
            return False
        return True
