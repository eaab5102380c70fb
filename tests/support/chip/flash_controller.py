"""Flash of STM32 parts and its controllers: keys, what is erased at once, what is programmed at once, errors.

Nothing takes time: BSY is never seen. Options can be read, not changed. A write that is not programming is an error of
the bus here; on silicon some are flags alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import accumulate

from tests.support.chip.memory import BusError, Memory
from tests.support.chip.parts import FLASH

BYTES = 0x400
_KEYS = (0x45670123, 0xCDEF89AB)
_PG, _ERASE, _STRT, _LOCK = 1 << 0, 1 << 1, 1 << 16, 1 << 31
_EOP = 1 << 0


class FlashController(ABC):
    """What the families share.

    Args:
        memory: holds the flash, at its address.

    Attributes:
        base: where its registers are.
        programmed: writes that programmed something, since the chip was made.
    """

    base: int
    length: int
    _acr: int
    _keyr: int
    _sr: int
    _cr: int
    _reset_latency = 0

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.programmed = 0
        self.reset()

    def reset(self) -> None:
        """Set the registers as a system reset does."""
        self._latency = self._reset_latency
        self._control = _LOCK
        self._status = 0
        self._keys: tuple[int, ...] = ()

    def holds(self, address: int) -> bool:
        """Return whether an address is in flash."""
        return FLASH <= address < FLASH + self.length

    def read(self, offset: int) -> int:
        """Return a register."""
        return {self._acr: self._latency, self._sr: self._status, self._cr: self._control}.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        """Set a register."""
        if offset == self._acr:
            self._latency = value
        elif offset == self._keyr:
            self._keys = (*self._keys, value)
            if self._keys == _KEYS:
                self._control &= ~_LOCK
            elif self._keys != _KEYS[: len(self._keys)]:
                raise BusError(self.base + offset)  # and locked until the next reset
        elif offset == self._sr:
            self._status &= ~value
        elif offset == self._cr and not self._control & _LOCK:
            self._control = value & ~_STRT
            if value & _LOCK:
                self._keys = ()
            elif value & _STRT and value & _ERASE:
                start, length = self._unit(value)
                self._memory.overwrite(FLASH + start, b"\xff" * length)
                self._status |= _EOP

    @abstractmethod
    def program(self, address: int, data: bytes) -> None:
        """Take a write to flash.

        Raises:
            BusError: it is not allowed now; a flag says why.
        """

    @abstractmethod
    def _unit(self, control: int) -> tuple[int, int]:
        """Return offset and bytes of what the control register names."""

    def _fail(self, flag: int, address: int) -> None:
        self._status |= flag
        raise BusError(address)


class PagedFlash(FlashController):
    """STM32L4 and L4+ (RM0351, RM0432, 3.3 and 3.7): two banks of pages, programmed by rows of two words.

    Args:
        page, bank: bytes of them.
    """

    base = 0x40022000
    _acr, _keyr, _sr, _cr = 0x00, 0x08, 0x10, 0x14
    _reset_latency = 0x600
    _options: Mapping[int, int] = {0x20: 0xFFEFF8AA, 0x2C: 0xFF, 0x30: 0xFF, 0x4C: 0xFF, 0x50: 0xFF}
    _width = 8
    _bank_2 = 1 << 11
    _progerr, _pgaerr, _sizerr, _pgserr = 1 << 3, 1 << 5, 1 << 6, 1 << 7

    def __init__(self, memory: Memory, *, page: int, bank: int) -> None:
        self._page, self._bank = page, bank
        self.length = 2 * bank
        super().__init__(memory)

    def reset(self) -> None:
        """See `FlashController`."""
        super().reset()
        self._control |= 1 << 30
        self._row: tuple[int, bytes] | None = None

    def read(self, offset: int) -> int:
        """See `FlashController`: two banks, nothing protected."""
        return self._options.get(offset) or super().read(offset)

    def program(self, address: int, data: bytes) -> None:
        """See `FlashController`. The last word of a row programs all of it."""
        row, self._row = self._row, None
        if not self._control & _PG:
            self._fail(self._pgserr, address)
        if len(data) != 4:
            self._fail(self._sizerr, address)
        start, before = row or (address, b"")
        if start % self._width or address != start + len(before):
            self._fail(self._pgaerr, address)
        whole = before + data
        if len(whole) < self._width:
            self._row = (start, whole)
            return
        erased = b"\xff" * self._width
        if self._memory.read(start, self._width) not in (erased, before + erased[:4]):  # a CPU has written those before
            self._fail(self._progerr, address)
        self._memory.overwrite(start, whole)
        self.programmed += 1
        self._status |= _EOP

    def _unit(self, control: int) -> tuple[int, int]:
        bank = self._bank if control & self._bank_2 else 0
        return (control >> 3 & 0xFF) * self._page + bank, self._page


class WidePagedFlash(PagedFlash):
    """STM32U5 with TrustZone off (RM0456, chapter FLASH): other registers, programmed by four words at once."""

    _sr, _cr = 0x20, 0x28
    _options: Mapping[int, int] = {0x40: 0x1FEFF8AA, 0x58: 0xFF, 0x5C: 0xFF, 0x68: 0xFF, 0x6C: 0xFF}
    _width = 16


class SectoredFlash(FlashController):
    """STM32F7 (RM0385, 3.3 and 3.7): sectors of different sizes, programmed by as many bytes as PSIZE says.

    Bits can be cleared without an erase; here only writes whose bits are all as written afterwards are taken.

    Args:
        sectors: their bytes.
    """

    base = 0x40023C00
    _acr, _keyr, _sr, _cr, _optcr = 0x00, 0x04, 0x0C, 0x10, 0x14
    _pgaerr, _pgperr, _erserr = 1 << 5, 1 << 6, 1 << 7

    def __init__(self, memory: Memory, *, sectors: Sequence[int]) -> None:
        self._sectors = sectors
        self.length = sum(sectors)
        super().__init__(memory)

    def read(self, offset: int) -> int:
        """See `FlashController`: nothing protected."""
        return 0xC0FFAAFD if offset == self._optcr else super().read(offset)

    def program(self, address: int, data: bytes) -> None:
        """See `FlashController`."""
        if not self._control & _PG:
            self._fail(self._erserr, address)
        if len(data) != 1 << (self._control >> 8 & 3):
            self._fail(self._pgperr, address)
        if address % len(data):
            self._fail(self._pgaerr, address)
        old = self._memory.read(address, len(data))
        if any(new & ~held for new, held in zip(data, old, strict=True)):
            self._fail(self._pgperr, address)
        self._memory.overwrite(address, data)
        self.programmed += 1
        self._status |= _EOP

    def _unit(self, control: int) -> tuple[int, int]:
        number = control >> 3 & 0xF
        starts = [0, *accumulate(self._sectors)]
        return starts[number], self._sectors[number]
