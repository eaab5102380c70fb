"""Ctrl-C in tests: where the suite runs in the background of a shell, SIGINT is ignored from the start."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def heard_interrupts() -> Iterator[None]:
    """SIGINT is what it is in a terminal's foreground: for us, and for the programs that are started inside."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def dropped_exceptions() -> Iterator[list[type[BaseException]]]:
    """What is raised where nobody can catch it is collected instead of printed."""
    before, found = sys.unraisablehook, list[type[BaseException]]()
    sys.unraisablehook = lambda unraisable: found.append(unraisable.exc_type)
    try:
        yield found
    finally:
        sys.unraisablehook = before


class InterruptsWhenDropped:
    """An object whose destructor is where a Ctrl-C arrives: Python prints it and drops it."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):  # a signal is handled between two instructions of Python
            pass
