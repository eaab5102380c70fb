"""What parts have besides their core: flash controller, a UART, and registers that behave as far as clocks need."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.support.chip import flash_controller
from tests.support.chip.flash_controller import FlashController, PagedFlash, SectoredFlash, WidePagedFlash
from tests.support.chip.memory import BusError, Memory
from tests.support.oscillators import PARTS
from tests.support.peripherals import Registers
from tests.support.uarts import WIRINGS

PERIPHERALS, PERIPHERALS_BYTES = 0x40000000, 0x20000000
_KB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class _Set:
    """The part whose oscillators they are, the board whose UART it is, the flash, and where its size is to be read."""

    part: str
    board: str
    flash: Callable[[Memory], FlashController]
    information: int
    flash_size: int


_SETS: Mapping[str, _Set] = {
    "stm32l4r5": _Set(
        part="stm32l4r5",
        board="nucleo-l4r5zi",
        flash=lambda memory: PagedFlash(memory, page=4 * _KB, bank=1024 * _KB),
        information=0x1FFF7000,
        flash_size=0x1FFF75E0,
    ),
    "flash-of-l475": _Set(
        part="stm32l4r5",
        board="nucleo-l4r5zi",
        flash=lambda memory: PagedFlash(memory, page=2 * _KB, bank=512 * _KB),
        information=0x1FFF7000,
        flash_size=0x1FFF75E0,
    ),
    "stm32f746": _Set(
        part="stm32f746",
        board="nucleo-f746zg",
        flash=lambda memory: SectoredFlash(memory, sectors=[*[32 * _KB] * 4, 128 * _KB, *[256 * _KB] * 3]),
        information=0x1FF0F000,
        flash_size=0x1FF0F442,
    ),
    "stm32u575": _Set(
        part="stm32u575",
        board="nucleo-u575zi-q",
        flash=lambda memory: WidePagedFlash(memory, page=8 * _KB, bank=1024 * _KB),
        information=0x0BFA0000,
        flash_size=0x0BFA07A0,
    ),
}


class PartPeripherals:
    """Everything from 0x40000000 to 0x5fffffff.

    Args:
        name: the part, as the chip's `Part` has it.
        memory: the chip's; its information block gets what a factory writes there.
    """

    def __init__(self, name: str, memory: Memory) -> None:
        described = _SETS[name]
        self.flash = described.flash(memory)
        memory.program(described.information, b"")
        memory.overwrite(described.flash_size, (self.flash.length // _KB).to_bytes(2, "little"))
        self._make: Callable[[], Registers] = PARTS[described.part][0]
        self._others = self._make()
        wiring = WIRINGS[described.board]
        self.uart = wiring.make(wiring, self._others)

    def reset(self) -> None:
        """Set all registers as a system reset does."""
        self._others.reset_to(self._make())
        self.flash.reset()
        self.uart.reset()

    def holds(self, address: int) -> bool:
        """Return whether an address is a peripheral's."""
        return PERIPHERALS <= address < PERIPHERALS + PERIPHERALS_BYTES

    def read(self, address: int, size: int) -> int:
        """Return a register."""
        if 0 <= address - self.flash.base < flash_controller.BYTES:
            return self.flash.read(address - self.flash.base)
        if self.uart.holds(address):
            return self.uart.read(address - self.uart.wiring.base)
        self._others.log.clear()
        return self._others.read(address, size)

    def write(self, address: int, size: int, value: int) -> None:
        """Set a register."""
        if 0 <= address - self.flash.base < flash_controller.BYTES:
            self.flash.write(address - self.flash.base, value)
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
