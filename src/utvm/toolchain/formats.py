"""Programs as files for programmers: bytes at load addresses, Intel HEX, plain binaries."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile

_ROW = 16
_MOST_GAP = 64 * 1024
_UF2_STARTS, _UF2_END = (0x0A324655, 0x9E5D5157), 0x0AB16F30
_UF2_HAS_FAMILY = 0x2000
_UF2_PAYLOAD, _UF2_ROOM = 256, 476


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Bytes at the address that they are loaded to."""

    address: int
    data: bytes

    @property
    def end(self) -> int:
        """The address after the last byte."""
        return self.address + len(self.data)


def load_segments(path: Path) -> tuple[Segment, ...]:
    """Return what an ELF file loads, by load address; gaps of less than 64 KB are filled with 0xFF, as erased flash is.

    Initial values of variables are where a program that boots copies them from.
    """
    with path.open("rb") as file:
        elf = ELFFile(file)
        found = [
            Segment(address=part["p_paddr"], data=part.data())
            for part in elf.iter_segments()
            if part["p_type"] == "PT_LOAD" and part["p_filesz"]
        ]
    joined: list[Segment] = []
    for part in sorted(found, key=lambda segment: segment.address):
        if joined and 0 <= part.address - joined[-1].end < _MOST_GAP:
            last = joined.pop()
            part = Segment(address=last.address, data=last.data + b"\xff" * (part.address - last.end) + part.data)
        joined.append(part)
    return tuple(joined)


def intel_hex(segments: Sequence[Segment], entry: int) -> str:
    """Return segments as Intel HEX with 32-bit addresses (Intel, Hexadecimal Object File Format, 1988)."""
    lines = [line for segment in segments for line in _data_records(segment)]
    return "\n".join([*lines, _record(0, 5, entry.to_bytes(4, "big")), _record(0, 1, b""), ""])


def uf2(segments: Sequence[Segment], family: int) -> bytes:
    """Return segments as UF2, which boot ROMs take as a file on their USB drive (Microsoft, UF2 specification).

    Args:
        segments: their gaps are left out.
        family: the number of the family of parts that it is for.
    """
    pieces = [
        (segment.address + start, segment.data[start : start + _UF2_PAYLOAD].ljust(_UF2_PAYLOAD, b"\xff"))
        for segment in segments
        for start in range(0, len(segment.data), _UF2_PAYLOAD)
    ]
    blocks = [
        struct.pack("<8I", *_UF2_STARTS, _UF2_HAS_FAMILY, address, len(data), number, len(pieces), family)
        + data.ljust(_UF2_ROOM, b"\0")
        + struct.pack("<I", _UF2_END)
        for number, (address, data) in enumerate(pieces)
    ]
    return b"".join(blocks)


def _data_records(segment: Segment) -> Iterator[str]:
    upper = -1
    position = 0
    while position < len(segment.data):
        address = segment.address + position
        if address >> 16 != upper:
            upper = address >> 16
            yield _record(0, 4, upper.to_bytes(2, "big"))
        count = min(_ROW - address % _ROW, len(segment.data) - position)
        yield _record(address & 0xFFFF, 0, segment.data[position : position + count])
        position += count


def _record(address: int, kind: int, data: bytes) -> str:
    body = bytes([len(data), *address.to_bytes(2, "big"), kind]) + data
    return f":{(body + bytes([-sum(body) & 0xFF])).hex().upper()}"
