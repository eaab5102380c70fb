"""A board: core, clock, memories, and how it is reached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from utvm.cores import Core
from utvm.errors import UtvmError

MemoryKind = Literal["ram", "flash"]
LinkKind = Literal["gdb", "openocd", "pyocd"]
CycleCounter = Literal["dwt", "mcycle"]
LINK_NAMES: Mapping[LinkKind, str] = {"gdb": "GDB remote", "openocd": "OpenOCD", "pyocd": "pyOCD"}


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


@dataclass(frozen=True, slots=True, kw_only=True)
class GdbSettings:
    """A GDB server that is there: `endpoint` is host:port or the path of a Unix socket."""

    endpoint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenOcdSettings:
    """How OpenOCD reaches the board.

    Attributes:
        config: files for `-f` in order: of OpenOCD's own scripts, or absolute paths. Those of an emulator that µTVM
            starts find the port of its remote_bitbang server in `$UTVM_PORT`.
        commands: Tcl commands after them, before `init`.
        probe: the serial number of the probe, None if there is only one.
        endpoint: host:port of the Tcl server of an OpenOCD that runs already; µTVM starts its own if None.
    """

    config: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    probe: str | None = None
    endpoint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PyOcdSettings:
    """How pyOCD reaches the board: `target` is its name for the part, `probe` the probe's serial number."""

    target: str
    probe: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """The debug links of a board; `kind` is the one in use. A GDB server of an emulator needs no settings."""

    kind: LinkKind
    gdb: GdbSettings | None = None
    openocd: OpenOcdSettings | None = None
    pyocd: PyOcdSettings | None = None

    @property
    def described(self) -> tuple[LinkKind, ...]:
        """The kinds that can be used, that in use first."""
        others: tuple[tuple[LinkKind, object], ...] = (
            ("gdb", self.gdb),
            ("openocd", self.openocd),
            ("pyocd", self.pyocd),
        )
        return (self.kind, *(kind for kind, settings in others if settings is not None and kind != self.kind))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Board:
    """A board as its TOML describes it.

    `code`, `constants` and `data` name the memories that an image uses; all are loaded through the debug link.
    `cycle_counter` is what counts cycles on the board, None where nothing on it can be trusted for that: "dwt" is
    DWT_CYCCNT of Arm cores, "mcycle" the counter of RISC-V cores.
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
    link: Link
    emulator: Emulator | None
    cycle_counter: CycleCounter | None

    @property
    def reached_by(self) -> str:
        """How the board is reached, for people."""
        name = " or ".join(LINK_NAMES[kind] for kind in self.link.described)
        if self.emulator is not None:
            return f"{name} of {self.emulator.binary} -M {self.emulator.machine}"
        return name

    def linked_by(self, kind: LinkKind) -> Board:
        """Return this board with another of its debug links in use.

        Raises:
            BoardError: it does not describe that link.
        """
        if kind not in self.link.described:
            known = ", ".join(self.link.described)
            raise BoardError(f"board '{self.name}' has no [link.{kind}]; it describes: {known}")
        return replace(self, link=replace(self.link, kind=kind))
