"""A board in use: load an image into RAM, call its functions, read and write its memory, survive what goes wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from utvm.arguments import checked_arguments
from utvm.boards import Board
from utvm.device.arrays import Argument, FunctionRun, addresses, checked
from utvm.device.execution import Executor, Measurement
from utvm.device.firmware import is_wired
from utvm.device.link import DebugLink, DeviceError, LinkGarbledError, LinkLostError, LinkTimeoutError, Target
from utvm.device.loader import Loader, VerificationError
from utvm.device.stack import WatchedStack
from utvm.device.verified_link import VerifiedLink
from utvm.toolchain import Image

DEFAULT_TIMEOUT = 60.0
_REPAIR_PAUSES = (0.0, 0.2, 1.0)


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

    Example:
        with utvm.connect("qemu-cortex-m7") as session:
            session.load(compiled.image)
            print(session, session.stack_used())
    """

    def __init__(self, board: Board, target: Target, open_link: Callable[[str], DebugLink]) -> None:
        self.board = board
        self._target = target
        self._open_link = open_link
        self._wired = is_wired(board)
        self._executor = Executor(board, target)
        self._loader = Loader(board, self._executor)
        self._closed = False
        self._image: Image | None = None
        self._link: DebugLink | None = None
        self._fresh_starts = 0
        self._connect()

    def __repr__(self) -> str:
        """One line: the board, and whether an image is loaded."""
        state = (
            "closed" if self._closed else "no image" if self._image is None else f"{self._image.flash_bytes:,} B loaded"
        )
        return f"Session({self.board.name!r}, {state})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def interrupt(self) -> None:
        """From another thread: end the call that runs, within two seconds, the core halted, and refuse all others.

        They raise `CallInterruptedError`, and nothing is repaired; close the session next.
        """
        self._executor.interrupted.set()

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

    def holds(self, image: Image) -> bool:
        """Whether an image is the one that was loaded last."""
        return self._image is image

    @property
    def fresh_starts(self) -> int:
        """How often what programs wrote into RAM was lost: by a load, or by a repair, also one yet to come."""
        return self._fresh_starts

    @checked_arguments
    def load(self, image: Image) -> None:
        """Write an image into RAM, run its start-up, and verify it. Of a second image, only what differs is written.

        Constants that its board's file puts into flash are programmed unless flash holds them already.

        Raises:
            VerificationError: the target holds something else.
            DeviceError: the image is for another instruction set, or the link failed.
        """
        if image.machine != self.board.core.isa.elf_machine:
            raise DeviceError(
                f"the image holds {image.machine.removeprefix('EM_')} code, which board '{self.board.name}' "
                f"({self.board.core.name}) does not run: build it for this board"
            )
        self._image = image
        self._fresh_starts += 1
        with self._recovering():
            self._loader.place(self._live, image)

    def program(self, segments: Sequence[tuple[int, bytes]]) -> None:
        """Write bytes at addresses, read them back, and start the board from reset, out of this session's hands.

        Raises:
            VerificationError: the target holds something else.
            DeviceError: the link failed.
        """
        self._image = None
        self._loader.hand_over(self._live, segments)

    @checked_arguments
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
            CallInterruptedError: another thread called `interrupt`.
            LinkLostError: the link, or the emulator, went away.
        """
        image, seconds = self.image, DEFAULT_TIMEOUT if timeout is None else timeout
        if seconds <= 0:
            raise DeviceError(f"a call can't end within {seconds} seconds: give a timeout above 0")
        self._address(function)  # one that is not there is no reason to repair anything
        with self._recovering():
            return self._executor.run(self._live, image, function, tuple(map(int, arguments)), seconds, measured=True)

    def measure(
        self, function: str | int, arguments: Sequence[Argument], *, timeout: float | None = None
    ) -> FunctionRun:
        """Call a C function on arrays: each is written to free RAM, passed as its address, and read back.

        Args:
            function: a symbol of the loaded image, or an address.
            arguments: arrays of any shape and type, and integers of 32 bits; no value is a float or has 64 bits.
            timeout: seconds; 60 if None.

        Returns:
            The arrays as the call left them, the cycles and the instructions.

        Raises:
            DeviceError: an argument can't be passed, or the arrays don't fit.
            UtvmError: as in `call`.

        Example:
            run = session.measure("dot", [x, w, np.zeros(1, np.int32), x.size])
            print(run.outputs[2], run.cycles, run.instructions)
        """
        values = checked(arguments)
        arrays = [value for value in values if isinstance(value, np.ndarray)]
        places = addresses(self.board, self.image, arrays)
        for place, array in zip(places, arrays, strict=True):
            if array.size:
                self.write(place, array.tobytes())
        free = iter(places)
        passed = [next(free) if isinstance(value, np.ndarray) else value for value in values]
        measurement = self.call(function, *passed, timeout=timeout)
        outputs = tuple(
            np.frombuffer(self.read(place, array.nbytes) if array.size else b"", dtype=array.dtype).reshape(array.shape)
            for place, array in zip(places, arrays, strict=True)
        )
        return FunctionRun(outputs=outputs, measurement=measurement)

    @checked_arguments
    def read(self, where: str | int, length: int, *, offset: int = 0) -> bytes:
        """Return `length` bytes at a symbol or an address."""
        if length < 0:
            raise DeviceError(f"{length} bytes can't be read")
        with self._recovering():
            return self._live.read_memory(self._address(where) + int(offset), int(length))

    @checked_arguments
    def write(self, where: str | int, data: bytes | NDArray[Any] | np.generic, *, offset: int = 0) -> None:
        """Write bytes, or an array or a number of numpy, at a symbol or an address."""
        if not isinstance(data, bytes):
            if data.dtype.hasobject:
                raise DeviceError("an array of objects can't be written: give numbers")
            data = data.tobytes()
        with self._recovering():
            self._live.write_memory(self._address(where) + int(offset), data)

    def stack_used(self) -> int:
        """Return the most bytes of stack in use by any call since the image was loaded."""
        with self._recovering():
            return WatchedStack(self.image).used(self._live)

    @property
    def _live(self) -> DebugLink:
        if self._link is None:
            raise DeviceError("the session is closed")
        return self._link

    def _address(self, where: str | int) -> int:
        if isinstance(where, str):
            return self.image.symbol(where).address
        if not 0 <= where < 1 << 32:
            raise DeviceError(f"{where} is no address of 32 bits")
        return where

    def _connect(self) -> None:
        try:
            link = self._open_link(self._target.start())
            self._link = VerifiedLink(link) if self._wired else link
            self._loader.attached()
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
        if self._closed or self._executor.interrupted.is_set():
            return
        self._fresh_starts += 1
        self._loader.forget()
        if not relaunch:
            try:
                self._live.reset()
                self._replace_image()
                return
            except DeviceError:
                self._loader.forget()
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
                self._loader.forget()
                reason = str(error)
        self._disconnect()
        raise LinkLostError(
            f"{cause}; the board can't be brought back ({reason}): see that it has power and that the probe is "
            "connected; the next call tries again"
        )

    def _replace_image(self) -> None:
        if self._image is not None:
            self._loader.place(self._live, self._image)
