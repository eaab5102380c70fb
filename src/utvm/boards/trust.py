"""What a board's file would run on this machine, and whether somebody has trusted it."""

from __future__ import annotations

import shlex
from dataclasses import replace

from utvm.boards.board import Board, BoardError, Emulator, OpenOcdSettings
from utvm.boards.find import list_boards, user_directory


def programs(board: Board) -> tuple[str, ...]:
    """Return the command lines that the file of a board makes µTVM run, one text each.

    Emulators and OpenOCD settings that a board of µTVM has word for word are no longer the file's, and left out.
    """
    shipped = list_boards()
    found = []
    emulator, openocd = board.emulator, board.link.openocd
    if emulator is not None and emulator.kind == "qemu" and emulator not in [each.emulator for each in shipped]:
        found.append(_emulated(emulator))
    if openocd is not None and openocd.endpoint is None:
        settings = replace(openocd, probe=None)
        if settings not in [each.link.openocd for each in shipped]:
            found.append(_openocd(settings))
    return tuple(found)


def require_trust(board: Board) -> None:
    """Return if what the file of a board runs is trusted.

    Raises:
        BoardError: the file was given by path and names programs; the error shows their command lines.
    """
    runs = () if board.untrusted is None else programs(board)
    if runs:
        listed = "\n".join(f"  {line}" for line in runs)
        raise BoardError(
            f"the board file {board.untrusted} names programs, which run as you:\n{listed}\n"
            "read it, then say --trust-board (in Python: load_board(PATH, trust=True)), or keep it in your directory "
            f"of boards, {user_directory()}"
        )


def _emulated(emulator: Emulator) -> str:
    return _shown([emulator.binary, "-M", emulator.machine, *emulator.arguments])


def _openocd(settings: OpenOcdSettings) -> str:
    files = [part for file in settings.config for part in ("-f", file)]
    return _shown(["openocd", *files, *(part for line in settings.commands for part in ("-c", line))])


def _shown(command: list[str]) -> str:
    """Return a command line in which nothing reaches a terminal but what can be read."""
    line = shlex.join(command)
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line)
