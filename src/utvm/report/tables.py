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
    Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False).print(table)


def write_text(path: Path, text: str) -> None:
    """Write a file of text, and the directories that it lacks; see `write_bytes`."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file, and the directories that it lacks.

    Raises:
        UtvmError: it can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except (FileExistsError, NotADirectoryError) as error:
        raise UtvmError(f"{path} can't be written: {error.filename} is no directory") from error
    except OSError as error:
        raise UtvmError(f"{path} can't be written: {error.strerror}") from error
