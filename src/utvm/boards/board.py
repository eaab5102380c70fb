"""A board: core, clock, memories, and how it is reached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from utvm.cores import Core
from utvm.errors import UtvmError

MemoryKind = Literal["ram", "flash"]


class BoardError(UtvmError):
    """A board that is not described, or whose description is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """A range of addresses. Bytes."""

    name: str
    kind: MemoryKind
    origin: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulator:
    """A program that stands in for the board."""

    kind: str
    binary: str
    machine: str
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Board:
    """A board as its TOML describes it.

    `code`, `constants` and `data` name the memories that an image uses; all are loaded through the debug link.
    `cycle_counter` is how cycles are read, None where nothing on the board can be trusted for it.
    """

    name: str
    description: str
    core: Core
    clock_hz: int
    memories: tuple[Memory, ...]
    code: Memory
    constants: Memory
    data: Memory
    stack_bytes: int
    link: str
    emulator: Emulator | None
    cycle_counter: str | None

    @property
    def reached_by(self) -> str:
        """How the board is reached, for people."""
        if self.emulator is not None:
            return f"{self.link} of {self.emulator.binary} -M {self.emulator.machine}"
        return self.link
