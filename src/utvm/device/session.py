"""A board in use: load an image into RAM, call its functions, read and write its memory, survive what goes wrong."""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from utvm.boards import Board
from utvm.device.abi import CONVENTIONS
from utvm.device.faults import read_arm_fault, read_riscv_fault
from utvm.device.firmware import CHECKSUM_SYMBOL, RETURN_SYMBOL, START_SYMBOL, TRAP_SYMBOL
from utvm.device.link import Count, DebugLink, DeviceError, FlashProgrammer, LinkLostError, LinkTimeoutError, Target
from utvm.device.startup import startup_failure
from utvm.toolchain import STACK_LIMIT_SYMBOL, STACK_SYMBOL, Image, Section

DEFAULT_TIMEOUT = 60.0
_CANARY = bytes.fromhex("a55ac33c")
_CANARY_BYTES = 256
_CHECKSUM_WORTH = 16 * 1024
_VECTORS_AT_RESET = 0
_VECTOR_COUNT = 16


class CallTimeoutError(DeviceError):
    """A call did not return in time."""


class StackOverflowError(DeviceError):
    """A call used more stack than there is."""


class VerificationError(DeviceError):
    """What was loaded is not what the target holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What a call returned and cost. `cycles` says where it comes from, or is None: it is never guessed."""

    value: int
    instructions: int | None
    cycles: int | None
    cycles_source: str | None
    seconds: float


