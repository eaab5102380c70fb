"""From a board's description to the emulator that stands in for it."""

from __future__ import annotations

from pathlib import Path

from utvm.boards import Board, BoardError
from utvm.device import Target
from utvm.emulators.assumed import Assumption
from utvm.emulators.qemu import QemuTarget
from utvm.emulators.rtl import RtlTarget


def emulator_target(board: Board, *, cache_directory: Path, assume: Assumption | None = None) -> Target | None:
    """Return the emulator that a board describes, not yet started; None for a board that is there by itself.

    Args:
        board: the board.
        cache_directory: where an emulator keeps what it builds once.
        assume: what modelled cycles assume instead of zero-wait memory.

    Raises:
        BoardError: nothing models the cycles of this board, so that `assume` has no meaning.
    """
    if board.emulator is not None and board.emulator.kind == "qemu":
        return QemuTarget(board, cache_directory=cache_directory, assume=assume)
    if assume is not None:
        raise BoardError(
            f"the cycles of board '{board.name}' are not modelled: leave out the assumption '{assume.name}'"
        )
    return None if board.emulator is None else RtlTarget(board, cache_directory=cache_directory)
