"""Plans that fit the board: kernels are chosen again, under budgets, where the fastest do not go into its memories."""

from __future__ import annotations

from collections.abc import Callable

from utvm.api.flash_budget import BuiltProgram
from utvm.boards import Board
from utvm.lowering import LoweringError, Program
from utvm.toolchain import MemoryOverflowError

_ATTEMPTS = 8
"""Links; each takes away what the last was too large by."""

Lower = Callable[[int | None, int | None], Program]
"""Bytes of flash and of the arena that may be taken (None is no limit) → the fastest program within them."""


def within_board(
    board: Board, lower: Lower, link: Callable[[Program], BuiltProgram], *, flash: int | None, ram: int | None
) -> BuiltProgram:
    """Return the fastest build that the board's memories hold.

    Args:
        board: whose memories.
        lower: chooses kernels; raises `LoweringError` where nothing is within the budgets.
        link: builds a program's image; raises `MemoryOverflowError` where a memory is too small.
        flash, ram: the budgets to begin with, in bytes.

    Raises:
        LoweringError: nothing is within the given budgets.
        MemoryOverflowError: nothing fits the board; sizes are those of the smallest that was tried.
    """
    program = lower(flash, ram)
    for _ in range(_ATTEMPTS):
        try:
            return link(program)
        except MemoryOverflowError as error:
            smaller = _smaller(board, lower, program, error, flash, ram)
            if smaller is None:
                raise
            program, flash, ram = smaller
    return link(program)


def _smaller(
    board: Board, lower: Lower, program: Program, error: MemoryOverflowError, flash: int | None, ram: int | None
) -> tuple[Program, int | None, int | None] | None:
    """Return a program that is smaller where a memory overflowed, with its budgets; None if there is none."""
    placement = board.placements[-1]
    excess = error.needed - error.available
    budgets: list[tuple[int | None, int | None]] = []
    if error.region == placement.data.name:
        budgets.append((flash, program.arena_bytes - excess))
    if error.region in (placement.code.name, placement.constants.name):
        budgets.append((program.flash_bytes - excess, ram))
    for less_flash, less_ram in budgets:
        if min(n for n in (less_flash, less_ram, 1) if n is not None) <= 0:
            continue
        try:
            return lower(less_flash, less_ram), less_flash, less_ram
        except LoweringError:
            continue
    return None
