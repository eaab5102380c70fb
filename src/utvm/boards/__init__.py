"""Boards, one TOML each."""

from utvm.boards.board import (
    LINK_NAMES,
    Board,
    BoardError,
    CycleCounter,
    Emulator,
    GdbSettings,
    Link,
    LinkKind,
    Memory,
    OpenOcdSettings,
    PyOcdSettings,
)
from utvm.boards.load import list_boards, load_board, parse_board

__all__ = [
    "LINK_NAMES",
    "Board",
    "BoardError",
    "CycleCounter",
    "Emulator",
    "GdbSettings",
    "Link",
    "LinkKind",
    "Memory",
    "OpenOcdSettings",
    "PyOcdSettings",
    "list_boards",
    "load_board",
    "parse_board",
]
