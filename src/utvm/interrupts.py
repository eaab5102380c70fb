"""Ctrl-C that does not get lost.

Python raises KeyboardInterrupt wherever its main thread happens to be. In a destructor or the callback of a weak
reference it is printed and dropped, and the program goes on as if nobody had pressed anything.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Self


class Interrupts:
    """In a `with` statement: SIGINT does what it did before and is remembered; `check` raises what was dropped.

    Of several around each other all remember. Where SIGINT is ignored, as shells have it for programs in the
    background, and in threads other than the main one, nothing is changed.

    Attributes:
        happened: whether there was a SIGINT.
    """

    def __init__(self) -> None:
        self.happened = False

    def __enter__(self) -> Self:
        self._before = signal.getsignal(signal.SIGINT)
        self._is_set = threading.current_thread() is threading.main_thread() and callable(self._before)
        if self._is_set:
            signal.signal(signal.SIGINT, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_set:
            signal.signal(signal.SIGINT, self._before)

    def check(self) -> None:
        """Raise KeyboardInterrupt if there was a SIGINT."""
        if self.happened:
            raise KeyboardInterrupt

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.happened = True
        if callable(self._before):
            self._before(number, frame)
