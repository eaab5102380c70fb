"""Names in a graph: printable, each once, and no longer than a file keeps."""

from __future__ import annotations

from collections.abc import Iterable

_MOST_CHARACTERS = 256
_MOST_BYTES = 240
"""Of a name in UTF-8, without the number that tells it from others. A .tflite file is read as far as 256 bytes."""
_NUMBER_BYTES = 10
_END_BYTES = 60


def printable(text: str) -> str:
    """Return a name that a file has, cut to 256 characters, with `?` for each that does not print."""
    text = text[:_MOST_CHARACTERS]
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def short(name: str, *, numbered: bool = False) -> str:
    """Return a name without its middle where it is too long: what comes first and last tells most.

    `numbered` says that a number may be behind it already.
    """
    data = name.encode(errors="replace")
    if len(data) <= _MOST_BYTES + numbered * _NUMBER_BYTES:
        return name
    parts = data[: _MOST_BYTES - _END_BYTES - 3], data[-_END_BYTES:]
    return "...".join(part.decode(errors="ignore") for part in parts)


class Names:
    """Names that are taken."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)
        self._next: dict[str, int] = {}

    def fresh(self, wanted: str) -> str:
        """Take `wanted`, short, with a number behind it where it is taken already, and return it."""
        name = wanted = short(wanted)
        if name in self._taken:
            number = self._next.get(wanted, 2)
            while (name := f"{wanted}_{number}") in self._taken:
                number += 1
            self._next[wanted] = number + 1
        self._taken.add(name)
        return name
