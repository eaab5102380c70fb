"""A board of the user's own: from a few facts to a TOML file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from utvm.boards.board import Board, BoardError
from utvm.boards.find import list_boards, user_directory
from utvm.boards.load import list_parts, parse_board
from utvm.cores import CORES

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRange:
    """A range of addresses. Bytes."""

    origin: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardDraft:
    """What a user knows of a board.

    Attributes:
        part: the name of a part that is described; core, clock, RAM and flash are left out then.
        core: the name of a core.
        clock_hz: what the core runs at after a reset.
        ram: ranges of RAM that µTVM may use.
        flash: ranges of flash that µTVM may erase and program with the constants of models that RAM does not hold.
        openocd: OpenOCD's files, in order.
        pyocd: pyOCD's name for the part.
        gdb: host:port of a GDB server.
    """

    name: str
    description: str
    part: str | None = None
    core: str | None = None
    clock_hz: int | None = None
    ram: tuple[MemoryRange, ...] = ()
    flash: tuple[MemoryRange, ...] = ()
    openocd: tuple[str, ...] = ()
    pyocd: str | None = None
    gdb: str | None = None

    def missing(self) -> tuple[str, ...]:
        """Return what must be known besides, in words."""
        needed = []
        if self.part is None:
            needed += [
                what
                for what, value in (
                    (f"a part ({', '.join(list_parts())}) or a core ({', '.join(CORES)})", self.core),
                    ("the ranges of RAM", self.ram),
                    ("the clock", self.clock_hz),
                )
                if not value
            ]
        if not (self.openocd or self.pyocd or self.gdb):
            needed.append("a debug link: OpenOCD's files, pyOCD's target, or a GDB server")
        return tuple(needed)

    def toml(self) -> str:
        """Return the file."""
        return "\n".join(self._lines()) + "\n"

    def board(self) -> Board:
        """Return the board that the file describes.

        Raises:
            BoardError: something is missing, or wrong; all of it is told.
        """
        if not _NAME.fullmatch(self.name):
            raise BoardError(f"'{self.name}' can't name a board: write small letters, digits, '-', '_' and '.'")
        if self.name in {board.name for board in list_boards()}:
            raise BoardError(f"'{self.name}' is a board that comes with µTVM: choose another name")
        missing = self.missing()
        if missing:
            raise BoardError("\n  - ".join([f"to describe board '{self.name}' more is needed:", *missing]))
        return parse_board(self.name, self.toml(), folder=user_directory())

    def _lines(self) -> Iterator[str]:
        yield "# Written by `utvm boards add`; every key is explained in docs/boards.md."
        yield f"description = {_text(self.description)}"
        if self.part is not None:
            yield f'part = "{self.part}"'
        if self.core is not None:
            yield f'core = "{self.core}"'
        if self.clock_hz is not None:
            yield f"clock_hz = {self.clock_hz}"
        if self.part is None:
            if (counter := self._counter()) is not None:
                yield f'cycle_counter = "{counter}"'
            yield 'silicon = "never run"'
        yield from self._links()
        yield from self._memories()

    def _counter(self) -> str | None:
        core = CORES.get(self.core or "")
        if core is None or core.isa.cycle_counter is None:
            return None
        return "systick" if core.architecture == "armv6-m" else core.isa.cycle_counter

    def _links(self) -> Iterator[str]:
        kind = "openocd" if self.openocd else "pyocd" if self.pyocd else "gdb"
        yield from ("", "[link]", f'kind = "{kind}"')
        if self.openocd:
            yield from ("", "[link.openocd]", f"config = [{', '.join(map(_text, self.openocd))}]")
        if self.pyocd:
            yield from ("", "[link.pyocd]", f"target = {_text(self.pyocd)}")
        if self.gdb:
            yield from ("", "[link.gdb]", f"endpoint = {_text(self.gdb)}")

    def _memories(self) -> Iterator[str]:
        """Code and constants go to the largest RAM, data to the next, constants to flash where RAM is too small."""
        if not self.ram:
            return
        by_size = sorted(range(len(self.ram)), key=lambda position: -self.ram[position].length)
        code, data = f"ram{by_size[0]}", f"ram{by_size[min(1, len(by_size) - 1)]}"
        header = "[[image]]" if self.flash else "[image]"
        yield from ("", header, f'code = "{code}"', f'constants = "{code}"', f'data = "{data}"')
        if self.flash:
            yield from ("", "[[image]]", f'code = "{code}"', 'constants = "flash0"', f'data = "{data}"')
        for kind, ranges in (("ram", self.ram), ("flash", self.flash)):
            for position, place in enumerate(ranges):
                yield from ("", "[[memory]]", f'name = "{kind}{position}"', f'kind = "{kind}"')
                yield from (f"origin = 0x{place.origin:08x}", f"length = 0x{place.length:x}")


def save_draft(draft: BoardDraft) -> tuple[Board, Path]:
    """Write a draft into the user's directory and return the board and its file.

    Raises:
        BoardError: the draft is incomplete or wrong, there is such a file already, or it can't be written.
    """
    board = draft.board()
    path = user_directory() / f"{draft.name}.toml"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(draft.toml())
    except FileExistsError as error:
        raise BoardError(f"{path} is there already: edit it, or delete it first") from error
    except OSError as error:
        raise BoardError(f"{path} can't be written: {error.strerror}") from error
    return board, path


def _text(value: str) -> str:
    """Return a TOML string; what UTF-8 can't say becomes `?`."""
    return json.dumps(value.encode(errors="replace").decode(), ensure_ascii=False).replace("\x7f", "\\u007f")
