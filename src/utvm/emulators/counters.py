"""What the counting plugin shares with the host: the layout of `struct shared` in profile.c, and a snapshot of it."""

from __future__ import annotations

import ctypes
import mmap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from utvm.boards import CacheGeometry

_RANGES = 8
_EDGES = 1 << 18

EDGE_DTYPE = np.dtype(
    [("from", "<u4"), ("from_length", "<u4"), ("to", "<u4"), ("to_length", "<u4"), ("count", "<u8"), ("_", "<u8")]
)


class _Geometry(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("line_bytes", "sets", "ways", "pad")]


_RANGE_COUNTERS = (
    "reads", "writes", "read_misses", "write_misses", "sequential_read_misses",
    "fetches", "fetch_misses", "sequential_fetch_misses",
)  # fmt: skip


class _Range(ctypes.Structure):
    _fields_ = [
        *[(name, ctypes.c_uint32) for name in ("start", "end", "cached", "pad")],
        *[(name, ctypes.c_uint64) for name in _RANGE_COUNTERS],
    ]


_MISALIGNED = ("odd_halfword", "word_at_2", "word_at_odd", "crosses_word", "unaligned_load", "unaligned_store")


class _Shared(ctypes.Structure):
    _fields_ = [
        *[(name, ctypes.c_uint64) for name in ("instructions", "epoch", "seen", *_MISALIGNED, "edge_count", "lost")],
        ("range_count", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
        ("instruction_cache", _Geometry),
        ("data_cache", _Geometry),
        ("ranges", _Range * _RANGES),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressRange:
    """Addresses behind one bus, `start` to `end` (exclusive); `cached` if the caches hold them."""

    name: str
    start: int
    end: int
    cached: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeCounts:
    """Accesses to a range: reads and writes of data, lines of instructions fetched, and what missed the caches."""

    reads: int
    writes: int
    read_misses: int
    write_misses: int
    sequential_read_misses: int
    fetches: int
    fetch_misses: int
    sequential_fetch_misses: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Counts:
    """What ran since `Counters.begin`.

    `edges` is a structured array (from, from_length, to, to_length, count): how often control went from the block of
    `from_length` instructions at `from` (0: none before) to that at `to`. `misaligned` counts accesses by kind.
    """

    edges: NDArray[np.void]
    misaligned: dict[str, int]
    ranges: dict[str, RangeCounts]
    complete: bool


class Counters:
    """The mapped file of one emulator."""

    def __init__(self, path: Path) -> None:
        size = ctypes.sizeof(_Shared) + _EDGES * EDGE_DTYPE.itemsize
        with path.open("w+b") as file:
            file.truncate(size)
            self._map = mmap.mmap(file.fileno(), size)
        self._shared = _Shared.from_buffer(self._map)
        self._names: tuple[str, ...] = ()

    @property
    def instructions(self) -> int:
        """Instructions executed since the emulator started."""
        return int(self._shared.instructions)

    def watch(
        self, ranges: tuple[AddressRange, ...], instruction: CacheGeometry | None, data: CacheGeometry | None
    ) -> None:
        """Simulate caches for the accesses to `ranges` from the next `begin` on; no ranges, no simulation."""
        shared = self._shared
        for place, geometry in ((shared.instruction_cache, instruction), (shared.data_cache, data)):
            place.line_bytes, place.sets, place.ways = (
                (0, 0, 0) if geometry is None else (geometry.line_bytes, geometry.sets, geometry.ways)
            )
        for place, wanted in zip(shared.ranges, ranges, strict=False):
            place.start, place.end, place.cached = wanted.start, wanted.end, wanted.cached
        shared.range_count = len(ranges)
        self._names = tuple(wanted.name for wanted in ranges)

    def begin(self) -> None:
        """Start a new count; the machine must be stopped."""
        self._shared.epoch += 1

    def counts(self) -> Counts:
        """Return what was counted since `begin`; the machine must be stopped."""
        shared = self._shared
        ran = shared.seen == shared.epoch
        found = shared.edge_count if ran else 0
        edges = np.frombuffer(self._map, dtype=EDGE_DTYPE, count=found, offset=ctypes.sizeof(_Shared)).copy()
        ranges = {
            name: RangeCounts(**{counter: int(getattr(place, counter)) for counter in _RANGE_COUNTERS})
            for name, place in zip(self._names, shared.ranges, strict=False)
        }
        return Counts(
            edges=edges,
            misaligned={name: int(getattr(shared, name)) if ran else 0 for name in _MISALIGNED},
            ranges=ranges,
            complete=shared.lost == 0,
        )
