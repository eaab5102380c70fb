"""Boards, one TOML each; parts (microcontrollers) that they build on."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from utvm.boards.board import (
        LINK_NAMES,
        Board,
        BoardError,
        Console,
        CycleCounter,
        Emulator,
        GdbSettings,
        LinkKind,
        LinkSettings,
        OpenOcdSettings,
        PyOcdSettings,
        Silicon,
    )
    from utvm.boards.draft import BoardDraft, MemoryRange, save_draft
    from utvm.boards.find import list_boards, load_board, user_boards, user_directory
    from utvm.boards.load import list_parts, parse_board
    from utvm.boards.memory import CacheGeometry, Memory, MemoryModel, Placement
    from utvm.boards.startup import WAIT_TURNS, CacheKind, RegisterOperation
    from utvm.boards.trust import programs, require_trust
else:
    from utvm.lazy import exports

    __getattr__ = exports(__name__, __file__)

__all__ = [
    "LINK_NAMES",
    "WAIT_TURNS",
    "Board",
    "BoardDraft",
    "BoardError",
    "CacheGeometry",
    "CacheKind",
    "Console",
    "CycleCounter",
    "Emulator",
    "GdbSettings",
    "LinkKind",
    "LinkSettings",
    "Memory",
    "MemoryModel",
    "MemoryRange",
    "OpenOcdSettings",
    "Placement",
    "PyOcdSettings",
    "RegisterOperation",
    "Silicon",
    "list_boards",
    "list_parts",
    "load_board",
    "parse_board",
    "programs",
    "require_trust",
    "save_draft",
    "user_boards",
    "user_directory",
]
