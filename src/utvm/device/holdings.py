"""What a board's RAM is known to hold, so that of the next image only the differences are sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from utvm.device.contents import Piece

_GRAIN = 64
"""Bytes that are compared at a time: what is equal for less is not worth a transfer of its own."""


class Holdings:
    """The constant contents of RAM, by address. Variables change behind our back and are no part of it."""

    def __init__(self) -> None:
        self._held: dict[int, bytes] = {}

    def forget(self) -> None:
        """The target has been reset for a cause, or is another: nothing is known."""
        self._held = {}

    def replace(self, pieces: Sequence[Piece]) -> list[Piece]:
        """Take these for the contents from now on, and return the parts of them that have to be sent for that."""
        missing = [
            Piece(name=piece.name, address=piece.address + start, data=data)
            for piece in pieces
            for start, data in _differences(self._held_at(piece), piece.data)
        ]
        self._held = {piece.address: piece.data for piece in pieces}
        return missing

    def _held_at(self, piece: Piece) -> bytes | None:
        """Return what is known of the bytes at a piece's place, from its first byte on."""
        for address, data in self._held.items():
            if address <= piece.address < address + len(data):
                return data[piece.address - address :]
        return None


def _differences(old: bytes | None, new: bytes) -> Iterator[tuple[int, bytes]]:
    """Return where `new` is not `old`, as (offset, bytes)."""
    if old is None:
        yield 0, new
        return
    start: int | None = None
    for position in range(0, len(new), _GRAIN):
        end = position + _GRAIN
        if new[position:end] == old[position:end]:
            if start is not None:
                yield start, new[start:position]
            start = None
        elif start is None:
            start = position
    if start is not None:
        yield start, new[start:]
