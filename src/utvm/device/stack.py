"""The stack of an image as the host watches it: painted after loading, its lower end a guard."""

from __future__ import annotations

from enum import Enum, auto

from utvm.device.link import DebugLink
from utvm.toolchain import STACK_LIMIT_SYMBOL, STACK_SYMBOL, Image

_PAINT = bytes.fromhex("a55ac33c")
_GUARD_BYTES = 256


class Guard(Enum):
    """What the guard tells."""

    INTACT = auto()
    OVERRUN = auto()  # what is above it was used too, as calls do that go too deep
    ALTERED = auto()  # only the guard or the stack pointer changed: nothing on the target does that


class WatchedStack:
    """The stack of an image. Bytes."""

    def __init__(self, image: Image) -> None:
        self.limit = image.symbol(STACK_LIMIT_SYMBOL).address
        self.top = image.symbol(STACK_SYMBOL).address

    @property
    def size(self) -> int:
        """How much there is."""
        return self.top - self.limit

    def paint(self, link: DebugLink) -> None:
        """Fill it with what no program leaves there."""
        link.write_memory(self.limit, _PAINT * (self.size // 4))

    def used(self, link: DebugLink) -> int:
        """Return the most bytes that were in use since it was painted."""
        held = link.read_memory(self.limit, self.size)
        untouched = 0
        while held[untouched : untouched + 4] == _PAINT:
            untouched += 4
        return len(held) - untouched

    def guard(self, link: DebugLink, pointer: int) -> Guard:
        """Return what the guard tells while the stack pointer is `pointer`."""
        room = min(_GUARD_BYTES, self.size // 4)
        painted = _PAINT * (room // 4)
        if self.limit <= pointer <= self.top and link.read_memory(self.limit, room) == painted:
            return Guard.INTACT
        return Guard.ALTERED if link.read_memory(self.limit + room, room) == painted else Guard.OVERRUN
