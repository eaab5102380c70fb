"""A board's description against the board that is connected. It only reads: nothing on the board is changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from utvm.boards import Board, BoardError, Memory
from utvm.device.attach import AttachedTarget, link_opener
from utvm.device.link import DebugLink, LinkRefusedError

_CPUID = 0xE000ED00
_DWT_CTRL, _NO_CYCLE_COUNTER = 0xE0001000, 1 << 25
_NAMES = {0xC20: "Cortex-M0", 0xC60: "Cortex-M0+", 0xC23: "Cortex-M3", 0xC24: "Cortex-M4", 0xC27: "Cortex-M7",
          0xD21: "Cortex-M33", 0xD22: "Cortex-M55", 0xD23: "Cortex-M85"}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardCheck:
    """Something that a board's file says, whether the board agrees, and what was found."""

    what: str
    holds: bool
    found: str


def check_connected(board: Board) -> tuple[BoardCheck, ...]:
    """Compare a board's file with the board that is connected; see `check_board`.

    Raises:
        BoardError: it is an emulator, which is what its file says.
        DeviceError: the board can't be reached.
    """
    if board.emulator is not None:
        raise BoardError(f"board '{board.name}' is {board.emulator.kind}: there is nothing to check it against")
    link = link_opener(board)(AttachedTarget(board).start())
    try:
        return check_board(board, link)
    finally:
        link.close()


def check_board(board: Board, link: DebugLink) -> tuple[BoardCheck, ...]:
    """Compare a board's file with the board behind a link; the core is halted.

    The core is the one that CPUID names; the cycle counter is there; each memory can be read at its edges. That a
    memory ends where it is said to is not probed, nor whether it can be written.

    Raises:
        LinkLostError, LinkTimeoutError: the link failed.
    """
    link.halt()
    checks = [] if board.core.part_number is None else list(_core(board, link))
    checks += [_edges(memory, link) for memory in board.memories]
    return tuple(checks)


def _core(board: Board, link: DebugLink) -> Iterator[BoardCheck]:
    identity = _word(link, _CPUID)
    part = None if identity is None else identity >> 4 & 0xFFF
    name = _NAMES.get(part or 0, "an unknown core")
    found = "CPUID can't be read" if identity is None else f"CPUID 0x{identity:08x}: {name}"
    yield BoardCheck(what=f"the core is a {board.core.name}", holds=part == board.core.part_number, found=found)
    if board.cycle_counter == "dwt":
        control = _word(link, _DWT_CTRL)
        there = control is not None and not control & _NO_CYCLE_COUNTER
        found = "DWT_CTRL can't be read" if control is None else f"DWT_CTRL 0x{control:08x}"
        yield BoardCheck(what="the cycle counter DWT_CYCCNT is there", holds=there, found=found)


def _edges(memory: Memory, link: DebugLink) -> BoardCheck:
    unreadable = [
        f"0x{address:08x} can't be read"
        for start, end in memory.ranges
        for address in (start, end - 4)
        if _word(link, address) is None
    ]
    what = f"{memory.name}, {memory.length:,} bytes at 0x{memory.origin:08x}"
    return BoardCheck(what=what, holds=not unreadable, found=", ".join(unreadable) or "readable at both ends")


def _word(link: DebugLink, address: int) -> int | None:
    try:
        return int.from_bytes(link.read_memory(address, 4), "little")
    except LinkRefusedError:
        return None
