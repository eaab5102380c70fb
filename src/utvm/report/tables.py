"""Console tables: the boards, and printing in a width that suits the reader."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from utvm.boards import Board
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


def boards_table(boards: Sequence[Board]) -> Table:
    """Return the boards, one row each."""
    table = Table()
    for heading in ("board", "core", "clock", "memories", "reached by"):
        table.add_column(heading, overflow="fold")
    for board in boards:
        memories = "\n".join(f"{m.name} {m.kind} {_size(m.length)} at 0x{m.origin:08x}" for m in board.memories)
        table.add_row(board.name, board.core.name, f"{board.clock_hz / 1e6:g} MHz", memories, board.reached_by)
    return table


def boards_json(boards: Sequence[Board]) -> list[dict[str, Any]]:
    """Return the boards as JSON values; addresses and lengths in bytes, clocks in Hz."""
    return [
        {
            "name": board.name,
            "core": board.core.name,
            "clock_hz": board.clock_hz,
            "memories": [
                {"name": m.name, "kind": m.kind, "origin": m.origin, "length": m.length} for m in board.memories
            ],
            "reached_by": board.reached_by,
        }
        for board in boards
    ]


def _size(nbytes: int) -> str:
    if nbytes % (1 << 20) == 0:
        return f"{nbytes >> 20} MB"
    return f"{nbytes >> 10} KB" if nbytes % 1024 == 0 else f"{nbytes} B"
