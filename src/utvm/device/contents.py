"""What an image puts into memory, and what of it must still be there after the start-up."""

from __future__ import annotations

from dataclasses import dataclass

from utvm.device.frame import FRAME_BYTES, FRAME_SYMBOL
from utvm.toolchain import Image

_VARIABLES = (".data", ".bss")


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Bytes at an address, and the section that they are of."""

    name: str
    address: int
    data: bytes


def written(image: Image) -> list[Piece]:
    """Return what is loaded: all sections but the stack; those without data are zero."""
    return [
        Piece(name=s.name, address=s.address, data=bytes(s.size) if s.data is None else s.data)
        for s in image.sections
        if s.name != ".stack"
    ]


def constant(image: Image) -> list[Piece]:
    """Return what a running program leaves as it was loaded."""
    return [piece for piece in written(image) if piece.name not in _VARIABLES]


def variable(image: Image) -> list[Piece]:
    """Return variables before the first function of the program runs, without the frame of calls."""
    frame = image.symbol(FRAME_SYMBOL).address
    pieces = []
    for piece in (piece for piece in written(image) if piece.name in _VARIABLES):
        before = frame - piece.address
        if 0 <= before < len(piece.data):
            pieces.append(Piece(name=piece.name, address=piece.address, data=piece.data[:before]))
            rest = piece.data[before + FRAME_BYTES :]
            pieces.append(Piece(name=piece.name, address=frame + FRAME_BYTES, data=rest))
        else:
            pieces.append(piece)
    return pieces
