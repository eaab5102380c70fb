"""Printing tables in a width that suits the reader, and writing files."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from utvm.errors import UtvmError

_WIDTH_WHEN_PIPED = 140


def print_table(table: Table) -> None:
    """Print a table to standard output; wide when that is not a terminal."""
    width = None if sys.stdout.isatty() else _WIDTH_WHEN_PIPED
    Console(file=sys.stdout, width=width, highlight=False).print(table)


def write_text(path: Path, text: str) -> None:
    """Write a report's file.

    Raises:
        UtvmError: it can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UtvmError(f"{path} can't be written: {error.strerror}") from error
