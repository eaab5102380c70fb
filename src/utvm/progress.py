"""What a command is doing, on a terminal: one line that appears after a second and leaves nothing behind."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

_PATIENCE_SECONDS = 1.0
_PERIOD_SECONDS = 0.1
_WIDTH = 78
_CLEAR = "\r\x1b[K"


class _Line:
    """A line of a terminal that is written again and again."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._next = time.monotonic() + _PATIENCE_SECONDS
        self._shown = False

    def show(self, text: str) -> None:
        """Show a text in place of the last, unless it is too early."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next, self._shown = now + _PERIOD_SECONDS, True
        plain = "".join(character if character.isprintable() else "?" for character in text)
        self._stream.write(_CLEAR + plain[:_WIDTH])
        self._stream.flush()

    def clear(self) -> None:
        """Take the line away; the next text waits for a second again."""
        if self._shown:
            self._stream.write(_CLEAR)
            self._stream.flush()
        self._next, self._shown = time.monotonic() + _PATIENCE_SECONDS, False


_lines: list[_Line] = []


@contextmanager
def shown_on(stream: TextIO) -> Iterator[None]:
    """Show what is said inside on a terminal; on anything else, show nothing."""
    if not stream.isatty():
        yield
        return
    _lines.append(_Line(stream))
    try:
        yield
    finally:
        _lines.pop().clear()


def say(text: str) -> None:
    """Say what is done now."""
    if _lines:
        _lines[-1].show(text)


def end() -> None:
    """Say that what took long is done: output may follow."""
    if _lines:
        _lines[-1].clear()
