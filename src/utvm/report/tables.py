"""Printing tables in a width that suits the reader, and writing files."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from utvm.errors import UtvmError

if TYPE_CHECKING:
    from rich.table import Table

_WIDTH_WHEN_PIPED = 140


def print_table(table: Table) -> None:
    """Print a table to standard output; wide when that is not a terminal."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else _WIDTH_WHEN_PIPED
    Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False).print(table)


def write_text(path: Path, text: str) -> None:
    """Write a file of text, and the directories that it lacks; see `write_bytes`."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file, and the directories that it lacks. A file that is there stays whole until the new one is.

    Raises:
        UtvmError: it can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            path.write_bytes(data)  # a terminal or a pipe
        else:
            _replace(path.resolve(), data)
    except (FileExistsError, NotADirectoryError) as error:
        raise UtvmError(f"{path} can't be written: {error.filename} is no directory") from error
    except OSError as error:
        raise UtvmError(f"{path} can't be written: {error.strerror}") from error


def _replace(path: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:32]}.", dir=path.parent)
    written = Path(name)
    try:
        with open(handle, "wb") as file:  # noqa: PTH123 - a descriptor
            file.write(data)
        written.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask())
        written.replace(path)
    except BaseException:
        written.unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
