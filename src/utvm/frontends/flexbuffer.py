"""Options of custom operators: a FlexBuffer whose root is a map of numbers, or a vector of them.

Source: FlexBuffers' description (google/flatbuffers, docs/source/FlexBuffers.md). Every offset is checked.
"""

from __future__ import annotations

import struct

from utvm.frontends.refusal import RefusedError

_INT, _UINT, _FLOAT, _MAP, _VECTOR, _BOOL = 1, 2, 3, 9, 10, 26
_FORMATS = {
    (_INT, 1): "<b", (_INT, 2): "<h", (_INT, 4): "<i", (_INT, 8): "<q",
    (_UINT, 1): "<B", (_UINT, 2): "<H", (_UINT, 4): "<I", (_UINT, 8): "<Q",
    (_FLOAT, 4): "<f", (_FLOAT, 8): "<d",
}  # fmt: skip
_MOST_VALUES = 256
_MOST_KEY_BYTES = 64

Number = int | float


def read_numbers(data: bytes) -> dict[str, Number]:
    """Return the numbers of a map by their keys, of a vector by their places; other values are left out.

    Raises:
        RefusedError: it is neither, or damaged.
    """
    try:
        width, kind = data[-1], data[-2]
        return _Reader(data).numbers(len(data) - 2 - width, width, kind)
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise RefusedError("its options are damaged") from error


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def numbers(self, root: int, width: int, kind: int) -> dict[str, Number]:
        if kind >> 2 not in (_MAP, _VECTOR) or width not in (1, 2, 4, 8):
            raise RefusedError("its options are no map of numbers")
        start, size = root - self._unsigned(root, width), 1 << (kind & 3)
        count = self._unsigned(start - size, size)
        if count > _MOST_VALUES:
            raise RefusedError(f"its options have {count} values")
        keys = self._keys(start, size, count) if kind >> 2 == _MAP else [str(i) for i in range(count)]
        found = {}
        for i, key in enumerate(keys):
            packed = self._bytes(start + count * size + i, 1)[0]
            value = self._number(start + i * size, size, packed)
            if value is not None:
                found[key] = value
        return found

    def _keys(self, start: int, size: int, count: int) -> list[str]:
        """Return a map's keys: two fields before its length are where they are, and how wide their offsets."""
        place = start - 3 * size
        keys, wide = place - self._unsigned(place, size), self._unsigned(start - 2 * size, size)
        if wide not in (1, 2, 4, 8):
            raise RefusedError("its options are damaged")
        return [self._text(at - self._unsigned(at, wide)) for at in (keys + i * wide for i in range(count))]

    def _text(self, start: int) -> str:
        raw = self._bytes(start, 1) + self.data[start + 1 : start + _MOST_KEY_BYTES]
        return raw.split(b"\0", 1)[0].decode("utf-8")

    def _number(self, place: int, size: int, packed: int) -> Number | None:
        kind = packed >> 2
        if kind == _BOOL:
            return self._unsigned(place, size)
        layout = _FORMATS.get((kind, size))
        return None if layout is None else struct.unpack(layout, self._bytes(place, size))[0]

    def _unsigned(self, place: int, size: int) -> int:
        return int.from_bytes(self._bytes(place, size), "little")

    def _bytes(self, place: int, size: int) -> bytes:
        if not 0 <= place <= len(self.data) - size:
            raise RefusedError("its options are damaged")
        return self.data[place : place + size]
