"""The flash patch and breakpoint unit (DDI 0403, C1.11; version 2: DDI 0553, D1.2.99)."""

from __future__ import annotations

from tests.support.chip.parts import Part

CTRL, REMAP, COMP0 = 0x000, 0x004, 0x008
_KEY, _ENABLE = 2, 1


class BreakpointUnit:
    """Comparators of instruction addresses. Only a loss of power resets them."""

    def __init__(self, part: Part) -> None:
        self._control = part.breakpoint_control
        self._anywhere = part.breakpoints_anywhere
        self.power_on()

    def power_on(self) -> None:
        """Set the registers as the first reset does."""
        self._comparators = [0] * (self._control >> 4 & 15 | self._control >> 8 & 0x70)
        self.enabled = False

    @property
    def addresses(self) -> frozenset[int]:
        """Where the core is to halt."""
        if not self.enabled:
            return frozenset()
        return frozenset(self._address(word) for word in self._comparators if self._breaks(word))

    def read(self, offset: int) -> int:
        """Return a register."""
        if offset == CTRL:
            return self._control | self.enabled
        position = (offset - COMP0) // 4
        return self._comparators[position] if 0 <= position < len(self._comparators) else 0

    def write(self, offset: int, value: int) -> None:
        """Set a register; the control register needs its key."""
        position = (offset - COMP0) // 4
        if offset == CTRL:
            if value & _KEY:
                self.enabled = bool(value & _ENABLE)
        elif 0 <= position < len(self._comparators):
            self._comparators[position] = value

    def _breaks(self, word: int) -> bool:
        return bool(word & 1) and (self._anywhere or word >> 30 in (1, 2))

    def _address(self, word: int) -> int:
        if self._anywhere:
            return word & 0xFFFFFFFE
        # Version 1 matches words of the code region, and REPLACE (bits 31:30) says which halfword.
        return word & 0x1FFFFFFC | (2 if word >> 30 == 2 else 0)
