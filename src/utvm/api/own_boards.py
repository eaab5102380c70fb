"""Boards of the user's own: described in a file, and held against the board that is connected."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from utvm.api.assembling import as_board
from utvm.api.sizes import Size, size_in_bytes
from utvm.arguments import checked_arguments
from utvm.boards import Board, BoardDraft, BoardError, LinkKind, MemoryRange, require_trust, save_draft
from utvm.device import BoardCheck, check_connected
from utvm.pipeline import check_pipeline as compared_pipeline
from utvm.report import PipelineReport

Range = tuple[int, Size]


@checked_arguments
def add_board(
    name: str,
    *,
    description: str | None = None,
    part: str | None = None,
    core: str | None = None,
    clock_hz: int | None = None,
    ram: Sequence[Range] = (),
    flash: Sequence[Range] = (),
    openocd: Sequence[str] = (),
    pyocd: str | None = None,
    gdb: str | None = None,
) -> Board:
    """Write the file of a board of your own into your directory of boards, so that its name finds it.

    Args:
        name: small letters, digits, '-', '_' and '.'.
        description: what it is, for people; the name if None.
        part: the name of a part that is described; core, clock, RAM and flash are left out then.
        core: the name of a core, as cortex-m4.
        clock_hz: what the core runs at after a reset.
        ram: ranges of RAM that µTVM may use: address, and bytes or text as "64K".
        flash: ranges of flash that µTVM may erase and program with the constants of models, likewise.
        openocd: OpenOCD's files, in order.
        pyocd: pyOCD's name for the part.
        gdb: host:port of a GDB server.

    Raises:
        BoardError: something is missing or wrong, all of it is told; or there is such a file already.

    Example:
        utvm.add_board(
            "mine", core="cortex-m4", clock_hz=16_000_000, ram=[(0x20000000, "64K")], gdb="localhost:2331"
        )
    """
    draft = BoardDraft(
        name=name,
        description=name if description is None else description,
        part=part,
        core=core,
        clock_hz=clock_hz,
        ram=tuple(map(_range, ram)),
        flash=tuple(map(_range, flash)),
        openocd=tuple(openocd),
        pyocd=pyocd,
        gdb=gdb,
    )
    return save_draft(draft)[0]


@checked_arguments
def check_board(board: str | Path | Board, *, link: LinkKind | None = None) -> tuple[BoardCheck, ...]:
    """Compare a board's file with the board that is connected, only reading; its core is halted.

    Args:
        board: a board's name, the path of its TOML, or the board.
        link: which of its debug links to use; that of its file if None.

    Returns:
        What the file says, whether the board agrees (`holds`), and what was found.

    Raises:
        UtvmError: it is an emulator, or can't be reached.

    Example:
        for check in utvm.check_board("nucleo-f746zg"):
            print(check.what, check.holds, check.found)
    """
    return check_connected(_linked(board, link))


@checked_arguments
def check_pipeline(board: str | Path | Board, *, link: LinkKind | None = None) -> PipelineReport:
    """Run short kernels in a board's RAM and compare their cycles with the table that models its core.

    Args:
        board, link: as in `check_board`; simulated RTL counts itself, other emulators by the table.

    Returns:
        The answers, whether all hold, and the facts with which the table gives what was measured.

    Raises:
        UtvmError: no table models its core, or the board can't be reached, or counts nothing.

    Example:
        print(utvm.check_pipeline("qemu-cortex-m4").holds)
    """
    return compared_pipeline(_linked(board, link))


def _linked(board: str | Path | Board, link: LinkKind | None) -> Board:
    target = as_board(board)
    require_trust(target)
    return target if link is None else target.linked_by(link)


def _range(given: Range) -> MemoryRange:
    if len(given) != 2 or not isinstance(given[0], int) or isinstance(given[0], bool) or given[0] < 0:
        raise BoardError(f'{given!r} is no range of memory: give (address, bytes), as (0x20000000, "64K")')
    return MemoryRange(origin=given[0], length=size_in_bytes(given[1]))
