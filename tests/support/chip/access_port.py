"""The AHB access port (Arm IHI 0031, C2): memory as the debugger sees it."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.chip.chip import Chip
from tests.support.chip.damage import Damage

CSW, TAR, DRW, BD0, CFG, BASE, IDR = 0x00, 0x04, 0x0C, 0x10, 0xF4, 0xF8, 0xFC
_DEVICE_ENABLED = 1 << 6
_WRITABLE = 0xFF00003F
_CSW_AT_RESET = 0x03000002
_SINGLE, _PACKED = 1, 2
_MASK = 0xFFFFFFFF


class AccessPort:
    """Registers.

    Args:
        chip: what it reaches.
        damage: what goes wrong.
    """

    def __init__(self, chip: Chip, damage: Damage) -> None:
        self._chip = chip
        self._block_mask = chip.part.increment_bytes - 1
        self._damage = damage
        self.reset()

    def reset(self) -> None:
        """Set the registers as a power-on reset does."""
        self._control = _CSW_AT_RESET
        self._address = 0

    def read(self, register: int) -> int:
        """Return a register; DRW and BD0 to BD3 read memory and may raise `BusError`."""
        if register == DRW:
            return self._transfer(self._read)
        if BD0 <= register < BD0 + 16:
            return self._read(self._address & ~15 | register - BD0, 4)
        part = self._chip.part
        return {CSW: self._control | _DEVICE_ENABLED, TAR: self._address, BASE: part.ap_base, IDR: part.ap_idr}.get(
            register, 0
        )

    def write(self, register: int, value: int) -> None:
        """Set a register; DRW and BD0 to BD3 write memory and may raise `BusError`."""
        if register == CSW:
            self._control = value & _WRITABLE
        elif register == TAR:
            self._address = value
        elif register == DRW:
            word = self._damage.write(value) if self._damage.at_words else value
            self._transfer(lambda address, size: self._write(address, size, word))
        elif BD0 <= register < BD0 + 16:
            word = self._damage.write(value) if self._damage.at_words else value
            self._write(self._address & ~15 | register - BD0, 4, word)

    def _transfer(self, access: Callable[[int, int], int]) -> int:
        """Make one access, or the packed ones that fill a word, and increment the address as CSW says."""
        size = 1 << min(self._control & 7, 2)
        increment = self._control >> 4 & 3
        value = 0
        for _ in range(4 // size if increment == _PACKED else 1):
            value |= access(self._address, size)
            if increment in (_SINGLE, _PACKED):
                within = self._address + size & self._block_mask
                self._address = self._address & ~self._block_mask | within
        return value

    def _read(self, address: int, size: int) -> int:
        """Return bytes in the lanes of their address."""
        word = self._chip.read(address, size) << 8 * (address & 3)
        return self._damage.read(word) if self._damage.at_words else word

    def _write(self, address: int, size: int, word: int) -> int:
        self._chip.write(address, size, word >> 8 * (address & 3) & _MASK)
        return 0
