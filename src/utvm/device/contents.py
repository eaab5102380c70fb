"""What an image puts into memory."""

from __future__ import annotations

from dataclasses import dataclass

from utvm.toolchain import Image, Section

CHECKSUM_WORTH = 1024
"""Bytes from which on a checksum that the target computes is less work than reading back."""
TRAPS_SECTION = ".traps"
"""Where breakpoints may be: what is read there can differ from what was written."""
_DATA = ".data"


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Bytes at an address, and the section that they are of."""

    name: str
    address: int
    data: bytes


def constant(image: Image) -> list[Piece]:
    """Return what a running program leaves as it was loaded."""
    return [piece for piece in _loaded(image) if piece.name != _DATA]


def small_constants(image: Image) -> list[Piece]:
    """Return what of that is quickly read and free of breakpoints."""
    return [p for p in constant(image) if len(p.data) < CHECKSUM_WORTH and p.name != TRAPS_SECTION]


def initial(image: Image) -> list[Piece]:
    """Return variables that begin with a value."""
    return [piece for piece in _loaded(image) if piece.name == _DATA]


def zeroed(image: Image) -> list[Section]:
    """Return variables that begin with 0; addresses and sizes are multiples of 16 bytes."""
    return [section for section in image.sections if section.data is None and section.name != ".stack"]


def _loaded(image: Image) -> list[Piece]:
    return [Piece(name=s.name, address=s.address, data=s.data) for s in image.sections if s.data is not None]
