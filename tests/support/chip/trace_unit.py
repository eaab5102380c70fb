"""The DWT: its cycle counter, which counts the engine's cycles (DDI 0403, C1.8). Comparators are not simulated."""

from __future__ import annotations

from collections.abc import Callable

CTRL, CYCCNT, LOCK_ACCESS, LOCK_STATUS = 0x000, 0x004, 0xFB0, 0xFB4
_COMPARATORS = 4
_UNLOCK = 0xC5ACCE55
_MASK = 0xFFFFFFFF


class TraceUnit:
    """Registers.

    Args:
        now: returns the cycles so far.
        lockable: whether software, unlike a debugger, must write a key before it can write (Cortex-M7).
    """

    def __init__(self, now: Callable[[], int], *, lockable: bool) -> None:
        self._now = now
        self._lockable = lockable
        self.power_on()

    def power_on(self) -> None:
        """Set the registers as the first reset does."""
        self._locked = self._lockable
        self._control = 0
        self._base = 0  # the counter is `now` minus this while it counts
        self._held = 0
        self.powered = False  # DEMCR.TRCENA

    def read(self, offset: int) -> int:
        """Return a register."""
        if offset == LOCK_STATUS and self._lockable:
            return 1 | 2 * self._locked
        if not self.powered:
            return 0
        if offset == CTRL:
            return _COMPARATORS << 28 | self._control
        if offset == CYCCNT:
            return self._count
        return 0

    def write(self, offset: int, value: int, *, debugger: bool) -> None:
        """Set a register."""
        if offset == LOCK_ACCESS and self._lockable and not debugger:
            self._locked = value != _UNLOCK
        if not self.powered or (self._locked and not debugger):
            return
        if offset == CTRL:
            self._held = self._count
            self._base = self._now() - self._held
            self._control = value & 0x0FFFFFFF
        elif offset == CYCCNT:
            self._held = value
            self._base = self._now() - value

    @property
    def _count(self) -> int:
        return (self._now() - self._base) & _MASK if self._control & 1 else self._held
