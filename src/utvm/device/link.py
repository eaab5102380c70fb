"""The debug link: what every probe, server and emulator offers. Nothing here knows of models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from utvm.errors import UtvmError
from utvm.toolchain import Image


class DeviceError(UtvmError):
    """A board did not do what it was asked to."""


class LinkError(DeviceError):
    """The debug link failed, not the program on the board: what was tried may work when it is tried again."""


class LinkLostError(LinkError):
    """The debug link, or what is behind it, went away."""


class LinkTimeoutError(LinkError):
    """The debug link did not answer within its deadline."""


class LinkRefusedError(LinkError):
    """The debug link answered with an error, such as an address that can't be read."""


class LinkGarbledError(LinkError):
    """The debug link changes data on its way."""


ADDRESS_SPACE = 1 << 32


def check_range(address: int, length: int) -> None:
    """Refuse addresses that no 32-bit core has.

    Raises:
        LinkRefusedError: part of the range is beyond 4 GB.
    """
    if address < 0 or address + length > ADDRESS_SPACE:
        raise LinkRefusedError(f"{length} bytes at 0x{address:08x} are not in a space of 32-bit addresses")


class DebugLink(Protocol):
    """A halted or running core behind a debug connection. Every operation has a deadline.

    The core is halted when a link is opened. Memory and registers can be reached only while it is.

    Raises (all operations):
        LinkLostError, LinkTimeoutError, LinkRefusedError.
    """

    def halt(self) -> None:
        """Stop the core if it runs."""

    def resume(self) -> None:
        """Let the core run; `wait` tells when it has stopped."""

    def wait(self, timeout: float) -> bool:
        """Return True when the core has stopped, False if it still runs after `timeout` seconds."""

    def reset(self) -> None:
        """Reset the core and leave it halted. RAM may keep its contents."""

    def read_memory(self, address: int, length: int) -> bytes:
        """Return `length` bytes."""

    def write_memory(self, address: int, data: bytes) -> None:
        """Write bytes."""

    def read_registers(self, names: Sequence[str]) -> tuple[int, ...]:
        """Return core registers, by the names of `utvm.cores.CallingConvention`."""

    def write_registers(self, values: Mapping[str, int]) -> None:
        """Set core registers."""

    def read_register(self, name: str) -> int:
        """Return one core register."""
        return self.read_registers((name,))[0]

    def write_register(self, name: str, value: int) -> None:
        """Set one core register."""
        self.write_registers({name: value})

    def set_breakpoint(self, address: int) -> None:
        """Stop the core before it executes the instruction at `address`."""

    def clear_breakpoint(self, address: int) -> None:
        """Undo `set_breakpoint`."""

    def close(self) -> None:
        """Give the link back, the core halted where the server allows it. Never fails."""


@runtime_checkable
class FlashProgrammer(DebugLink, Protocol):
    """A debug link that can program the part's flash besides."""

    def program_flash(self, address: int, data: bytes) -> None:
        """Erase the sectors under a range and program it; the core is halted.

        RAM and the core's registers may hold anything afterwards. What else these sectors held may be lost.

        Raises:
            LinkLostError, LinkTimeoutError: the link failed.
            LinkRefusedError: there is no flash, or it could not be erased or programmed.
        """

    def leave(self) -> None:
        """Reset the core and let it run by itself, also after the link is closed, which is all that may follow.

        Raises:
            LinkLostError, LinkTimeoutError, LinkRefusedError: the link failed.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """What a target counted; None is not known. `cycles_source` says who counted or modelled the cycles."""

    instructions: int | None = None
    cycles: int | None = None
    cycles_source: str | None = None


class Target(Protocol):
    """What stands behind a link: an emulator that we start, or a board or server that is there."""

    def start(self) -> str:
        """Make the target reachable (start it, or start it anew if it died) and return where the link finds it.

        That is the path of a Unix socket or host:port: of a GDB server, of the Tcl server of an OpenOCD that runs, of
        the remote_bitbang server of a simulator that an OpenOCD of ours shall drive. It is empty where the link finds
        the target by itself, as a probe on USB.
        """

    def describe_death(self) -> str | None:
        """Return why the target is gone, or None if it lives."""

    def begin_count(self, image: Image, link: DebugLink) -> None:
        """Count from here on, if this target counts, while code of `image` runs; the core is halted."""

    def count(self, image: Image, link: DebugLink) -> Count:
        """Return what was counted since `begin_count`; the core is halted."""

    def stop(self) -> None:
        """End what `start` began. Never fails."""


@runtime_checkable
class WrappingTarget(Target, Protocol):
    """A target with ways of its own, on top of the link that reaches it."""

    def wrap(self, link: DebugLink) -> DebugLink:
        """Return the link that a session shall use, made from one that was just opened."""
