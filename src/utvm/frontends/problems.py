"""What is wrong with a file: each kind of problem once, with how often and where, and how to get on."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_SHOWN = 5
_NAMES = re.compile(r"'[^']*'")


@dataclass(slots=True)
class Problems:
    """Problems of one file, in the order in which they are met."""

    _places: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    _texts: dict[tuple[str, str], str] = field(default_factory=dict)
    _advice: dict[str, None] = field(default_factory=dict)

    def of_file(self, text: str, advice: str = "") -> None:
        """Note a problem of the file as a whole."""
        self._note("", text, advice)

    def of_operator(self, index: int, kind: str, reason: str, advice: str = "") -> None:
        """Note a problem of an operator of the file; the same reason for other tensors is the same problem."""
        self._note(kind, reason, advice).append(index)

    def _note(self, kind: str, text: str, advice: str) -> list[int]:
        key = kind, _NAMES.sub("'", text)
        self._texts.setdefault(key, text)
        if advice:
            self._advice.setdefault(advice)
        return self._places.setdefault(key, [])

    @property
    def texts(self) -> tuple[str, ...]:
        """One line for each kind of problem."""
        return tuple(_line(kind, self._texts[kind, text], places) for (kind, text), places in self._places.items())

    @property
    def advice(self) -> tuple[str, ...]:
        """What to do, each once."""
        return tuple(self._advice)


def _line(kind: str, text: str, places: list[int]) -> str:
    if not places:
        return text
    if len(places) == 1:
        return f"operator {places[0]} {kind}: {text}"
    shown = ", ".join(map(str, places[:_SHOWN]))
    more = ", ..." if len(places) > _SHOWN else ""
    first = " (the first of them)" if "'" in text else ""
    return f"{len(places)} operators {kind} ({shown}{more}): {text}{first}"
