"""A board: core, clock, memories, and how it is reached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from utvm.boards.memory import Memory, MemoryModel, Placement
from utvm.boards.startup import CacheKind, RegisterOperation
from utvm.cores import Core
from utvm.cores.instructions import DotProduct, instructions_of
from utvm.errors import UtvmError

LinkKind = Literal["gdb", "openocd", "pyocd"]
CycleCounter = Literal["dwt", "systick", "mcycle"]
Silicon = Literal["never run", "run"]
BootRom = Literal["rp2040", "rp2350"]
LINK_NAMES: Mapping[LinkKind, str] = {"gdb": "GDB remote", "openocd": "OpenOCD", "pyocd": "pyOCD"}


ConsoleKind = Literal["cmsdk", "ns16550", "nrf_uart", "nrf_uarte", "pl011", "stm32_usart", "stm32_lpuart", "file"]


class BoardError(UtvmError):
    """A board that is not described, or whose description is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    """The UART on which a firmware answers: what it is, and the address of its registers.

    `clock_hz` is what the UART divides for its rate after start-up. `setup` is done to registers before it is opened:
    clocks of the UART and its pins, and which pins are its. Of the kind "file", `file` is C of the user's own.
    """

    kind: ConsoleKind
    base: int
    baud: int
    clock_hz: int
    setup: tuple[RegisterOperation, ...] = ()
    file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulator:
    """A program that stands in for the board: QEMU (`binary`) as a machine, or the RTL of a core (`machine`)."""

    kind: Literal["qemu", "rtl"]
    machine: str
    binary: str = ""
    arguments: tuple[str, ...] = ()

    @property
    def described(self) -> str:
        """What it is, for people."""
        return f"the RTL of {self.machine}" if self.kind == "rtl" else f"{self.binary} -M {self.machine}"


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
class LinkSettings:
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

    Attributes:
        placements: where images go, tried in this order; the first is RAM alone.
        clock: what start-up code does to the part's registers, in order: oscillators, flash, bus, clock.
        caches: the core's own caches that start-up code enables. The data cache stays off where the data of an image
            is behind it, since a debug probe may not see what it holds.
        cycle_counter: what counts cycles on the board, None where nothing on it can be trusted for that: "dwt" is
            DWT_CYCCNT of Arm cores, "systick" the timer of Armv6-M, "mcycle" the counter of RISC-V cores.
        memory_model: what estimates and modelled cycles know of the caches; None is zero-wait memory.
        silicon: whether µTVM has run on such a board; None for an emulator.
        unverified: what nobody has checked on silicon.
        firmware: where programs that boot by themselves go, tried in this order; empty if nothing is said of it.
        console: the UART on which such a program answers, None if nothing is said of it.
        boot_rom: the part whose boot ROM looks for something of its own in flash, None where vectors are enough.
        sources: documents and sections that the description was made from.
        part: the microcontroller whose description it builds on, None if it stands alone.
        untrusted: the file that says so, where nobody has trusted it yet; None for boards of µTVM and of the user.

    Example:
        board = utvm.boards.load_board("nucleo-f746zg")
        print(board.core.name, board.clock_hz)
    """

    name: str
    description: str
    core: Core
    clock_hz: int
    memories: tuple[Memory, ...]
    placements: tuple[Placement, ...]
    stack_bytes: int
    link: LinkSettings
    emulator: Emulator | None
    cycle_counter: CycleCounter | None
    clock: tuple[RegisterOperation, ...] = ()
    caches: tuple[CacheKind, ...] = ()
    memory_model: MemoryModel | None = None
    silicon: Silicon | None = None
    unverified: tuple[str, ...] = ()
    firmware: tuple[Placement, ...] = ()
    console: Console | None = None
    boot_rom: BootRom | None = None
    sources: tuple[str, ...] = ()
    part: str | None = None
    untrusted: Path | None = None

    @property
    def code(self) -> Memory:
        """The memory that code goes to first."""
        return self.placements[0].code

    @property
    def constants(self) -> Memory:
        """The memory that constants go to first."""
        return self.placements[0].constants

    @property
    def data(self) -> Memory:
        """The memory that variables and the stack go to first."""
        return self.placements[0].data

    def __repr__(self) -> str:
        """One line."""
        return f"Board({self.name!r}, {self.core.name} at {self.clock_hz / 1e6:g} MHz, {self.kind})"

    @property
    def instructions(self) -> Mapping[str, DotProduct]:
        """What adds products on its core, by name: for `Schedule.replace`."""
        return {each.name: each for each in instructions_of(self.core)}

    @property
    def kind(self) -> Literal["emulated", "physical"]:
        """Whether a program stands in for the board."""
        return "physical" if self.emulator is None else "emulated"

    @property
    def reached_by(self) -> str:
        """How the board is reached, for people."""
        name = " or ".join(LINK_NAMES[kind] for kind in self.link.described)
        if self.emulator is not None:
            return f"{name} of {self.emulator.described}"
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
