"""What a command is doing, on a terminal: one line that appears after a second and leaves nothing behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

_PATIENCE_SECONDS = 1.0
_PERIOD_SECONDS = 0.1
_WIDTH = 78
_CLEAR = "\r\x1b[K"


class _Line:
    """A line of a terminal that is written again and again. A thread writes what stays true for long."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._late: threading.Timer | None = None
        self._text = ""
        self._next = time.monotonic() + _PATIENCE_SECONDS
        self._shown = False

    def show(self, text: str) -> None:
        """Show a text in place of the last: now, or where it is too early as soon as it is not."""
        with self._lock:
            self._text = text
            wait = self._next - time.monotonic()
            if wait <= 0:
                self._write()
            elif self._late is None:
                self._late = threading.Timer(wait, self._show_late)
                self._late.daemon = True
                self._late.start()

    def clear(self) -> None:
        """Take the line away; the next text waits for a second again."""
        with self._lock:
            self._forget()
            if self._shown:
                self._stream.write(_CLEAR)
                self._stream.flush()
            self._next, self._shown = time.monotonic() + _PATIENCE_SECONDS, False

    def _show_late(self) -> None:
        with self._lock:
            if self._late is threading.current_thread():
                self._write()

    def _write(self) -> None:
        self._forget()
        self._next, self._shown = time.monotonic() + _PERIOD_SECONDS, True
        plain = "".join(character if character.isprintable() else "?" for character in self._text)
        self._stream.write(_CLEAR + plain[:_WIDTH])
        self._stream.flush()

    def _forget(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


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
