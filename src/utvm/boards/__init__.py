"""Boards, one TOML each."""

from utvm.boards.board import Board, BoardError, Emulator, Memory
from utvm.boards.load import list_boards, load_board, parse_board

__all__ = ["Board", "BoardError", "Emulator", "Memory", "list_boards", "load_board", "parse_board"]
