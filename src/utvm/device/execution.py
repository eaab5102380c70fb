"""One function at a time on a halted core: run it, measure it, and tell why it did not return."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from utvm.boards import Board
from utvm.device.calls import Calls, FrameCalls, RegisterCalls
from utvm.device.contents import small_constants
from utvm.device.faults import read_fault
from utvm.device.firmware import RETURN_SYMBOL, TRAP_SYMBOL, is_wired
from utvm.device.link import Count, DebugLink, DeviceError, LinkGarbledError, LinkRefusedError, Target
from utvm.device.stack import Guard, WatchedStack
from utvm.toolchain import Image

_LOOK_SECONDS = 2.0


class CallTimeoutError(DeviceError):
    """A call did not return in time."""


class CallInterruptedError(DeviceError):
    """A call was ended from another thread."""


class StackOverflowError(DeviceError):
    """A call used more stack than there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What a call returned and cost. `cycles` says where it comes from, or is None: it is never guessed."""

    value: int
    instructions: int | None
    cycles: int | None
    cycles_source: str | None
    seconds: float


class Executor:
    """Calls functions of a loaded image through a link.

    Args:
        board: the board.
        target: what counts.

    Attributes:
        interrupted: set by another thread, it ends the call that runs, within two seconds, and all that follow.
    """

    def __init__(self, board: Board, target: Target) -> None:
        self.interrupted = threading.Event()
        self._board = board
        self._target = target
        self._convention = board.core.isa.convention
        self._wired = is_wired(board)
        self._calls: Calls = FrameCalls(self._convention) if self._wired else RegisterCalls(self._convention)

    def run(
        self,
        link: DebugLink,
        image: Image,
        function: str | int,
        arguments: Sequence[int],
        timeout: float,
        *,
        measured: bool = False,
    ) -> Measurement:
        """Call a function, by symbol or address, and wait until it returns; count only if `measured`.

        Raises:
            TargetFaultError: the target raised a fault; the message decodes it.
            CallTimeoutError: it did not return in `timeout` seconds.
            StackOverflowError: it overran the stack.
            CallInterruptedError: `interrupted` is set.
            LinkError: the link failed.
        """
        convention = self._convention
        name = function if isinstance(function, str) else f"0x{function:08x}"
        address = image.symbol(function).address if isinstance(function, str) else function
        self._calls.prepare(link, image, address, arguments)
        self._target.begin_count(image, link)
        started = time.perf_counter()
        self._check_interrupted(name)
        link.resume()
        while not link.wait(max(min(started + timeout - time.perf_counter(), _LOOK_SECONDS), 0)):
            if self.interrupted.is_set():
                link.halt()
            self._check_interrupted(name)
            if time.perf_counter() - started >= timeout:
                link.halt()
                raise self._timed_out(link, image, name, timeout)
        seconds = time.perf_counter() - started
        pc = link.read_register(convention.program_counter) & ~convention.code_bit
        self._check_stack(link, image, name)
        if pc != image.symbol(RETURN_SYMBOL).address:
            raise self._stopped_elsewhere(link, image, name, pc)
        count = self._target.count(image, link) if measured else Count()
        return Measurement(
            value=self._calls.result(link, image, name),
            instructions=count.instructions,
            cycles=count.cycles,
            cycles_source=count.cycles_source,
            seconds=seconds,
        )

    def _check_interrupted(self, name: str) -> None:
        if self.interrupted.is_set():
            raise CallInterruptedError(f"{name} was ended: its session is being closed")

    def _check_stack(self, link: DebugLink, image: Image, name: str) -> None:
        stack = WatchedStack(image)
        guard = stack.guard(link, link.read_register(self._convention.stack_pointer))
        if guard is Guard.INTACT:
            return
        if self._wired and (guard is Guard.ALTERED or not _remembers(link, image)):
            raise LinkGarbledError(
                f"memory changed by itself while {name} ran: the board lost power, or the debug link garbles data: "
                "make it slower or its cable shorter; the board was reset and the image reloaded"
            )
        raise StackOverflowError(
            f"{name} overran the stack of {stack.size:,} bytes on board '{self._board.name}': give it more with "
            "stack_bytes in the board's TOML; the board was reset and the image reloaded"
        )

    def _timed_out(self, link: DebugLink, image: Image, name: str, timeout: float) -> CallTimeoutError:
        pc = link.read_register(self._convention.program_counter)
        where = image.locate(pc)
        inside = ", outside the image: did the board lose power?" if where is None else f" in {where}"
        return CallTimeoutError(
            f"{name} did not return within {timeout:g} s; it was at pc 0x{pc:08x}{inside}; "
            "the board was reset and the image reloaded"
        )

    def _stopped_elsewhere(self, link: DebugLink, image: Image, name: str, pc: int) -> DeviceError:
        if pc != image.symbol(TRAP_SYMBOL).address:
            where = image.locate(pc)
            inside = "" if where is None else f" in {where}"
            if self._wired and not self._is_breakpoint(link, pc):
                return LinkGarbledError(
                    f"{name} was stopped at 0x{pc:08x}{inside}, where there is no breakpoint: the debug link garbles "
                    "data or loses its place: make it slower or its cable shorter; the board was reset and the image "
                    "reloaded"
                )
            return DeviceError(f"{name} stopped at 0x{pc:08x}{inside} and did not return: is there a breakpoint?")
        return read_fault(link, self._board.core).error(name, image)

    def _is_breakpoint(self, link: DebugLink, pc: int) -> bool:
        try:
            held = link.read_memory(pc, 4)
        except LinkRefusedError:
            return False
        return self._convention.is_breakpoint(int.from_bytes(held, "little"))


def _remembers(link: DebugLink, image: Image) -> bool:
    """Return whether memory still holds what is loaded, as far as that is quickly read and has no breakpoints."""
    return all(link.read_memory(piece.address, len(piece.data)) == piece.data for piece in small_constants(image))
