"""Names in a graph: printable, and each once."""

from __future__ import annotations

from collections.abc import Iterable

_MOST_CHARACTERS = 256


def printable(text: str) -> str:
    """Return a name that a file has, cut to 256 characters, with `?` for each that does not print."""
    text = text[:_MOST_CHARACTERS]
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


class Names:
    """Names that are taken."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)
        self._next: dict[str, int] = {}

    def fresh(self, wanted: str) -> str:
        """Take `wanted`, with a number behind it where it is taken already, and return it."""
        name = wanted
        if name in self._taken:
            number = self._next.get(wanted, 2)
            while (name := f"{wanted}_{number}") in self._taken:
                number += 1
            self._next[wanted] = number + 1
        self._taken.add(name)
        return name
