"""Programming a firmware through the debug link, and starting it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from elftools.common.exceptions import ELFError

from utvm import api
from utvm.boards import Board, Memory
from utvm.deploy.firmware import FirmwareError
from utvm.toolchain import Segment, load_segments


@dataclass(frozen=True, slots=True, kw_only=True)
class Flashed:
    """What was programmed: bytes at addresses, read back and found equal."""

    board: str
    segments: tuple[Segment, ...]

    @property
    def nbytes(self) -> int:
        """Bytes in all."""
        return sum(len(segment.data) for segment in self.segments)


def flash(program: Path, board: str | Path | Board) -> Flashed:
    """Write a firmware into a board's memories through its debug link, read it back, and start it.

    On an emulated board the emulator ends afterwards, and the firmware with it.

    Raises:
        FirmwareError: the file is no program, does not lie in the board's memories, or needs flash that this link can't
            program.
        DeviceError: the link failed, or what was read back differs.
    """
    target = api.as_board(board)
    try:
        segments = load_segments(program)
    except (OSError, ELFError) as error:
        raise FirmwareError(f"{program} can't be read as an ELF file: {error}") from error
    for segment in segments:
        memory = _memory(target, segment)
        if memory.kind == "flash" and target.emulator is None:
            raise FirmwareError(
                f"memory '{memory.name}' of board '{target.name}' is flash, which is not written through this link: "
                f"program {program.name} with the tool of the probe (OpenOCD: `program {program} verify reset`)"
            )
    with api.connect(target) as session:
        session.program([(segment.address, segment.data) for segment in segments])
    return Flashed(board=target.name, segments=segments)


def _memory(board: Board, segment: Segment) -> Memory:
    for memory in board.memories:
        if memory.holds(segment.address) and memory.holds(segment.end - 1):
            return memory
    raise FirmwareError(
        f"the firmware has {len(segment.data):,} bytes at 0x{segment.address:08x}, "
        f"where board '{board.name}' has no memory"
    )
