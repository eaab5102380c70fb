"""Every debug link before every target that it can reach: what the conformance suite runs on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from utvm.boards import Board, list_boards
from utvm.device import DebugLink, Session, Target, link_opener
from utvm.emulators import emulator_target
from utvm.toolchain import default_cache_directory

NOWHERE_ARM, NOWHERE_RISCV = 0x60000000, 0xF0000000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    """A link and a target.

    Attributes:
        name: link and target.
        board: the board that a session sees.
        make_target: what stands behind the link, not yet started.
        open_link: opens the link to it.
        nowhere: an address where nothing is.
        tells_bad_reads, tells_bad_writes: whether the server says that nothing is there; some invent zeros.
        kill: ends what the link talks to, as a crash would; takes target and link.
    """

    name: str
    board: Board
    make_target: Callable[[], Target]
    open_link: Callable[[str], DebugLink]
    nowhere: int
    tells_bad_reads: bool = True
    tells_bad_writes: bool = True

    def session(self) -> Session:
        """Return a session on a target of its own."""
        return Session(self.board, self.make_target(), self.open_link)

    def __str__(self) -> str:
        return self.name


def _qemu(board: Board) -> Rig:
    def make() -> Target:
        target = emulator_target(board, cache_directory=default_cache_directory())
        assert target is not None
        return target

    return Rig(
        name=f"gdb-{board.name}",
        board=board,
        make_target=make,
        open_link=link_opener(board),
        nowhere=NOWHERE_RISCV if board.core.isa == "riscv" else NOWHERE_ARM,
        tells_bad_reads=False,
        tells_bad_writes=False,
    )


RIGS = [_qemu(board) for board in list_boards() if board.emulator is not None and board.emulator.kind == "qemu"]
