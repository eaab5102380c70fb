"""Memories of a board: ranges of addresses, what an image puts where, and what a miss of a cache costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from utvm.cores import FlashCaches

MemoryKind = Literal["ram", "flash"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """A range of addresses. Bytes.

    Attributes:
        alias: a second address of the same bytes, None if there is none.
        wait_states: cycles of the bus that an access waits at the board's clock, None where it is not said.
        cached: whether the core's own caches hold it.
        kept: how many bytes at its start stay a firmware's: constants of models that run from RAM go behind them.
    """

    name: str
    kind: MemoryKind
    origin: int
    length: int
    alias: int | None = None
    wait_states: int | None = None
    cached: bool = False
    kept: int = 0

    @property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """First address and address after the last, of the range and of its alias."""
        starts = (self.origin,) if self.alias is None else (self.origin, self.alias)
        return tuple((start, start + self.length) for start in starts)

    def holds(self, address: int) -> bool:
        """Return whether an address lies in it."""
        return any(start <= address < end for start, end in self.ranges)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """The memories that code, constants and data of an image go to. Constants may go to flash."""

    code: Memory
    constants: Memory
    data: Memory


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheGeometry:
    """A cache with least-recently-used replacement."""

    line_bytes: int
    sets: int
    ways: int

    @property
    def nbytes(self) -> int:
        """Its capacity in bytes."""
        return self.line_bytes * self.sets * self.ways


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryModel:
    """Caches in front of flash and RAM, and the cycles that a miss waits.

    Up to `fast_ram_bytes` of data are in memory without wait states; more is behind the data cache. A sequential miss
    follows the last missed line: what a prefetch hides of it is left out of its cycles. Geometry and wait states are
    the manuals'; the cycles of a miss add the bus, and are estimates.
    """

    name: str
    description: str
    instruction_cache: CacheGeometry
    data_cache: CacheGeometry
    fetch_miss: int
    sequential_fetch_miss: int
    constant_miss: int
    sequential_constant_miss: int
    fast_ram_bytes: int
    ram_miss: int

    def caches(self, kind: MemoryKind) -> FlashCaches | None:
        """Return what estimates of kernels need to know where code and constants are in RAM or in flash.

        None is memory without wait states.
        """
        flash = kind == "flash"
        if not flash and not self.ram_miss:
            return None
        return FlashCaches(
            code_bytes=self.instruction_cache.nbytes,
            constant_bytes=self.data_cache.nbytes,
            code_line_cycles=self.sequential_fetch_miss if flash else self.ram_miss,
            constant_line_cycles=self.sequential_constant_miss if flash else self.ram_miss,
        )
