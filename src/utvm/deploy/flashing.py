"""Programming a firmware through the debug link, and starting it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from utvm import api
from utvm.arguments import checked_arguments
from utvm.boards import Board, LinkKind, Memory
from utvm.deploy.firmware import FirmwareError
from utvm.deploy.program import LinkedProgram, read_program
from utvm.device import DeviceError
from utvm.toolchain import Segment


@dataclass(frozen=True, slots=True, kw_only=True)
class Programming:
    """What is to be programmed: bytes at addresses, each range in one memory."""

    board: Board
    segments: tuple[Segment, ...]
    memories: tuple[Memory, ...]

    @property
    def nbytes(self) -> int:
        """Bytes in all."""
        return sum(len(segment.data) for segment in self.segments)

    @property
    def described(self) -> tuple[str, ...]:
        """The ranges, for people."""
        return tuple(
            f"0x{segment.address:08x} to 0x{segment.end - 1:08x} of {memory.name} ({len(segment.data):,} B)"
            for segment, memory in zip(self.segments, self.memories, strict=True)
        )


def plan_flash(program: Path, board: str | Path | Board, *, link: LinkKind | None = None) -> Programming:
    """Return what `flash` would write, without touching the board.

    Raises:
        FirmwareError: the file is no program, is not for this board or core, or does not lie in the board's memories;
            the link can't program flash.
    """
    target = api.as_board(board) if link is None else api.as_board(board).linked_by(link)
    read = read_program(program)
    if not read.runs_on(target.core):
        raise FirmwareError(
            f"{program} has code that the {target.core.name} of board '{target.name}' can't execute: export for that "
            "board"
        )
    if read.board not in (None, target.name):
        raise FirmwareError(f"{program} is the firmware of board '{read.board}', not of '{target.name}'")
    memories = [_memory(target, segment) for segment in read.segments]
    if target.emulator is None and target.link.kind == "gdb":
        raise FirmwareError(
            f"the GDB link of board '{target.name}' can't program flash: use one of OpenOCD or pyOCD (--link) "
            "that its file describes"
        )
    if target.emulator is None:
        return _in_flash(target, read, memories)
    return Programming(board=target, segments=read.segments, memories=tuple(memories))


@checked_arguments
def flash(program: str | Path, board: str | Path | Board, *, link: LinkKind | None = None) -> Programming:
    """Program a firmware into a board's memories through its debug link, read it back, and start it.

    Flash is erased by whole sectors: what else they hold is lost. On an emulated board the emulator ends afterwards,
    and the firmware with it.

    Args:
        program: an .elf that `utvm export --firmware` made.
        board: a board's name, the path of its TOML, or the board.
        link: which of the board's debug links to use; None is as its file says.

    Raises:
        FirmwareError: see `plan_flash`.
        DeviceError: the link failed, or what was read back differs.

    Example:
        utvm.flash(Path("firmware.elf"), "nucleo-f746zg")
    """
    program = Path(program)
    plan = plan_flash(program, board, link=link)
    with api.connect(plan.board) as session:
        try:
            session.program([(segment.address, segment.data) for segment in plan.segments])
        except DeviceError as error:
            raise DeviceError(
                f"{error}; {program.name} may be in board '{plan.board.name}' in part: run `utvm flash` again"
            ) from error
    return plan


def _in_flash(board: Board, program: LinkedProgram, memories: Sequence[Memory]) -> Programming:
    """Return one range for each flash: sectors are erased under a range, which must not hit another one."""
    joined: dict[str, tuple[Segment, Memory]] = {}
    for segment, memory in zip(program.segments, memories, strict=True):
        if memory.kind != "flash":
            raise FirmwareError(
                f"{program.path} has {len(segment.data):,} bytes at 0x{segment.address:08x}, in the {memory.name} of "
                f"board '{board.name}': a firmware must lie in flash, RAM is lost at the next power-up"
            )
        if memory.name in joined:
            before, _ = joined[memory.name]
            gap = b"\xff" * (segment.address - before.end)
            segment = Segment(address=before.address, data=before.data + gap + segment.data)
        joined[memory.name] = (segment, memory)
    segments, places = zip(*joined.values(), strict=True)
    return Programming(board=board, segments=segments, memories=places)


def _memory(board: Board, segment: Segment) -> Memory:
    for memory in board.memories:
        if memory.holds(segment.address) and memory.holds(segment.end - 1):
            return memory
    raise FirmwareError(
        f"the firmware has {len(segment.data):,} bytes at 0x{segment.address:08x}, "
        f"where board '{board.name}' has no memory"
    )