class Session:
    """A board in use; close it, or use it in a `with` statement.

    After a fault, a time-out, a stack overflow or a lost link, the failed call raises and the session repairs itself:
    the board is reset (an emulator that died is started again) and the image is loaded anew, so that the next call
    works. What the program or the user wrote into RAM before is lost then.

    Args:
        board: the board.
        target: what stands behind the link.
        open_link: makes a link from the target's endpoint.
    """

    def __init__(self, board: Board, target: Target, open_link: Callable[[str], DebugLink]) -> None:
        self.board = board
        self._target = target
        self._open_link = open_link
        self._convention = CONVENTIONS[board.core.isa]
        self._image: Image | None = None
        self._link: DebugLink | None = None
        self._breakpoints: set[int] = set()
        self._connect()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the session; never fails, and may be called twice."""
        if self._link is not None:
            self._link.close()
            self._link = None
        self._target.stop()

    @property
    def image(self) -> Image:
        """The loaded image.

        Raises:
            DeviceError: none is loaded.
        """
        if self._image is None:
            raise DeviceError("no image is loaded: call load() first")
        return self._image

    def load(self, image: Image) -> None:
        """Write an image into RAM, run its start-up, and verify it.

        Constants that its board's file puts into flash are programmed unless flash holds them already.

        Raises:
            VerificationError: the target holds something else.
            DeviceError: the link failed.
        """
        self._image = image
        with self._recovering():
            self._place()

    def call(self, function: str | int, *arguments: int, timeout: float | None = None) -> Measurement:
        """Call a function with integer or pointer arguments and wait until it returns.

        Args:
            function: a symbol, or an address.
            arguments: 32-bit values; those beyond the registers go on the stack.
            timeout: seconds; 60 if None.

        Raises:
            TargetFaultError: the target raised a fault; the message decodes it.
            CallTimeoutError: it did not return in time.
            StackOverflowError: it overran the stack.
            LinkLostError: the link, or the emulator, went away.
        """
        name = function if isinstance(function, str) else f"0x{function:08x}"
        address = self.image.symbol(function).address if isinstance(function, str) else function
        with self._recovering():
            return self._call(name, address, arguments, DEFAULT_TIMEOUT if timeout is None else timeout, measured=True)

    def read(self, where: str | int, length: int, *, offset: int = 0) -> bytes:
        """Return `length` bytes at a symbol or an address."""
        with self._recovering():
            return self._live.read_memory(self._address(where) + offset, length)

    def write(self, where: str | int, data: bytes, *, offset: int = 0) -> None:
        """Write bytes at a symbol or an address."""
        with self._recovering():
            self._live.write_memory(self._address(where) + offset, data)

    def stack_used(self) -> int:
        """Return the most bytes of stack in use by any call since the image was loaded."""
        limit, top = self._stack
        with self._recovering():
            held = self._live.read_memory(limit, top - limit)
        untouched = 0
        while held[untouched : untouched + 4] == _CANARY:
            untouched += 4
        return len(held) - untouched

    @property
    def _live(self) -> DebugLink:
        if self._link is None:
            raise DeviceError("the session is closed")
        return self._link

    @property
    def _stack(self) -> tuple[int, int]:
        return self.image.symbol(STACK_LIMIT_SYMBOL).address, self.image.symbol(STACK_SYMBOL).address

    def _address(self, where: str | int) -> int:
        return self.image.symbol(where).address if isinstance(where, str) else where

    def _connect(self) -> None:
        try:
            self._link = self._open_link(self._target.start())
            self._breakpoints = set()
        except BaseException:
            self._target.stop()
            raise

    @contextmanager
    def _recovering(self) -> Iterator[None]:
        """Repair the session if what is inside fails, then let the error go on."""
        try:
            yield
        except LinkLostError as error:
            death = self._target.describe_death()
            self._repair(relaunch=True)
            raise LinkLostError(f"{death or error}; the board was started again and the image reloaded") from error
        except LinkTimeoutError:
            self._repair(relaunch=True)
            raise
        except (DeviceError, KeyboardInterrupt):
            self._repair(relaunch=False)
            raise

    def _repair(self, *, relaunch: bool) -> None:
        """Bring the board back to the state after `load`; a board that can't be repaired leaves the session closed."""
        try:
            if not relaunch:
                try:
                    self._live.reset()
                    self._replace_image()
                except DeviceError:
                    relaunch = True
            if relaunch:
                if self._link is not None:
                    self._link.close()
                self._connect()
                self._replace_image()
        except DeviceError:
            self.close()

    def _replace_image(self) -> None:
        if self._image is not None:
            self._place()

    def _place(self) -> None:
        """Load and start the image, verify all of it, and program what flash does not hold yet."""
        self._load_ram()
        in_flash = [(section, data) for section, data in self._constants() if self._is_flash(section)]
        stale = [(section, data) for section, data in in_flash if not self._holds(section, data)]
        if stale:
            self._program(stale)
            self._load_ram()  # programming may have used RAM
        for section, data in self._constants():
            if (section, data) not in in_flash or stale:
                self._verify(section, data)
        limit, top = self._stack
        self._live.write_memory(limit, _CANARY * ((top - limit) // 4))

    def _load_ram(self) -> None:
        """Write all sections that go to RAM, paint the stack, and run the start-up."""
        link, image = self._live, self.image
        link.halt()
        if self.board.clock or self.board.caches:
            # Clock and caches start from the state that their set-up knows: off. A cache would hide what is written.
            link.reset()
        for section in image.sections:
            if section.data is not None and not self._is_flash(section):
                link.write_memory(section.address, section.data)
            elif section.data is None and section.name != ".stack":
                link.write_memory(section.address, bytes(section.size))
        limit, top = self._stack
        link.write_memory(limit, _CANARY * ((top - limit) // 4))
        trap = image.symbol(TRAP_SYMBOL).address
        if self.board.core.isa == "arm" and not self.board.core.vector_table_register:
            self._write_vectors(top, trap)
        self._set_breakpoints({image.symbol(symbol).address for symbol in (RETURN_SYMBOL, TRAP_SYMBOL)})
        status = self._call(START_SYMBOL, image.symbol(START_SYMBOL).address, (), DEFAULT_TIMEOUT).value
        if status:
            raise startup_failure(self.board, status)

    def _constants(self) -> Iterator[tuple[Section, bytes]]:
        """Return what a running program leaves as it was loaded."""
        for section in self.image.sections:
            if section.data is not None and section.name not in (".data", ".bss"):
                yield section, section.data

    def _is_flash(self, section: Section) -> bool:
        return any(memory.kind == "flash" and memory.holds(section.address) for memory in self.board.memories)

    def _program(self, sections: Sequence[tuple[Section, bytes]]) -> None:
        link = self._live
        if not isinstance(link, FlashProgrammer):
            total = sum(len(data) for _, data in sections)
            raise DeviceError(
                f"{total:,} bytes of constants do not fit the RAM of board '{self.board.name}', and its "
                f"{self.board.link.kind} link can't program flash: use a link of OpenOCD or pyOCD (--link)"
            )
        # A flash algorithm runs in RAM: no cache may hold what was there.
        link.reset()
        for section, data in sections:
            link.program_flash(section.address, data)

    def _set_breakpoints(self, wanted: set[int]) -> None:
        for address in self._breakpoints - wanted:
            self._live.clear_breakpoint(address)
        for address in wanted - self._breakpoints:
            self._live.set_breakpoint(address)
        self._breakpoints = wanted

    def _write_vectors(self, top: int, trap: int) -> None:
        """Without a vector table register, exceptions look at address 0: flash that an emulator lets us write.

        On silicon the core's vector catch (DEMCR.VC_HARDERR) stops at a fault instead.
        """
        words = [top, *[self._convention.code_address(trap)] * (_VECTOR_COUNT - 1)]
        self._live.write_memory(_VECTORS_AT_RESET, struct.pack(f"<{_VECTOR_COUNT}I", *words))

    def _holds(self, section: Section, data: bytes) -> bool:
        """Compare by a checksum that the target computes where that is less work than reading back."""
        if len(data) >= _CHECKSUM_WORTH:
            address = self.image.symbol(CHECKSUM_SYMBOL).address
            held = self._call(CHECKSUM_SYMBOL, address, (section.address, len(data)), DEFAULT_TIMEOUT).value
            return held == zlib.crc32(data)
        return self._live.read_memory(section.address, len(data)) == data

    def _verify(self, section: Section, data: bytes) -> None:
        if not self._holds(section, data):
            kind = "flash" if self._is_flash(section) else "RAM"
            raise VerificationError(
                f"section {section.name} at 0x{section.address:08x} ({len(data):,} bytes) does not hold what was "
                f"written: is there {kind} on board '{self.board.name}'?"
            )

    def _call(
        self, name: str, address: int, arguments: tuple[int, ...], timeout: float, *, measured: bool = False
    ) -> Measurement:
        link, convention = self._live, self._convention
        stop_at = self.image.symbol(RETURN_SYMBOL).address
        self._pass_arguments(arguments)
        for register, value in convention.state.items():
            link.write_register(register, value)
        link.write_register(convention.link_register, convention.code_address(stop_at))
        link.write_register(convention.program_counter, address)
        self._target.begin_count(self.image, link)
        started = time.perf_counter()
        link.resume()
        if not link.wait(timeout):
            link.halt()
            raise self._timed_out(name, timeout)
        seconds = time.perf_counter() - started
        pc = link.read_register(convention.program_counter) & ~1
        self._check_stack(name)
        if pc != stop_at:
            raise self._stopped_elsewhere(name, pc)
        count = self._target.count(self.image, link) if measured else Count()
        return Measurement(
            value=link.read_register(convention.result),
            instructions=count.instructions,
            cycles=count.cycles,
            cycles_source=count.cycles_source,
            seconds=seconds,
        )

    def _pass_arguments(self, arguments: tuple[int, ...]) -> None:
        link, convention = self._live, self._convention
        _, top = self._stack
        places = convention.arguments
        extra = [value & 0xFFFFFFFF for value in arguments[len(places) :]]
        pointer = top - (4 * len(extra) + 15) // 16 * 16
        if extra:
            link.write_memory(pointer, struct.pack(f"<{len(extra)}I", *extra))
        link.write_register(convention.stack_pointer, pointer)
        for register, value in zip(places, arguments, strict=False):
            link.write_register(register, value & 0xFFFFFFFF)

    def _check_stack(self, name: str) -> None:
        limit, top = self._stack
        room = min(_CANARY_BYTES, (top - limit) // 4)
        held = self._live.read_memory(limit, room)
        pointer = self._live.read_register(self._convention.stack_pointer)
        if held != _CANARY * (room // 4) or not limit <= pointer <= top:
            raise StackOverflowError(
                f"{name} overran the stack of {top - limit:,} bytes on board '{self.board.name}': give it more with "
                "stack_bytes in the board's TOML; the board was reset and the image reloaded"
            )

    def _timed_out(self, name: str, timeout: float) -> CallTimeoutError:
        pc = self._live.read_register(self._convention.program_counter)
        where = self.image.locate(pc)
        inside = "" if where is None else f" in {where}"
        return CallTimeoutError(
            f"{name} did not return within {timeout:g} s; it was at pc 0x{pc:08x}{inside}; "
            "the board was reset and the image reloaded"
        )

    def _stopped_elsewhere(self, name: str, pc: int) -> DeviceError:
        if pc != self.image.symbol(TRAP_SYMBOL).address:
            where = self.image.locate(pc)
            inside = "" if where is None else f" in {where}"
            return DeviceError(f"{name} stopped at 0x{pc:08x}{inside} and did not return: is there a breakpoint?")
        core = self.board.core
        if core.isa == "riscv":
            fault = read_riscv_fault(self._live)
        else:
            fault = read_arm_fault(self._live, has_status=core.fault_status)
        return fault.error(name, self.image)
