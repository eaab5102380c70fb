"""Boards that are there, and the way from a board's description to a session with it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from utvm.boards import Board, BoardError, require_trust
from utvm.device.cycle_counter import CycleCounter
from utvm.device.gdb_link import GdbRemoteLink
from utvm.device.link import Count, DebugLink, Target, WrappingTarget
from utvm.device.openocd_link import openocd_opener
from utvm.device.pyocd_link import pyocd_opener
from utvm.device.session import Session
from utvm.toolchain import Image


class AttachedTarget:
    """A board on the desk or behind a server that runs: nothing to start, nothing to end. Its own counter counts."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._counter = CycleCounter(board)

    def start(self) -> str:
        """See `Target`."""
        link = self._board.link
        if link.kind == "gdb" and link.gdb is not None:
            return link.gdb.endpoint
        return ""

    def describe_death(self) -> str | None:
        """See `Target`."""
        return None

    def begin_count(self, image: Image, link: DebugLink) -> None:
        """See `Target`."""
        self._counter.begin(image, link)

    def count(self, image: Image, link: DebugLink) -> Count:
        """See `Target`."""
        return self._counter.count(image, link)

    def stop(self) -> None:
        """See `Target`."""


def link_opener(board: Board) -> Callable[[str], DebugLink]:
    """Return what opens the debug link that a board uses, from the endpoint that its target's `start` returns.

    Raises:
        BoardError: it does not describe that link, or its file names programs and nobody trusted it.
    """
    require_trust(board)
    if board.link.kind == "gdb":
        return partial(GdbRemoteLink, undescribed=board.core.isa.registers)
    if board.link.openocd is not None and board.link.kind == "openocd":
        return openocd_opener(board.link.openocd)
    if board.link.pyocd is not None and board.link.kind == "pyocd":
        return pyocd_opener(board.link.pyocd)
    raise BoardError(f"board '{board.name}' has no [link.{board.link.kind}]")


def open_session(board: Board, target: Target | None = None) -> Session:
    """Open a session by the link that a board uses.

    Args:
        board: the board; `Board.linked_by` chooses among its links.
        target: what stands behind the link; the board itself, attached already, if None.

    Raises:
        UtvmError: it can't be reached.
    """
    opener = link_opener(board)
    if isinstance(target, WrappingTarget):
        wrap = target.wrap
        return Session(board, target, lambda endpoint: wrap(opener(endpoint)))
    return Session(board, AttachedTarget(board) if target is None else target, opener)
