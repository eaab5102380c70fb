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
from utvm.device.calls import Calls, FrameCalls, RegisterCalls
from utvm.device.contents import Piece, constant, initial, zeroed
from utvm.device.faults import read_arm_fault, read_riscv_fault
from utvm.device.firmware import CHECKSUM_SYMBOL, FILL_SYMBOL, RETURN_SYMBOL, START_SYMBOL, TRAP_SYMBOL, is_wired
from utvm.device.holdings import Holdings
from utvm.device.link import (
    Count,
    DebugLink,
    DeviceError,
    FlashProgrammer,
    LinkGarbledError,
    LinkLostError,
    LinkRefusedError,
    LinkTimeoutError,
    Target,
)
from utvm.device.stack import Guard, WatchedStack
from utvm.device.startup import startup_failure
from utvm.device.verified_link import VerifiedLink
from utvm.toolchain import Image

DEFAULT_TIMEOUT = 60.0
_CHECKSUM_WORTH = 1024
_TRAPS_SECTION = ".traps"
_PLACING_SECONDS = 20.0
_REPAIR_PAUSES = (0.0, 0.2, 1.0)
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
    works. What the program or the user wrote into RAM before is lost then. A board that can't be brought back at once
    is tried again at the next call.

    What goes over wires is verified: memory is read twice and read back, code and constants are compared, arguments
    and results go through memory. An emulator's link is taken at its word.

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
        self._wired = is_wired(board)
        self._calls: Calls = FrameCalls(self._convention) if self._wired else RegisterCalls(self._convention)
        self._closed = False
        self._image: Image | None = None
        self._link: DebugLink | None = None
        self._breakpoints: set[int] = set()
        self._holdings = Holdings()
        self._connect()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the session; never fails, and may be called twice."""
        self._closed = True
        self._disconnect()

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
        """Write an image into RAM, run its start-up, and verify it. Of a second image, only what differs is written.

        Constants that its board's file puts into flash are programmed unless flash holds them already.

        Raises:
            VerificationError: the target holds something else.
            DeviceError: the link failed.
        """
        self._image = image
        with self._recovering():
            self._place()

    def program(self, segments: Sequence[tuple[int, bytes]]) -> None:
        """Write bytes at addresses, read them back, and start the board from reset, out of this session's hands.

        Raises:
            VerificationError: the target holds something else.
            DeviceError: the link failed.
        """
        link = self._live
        link.halt()
        self._set_breakpoints(set())
        for address, data in segments:
            link.write_memory(address, data)
        for address, data in segments:
            if link.read_memory(address, len(data)) != data:
                raise VerificationError(f"what was written at 0x{address:08x} reads back differently: is it writable?")
        self._image = None
        self._holdings.forget()
        link.reset()
        link.resume()

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
        with self._recovering():
            return self._stack.used(self._live)

    @property
    def _live(self) -> DebugLink:
        if self._link is None:
            raise DeviceError("the session is closed")
        return self._link

    @property
    def _unverified(self) -> DebugLink:
        """For data that are verified otherwise."""
        return self._live.unverified if isinstance(self._live, VerifiedLink) else self._live

    @property
    def _stack(self) -> WatchedStack:
        return WatchedStack(self.image)

    def _address(self, where: str | int) -> int:
        return self.image.symbol(where).address if isinstance(where, str) else where

    def _connect(self) -> None:
        try:
            link = self._open_link(self._target.start())
            self._link = VerifiedLink(link) if self._wired else link
            self._breakpoints = set()
        except BaseException:
            self._target.stop()
            raise

    def _disconnect(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None
        self._target.stop()

    @contextmanager
    def _recovering(self) -> Iterator[None]:
        """Repair the session if what is inside fails, then let the error go on."""
        if self._link is None and not self._closed:
            self._repair("the board was away", relaunch=True)
        try:
            yield
            if isinstance(self._link, VerifiedLink) and self._link.has_strayed:
                raise LinkGarbledError(
                    "the debug link garbled a write, which may have gone anywhere: make it slower or its cable "
                    "shorter; the board was reset and the image reloaded"
                )
        except LinkLostError as error:
            death = self._target.describe_death()
            self._repair(death or str(error), relaunch=True)
            raise LinkLostError(f"{death or error}; the board was started again and the image reloaded") from error
        except (LinkTimeoutError, LinkGarbledError) as error:
            self._repair(str(error), relaunch=True)
            raise
        except (DeviceError, KeyboardInterrupt) as error:
            self._repair(str(error), relaunch=False)
            raise

    def _repair(self, cause: str, *, relaunch: bool) -> None:
        """Bring the board back to the state after `load`.

        Raises:
            LinkLostError: it does not come back; the next call tries again.
        """
        if self._closed:
            return
        self._holdings.forget()
        if not relaunch:
            try:
                self._live.reset()
                self._replace_image()
                return
            except DeviceError:
                self._holdings.forget()
        reason = ""
        for pause in _REPAIR_PAUSES:
            time.sleep(pause)
            try:
                if self._link is not None:
                    self._link.close()
                    self._link = None
                self._connect()
                self._replace_image()
                return
            except VerificationError as error:
                self._disconnect()
                if str(error) == cause:  # it is there, but does not take the image: that has been said
                    return
                raise
            except DeviceError as error:
                self._holdings.forget()
                reason = str(error)
        self._disconnect()
        raise LinkLostError(
            f"{cause}; the board can't be brought back ({reason}): see that it has power and that the probe is "
            "connected; the next call tries again"
        )

    def _replace_image(self) -> None:
        if self._image is not None:
            self._place()

    def _place(self) -> None:
        """Load and start the image, verify all of it, and program what flash does not hold yet."""
        self._load_ram()
        constants = constant(self.image)
        in_flash = [piece for piece in constants if self._is_flash(piece.address)]
        stale = [piece for piece in in_flash if not self._holds(piece)]
        if stale:
            self._holdings.forget()  # programming may use RAM
            self._program(stale)
            self._load_ram()
        for piece in constants:
            if piece.name != _TRAPS_SECTION and (piece not in in_flash or stale):
                self._verify(piece)
        self._stack.paint(self._live)
        if isinstance(self._live, VerifiedLink):
            self._live.has_strayed = False  # everything has just been verified

    def _load_ram(self) -> None:
        """Send what RAM lacks of code and constants, run the start-up, and zero variables."""
        link, image = self._live, self.image
        link.halt()
        if self.board.clock or self.board.caches:
            # Clock and caches start from the state that their set-up knows: off. A cache would hide what is written.
            link.reset()
        self._set_breakpoints(set())  # some are instructions in memory
        constants = [piece for piece in constant(image) if not self._is_flash(piece.address)]
        for piece in (*self._holdings.replace(constants), *initial(image)):
            # What is large is verified by checksum alone.
            writer = self._live if len(piece.data) < _CHECKSUM_WORTH else self._unverified
            writer.write_memory(piece.address, piece.data)
        self._stack.paint(self._live)
        if self.board.core.isa == "arm" and not self.board.core.vector_table_register:
            self._write_vectors(self._stack.top, image.symbol(TRAP_SYMBOL).address)
        self._set_breakpoints({image.symbol(symbol).address for symbol in (RETURN_SYMBOL, TRAP_SYMBOL)})
        status = self._call_ours(START_SYMBOL)
        if status:
            raise startup_failure(self.board, status)
        # Only now: code that fills may use vector instructions, which the start-up enables.
        for section in zeroed(image):
            self._call_ours(FILL_SYMBOL, section.address, section.size // 4, 0)

    def _is_flash(self, address: int) -> bool:
        return any(memory.kind == "flash" and memory.holds(address) for memory in self.board.memories)

    def _program(self, pieces: Sequence[Piece]) -> None:
        link = self._unverified
        if not isinstance(link, FlashProgrammer):
            total = sum(len(piece.data) for piece in pieces)
            raise DeviceError(
                f"{total:,} bytes of constants do not fit the RAM of board '{self.board.name}', and its "
                f"{self.board.link.kind} link can't program flash: use a link of OpenOCD or pyOCD (--link)"
            )
        # A flash algorithm runs in RAM: no cache may hold what was there.
        link.reset()
        for piece in pieces:
            link.program_flash(piece.address, piece.data)

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

    def _holds(self, piece: Piece) -> bool:
        """Compare by a checksum that the target computes where that is less work than reading back."""
        if len(piece.data) >= _CHECKSUM_WORTH:
            return self._call_ours(CHECKSUM_SYMBOL, piece.address, len(piece.data)) == zlib.crc32(piece.data)
        return self._live.read_memory(piece.address, len(piece.data)) == piece.data

    def _verify(self, piece: Piece) -> None:
        if not self._holds(piece):
            kind = "flash" if self._is_flash(piece.address) else "RAM"
            raise VerificationError(
                f"section {piece.name} at 0x{piece.address:08x} ({len(piece.data):,} bytes) does not hold what was "
                f"written: is there {kind} on board '{self.board.name}'?"
            )

    def _call_ours(self, symbol: str, *arguments: int) -> int:
        """Call a function of the start-up code."""
        return self._call(symbol, self.image.symbol(symbol).address, arguments, _PLACING_SECONDS).value

    def _call(
        self, name: str, address: int, arguments: tuple[int, ...], timeout: float, *, measured: bool = False
    ) -> Measurement:
        link, convention = self._live, self._convention
        stop_at = self.image.symbol(RETURN_SYMBOL).address
        self._calls.prepare(link, self.image, address, arguments)
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
            value=self._calls.result(link, self.image, name),
            instructions=count.instructions,
            cycles=count.cycles,
            cycles_source=count.cycles_source,
            seconds=seconds,
        )

    def _check_stack(self, name: str) -> None:
        stack = self._stack
        guard = stack.guard(self._live, self._live.read_register(self._convention.stack_pointer))
        if guard is Guard.INTACT:
            return
        if self._wired and (guard is Guard.ALTERED or not self._remembers()):
            raise LinkGarbledError(
                f"memory changed by itself while {name} ran: the board lost power, or the debug link garbles data: "
                "make it slower or its cable shorter; the board was reset and the image reloaded"
            )
        raise StackOverflowError(
            f"{name} overran the stack of {stack.size:,} bytes on board '{self.board.name}': give it more with "
            "stack_bytes in the board's TOML; the board was reset and the image reloaded"
        )

    def _remembers(self) -> bool:
        """Return whether memory still holds what is loaded, as far as that is quickly read and has no breakpoints."""
        small = (piece for piece in constant(self.image) if len(piece.data) < _CHECKSUM_WORTH)
        return all(self._holds(piece) for piece in small if piece.name != _TRAPS_SECTION)

    def _timed_out(self, name: str, timeout: float) -> CallTimeoutError:
        pc = self._live.read_register(self._convention.program_counter)
        where = self.image.locate(pc)
        inside = ", outside the image: did the board lose power?" if where is None else f" in {where}"
        return CallTimeoutError(
            f"{name} did not return within {timeout:g} s; it was at pc 0x{pc:08x}{inside}; "
            "the board was reset and the image reloaded"
        )

    def _is_breakpoint(self, pc: int) -> bool:
        try:
            held = self._live.read_memory(pc, 4)
        except LinkRefusedError:
            return False
        return self._convention.is_breakpoint(int.from_bytes(held, "little"))

    def _stopped_elsewhere(self, name: str, pc: int) -> DeviceError:
        if pc != self.image.symbol(TRAP_SYMBOL).address:
            where = self.image.locate(pc)
            inside = "" if where is None else f" in {where}"
            if self._wired and not self._is_breakpoint(pc):
                return LinkGarbledError(
                    f"{name} was stopped at 0x{pc:08x}{inside}, where there is no breakpoint: the debug link garbles "
                    "data or loses its place: make it slower or its cable shorter; the board was reset and the image "
                    "reloaded"
                )
            return DeviceError(f"{name} stopped at 0x{pc:08x}{inside} and did not return: is there a breakpoint?")
        core = self.board.core
        if core.isa == "riscv":
            fault = read_riscv_fault(self._live)
        else:
            fault = read_arm_fault(self._live, has_status=core.fault_status)
        return fault.error(name, self.image)
