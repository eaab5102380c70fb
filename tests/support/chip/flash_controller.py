"""The flash of an STM32L4 or L4+ and its controller (RM0351, RM0432, chapter 3): keys, pages, double words, errors.

Nothing takes time: BSY is never seen. Options can be read, not changed. A write that is not programming is an error of
the bus here; on silicon some are flags alone.
"""

from __future__ import annotations

from tests.support.chip.memory import BusError, Memory
from tests.support.chip.parts import FLASH

BASE, BYTES = 0x40022000, 0x400

_ACR, _KEYR, _SR, _CR, _OPTR = 0x00, 0x08, 0x10, 0x14, 0x20
_WRITE_PROTECTION = (0x2C, 0x30, 0x4C, 0x50)
_KEYS = (0x45670123, 0xCDEF89AB)
_EOP, _PROGERR, _PGAERR, _SIZERR, _PGSERR = 1 << 0, 1 << 3, 1 << 5, 1 << 6, 1 << 7
_PG, _PER, _BANK_2, _STRT, _LOCKS = 1 << 0, 1 << 1, 1 << 11, 1 << 16, 3 << 30
_LOCK = 1 << 31
_TWO_BANKS_UNPROTECTED = 0xFFEFF8AA
_ALL_FLAGS = 0xFFFF
_NONE_PROTECTED = 0x000000FF


class FlashController:
    """Registers, and what writes to flash do.

    Args:
        memory: holds the flash, at its address.
        pages: bytes of a page and of a bank, of which there are two.
    """

    def __init__(self, memory: Memory, pages: tuple[int, int]) -> None:
        self._memory = memory
        self._page, self._bank = pages
        self.programmed = 0  # double words, since the chip was made
        self.reset()

    def reset(self) -> None:
        """Set the registers as a system reset does."""
        self._latency = 0x600
        self._control = _LOCKS
        self._status = 0
        self._keys: tuple[int, ...] = ()
        self._first: tuple[int, bytes] | None = None

    def holds(self, address: int) -> bool:
        """Return whether an address is in flash."""
        return FLASH <= address < FLASH + 2 * self._bank

    def read(self, offset: int) -> int:
        """Return a register."""
        if offset in _WRITE_PROTECTION:
            return _NONE_PROTECTED
        return {_ACR: self._latency, _SR: self._status, _CR: self._control, _OPTR: _TWO_BANKS_UNPROTECTED}.get(
            offset, 0
        )

    def write(self, offset: int, value: int) -> None:
        """Set a register."""
        if offset == _ACR:
            self._latency = value
        elif offset == _KEYR:
            self._keys = (*self._keys, value)
            if self._keys == _KEYS:
                self._control &= ~_LOCK
            elif self._keys != _KEYS[: len(self._keys)]:
                raise BusError(BASE + _KEYR)  # and locked until the next reset
        elif offset == _SR:
            self._status &= ~(value & _ALL_FLAGS)
        elif offset == _CR and not self._control & _LOCK:
            self._control = value & ~_STRT
            if value & _LOCK:
                self._keys = ()
            elif value & _STRT and value & _PER:
                self._erase((value >> 3 & 0xFF) * self._page + (self._bank if value & _BANK_2 else 0))

    def program(self, address: int, data: bytes) -> None:
        """Take a write to flash: the second word of a pair programs both.

        Raises:
            BusError: it is not allowed now; a flag says why.
        """
        if not self._control & _PG:
            self._fail(_PGSERR, address)
        if len(data) != 4:
            self._fail(_SIZERR, address)
        if self._first is None:
            if address % 8:
                self._fail(_PGAERR, address)
            self._first = (address, data)
            return
        start, low = self._first
        self._first = None
        if address != start + 4:
            self._fail(_PGAERR, address)
        if self._memory.read(start, 8) not in (b"\xff" * 8, low + b"\xff" * 4):  # a CPU has written the first already
            self._fail(_PROGERR, address)
        self._memory.overwrite(start, low + data)
        self.programmed += 1
        self._status |= _EOP

    def _erase(self, offset: int) -> None:
        self._memory.overwrite(FLASH + offset, b"\xff" * self._page)
        self._status |= _EOP

    def _fail(self, flag: int, address: int) -> None:
        self._status |= flag
        self._first = None
        raise BusError(address)
