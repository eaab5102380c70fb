"""A program that boots on an emulated board by itself: no debug link, only its UART."""

from __future__ import annotations

import contextlib
import shutil
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from utvm.boards import Board, BoardError
from utvm.device import ChildProcess
from utvm.device.sockets import open_socket
from utvm.emulators.errors import EmulatorError

_START_SECONDS = 60.0


class BootedBoard:
    """A board in QEMU that runs a program from reset. Use it in a `with` statement; it ends with it, or with Python.

    Args:
        board: a board with an emulator.
        program: an ELF file.

    Raises:
        EmulatorError: QEMU is not installed, or does not start.
    """

    def __init__(self, board: Board, program: Path) -> None:
        if board.emulator is None or board.emulator.kind != "qemu":
            raise BoardError(f"board '{board.name}' is not one of QEMU's: programs boot by themselves only there")
        emulator = board.emulator
        binary = shutil.which(emulator.binary)
        if binary is None:
            raise EmulatorError(f"{emulator.binary} is not installed: see `utvm doctor`")
        self._child = ChildProcess("QEMU", prefix="utvm-boot-")
        uart = self._child.directory / "uart"
        # QEMU waits for us at the socket before the core runs, so that nothing that it says is lost.
        self._child.start([
            binary, "-M", emulator.machine, *emulator.arguments, "-display", "none", "-monitor", "none",
            "-serial", f"unix:{uart},server=on,wait=on", "-kernel", str(program.absolute()),
        ])  # fmt: skip
        self._heard = b""
        self._socket = self._connect(uart)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it; never fails, and may be called twice."""
        self._socket.close()
        self._child.stop()

    def send(self, text: str) -> None:
        """Send characters to the UART."""
        self._socket.sendall(text.encode("ascii"))

    def hear(self, marker: str, timeout: float = 180.0) -> str:
        """Return what the program says up to and with `marker`.

        Raises:
            EmulatorError: it does not say that in `timeout` seconds, or QEMU ended.
        """
        wanted = marker.encode("ascii")
        deadline = time.monotonic() + timeout
        while (end := self._heard.find(wanted)) < 0:
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                more = self._socket.recv(65536)
            except TimeoutError:
                raise EmulatorError(f"the program did not say {marker!r} in {timeout} s, but {self._heard!r}") from None
            if not more:
                raise EmulatorError(f"{self._child.describe_death() or 'the UART was closed'}; heard {self._heard!r}")
            self._heard += more
        said, self._heard = self._heard[: end + len(wanted)], self._heard[end + len(wanted) :]
        return said.decode("ascii", errors="replace")

    def _connect(self, uart: Path) -> socket.socket:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            with contextlib.suppress(OSError):
                return open_socket(str(uart), _START_SECONDS)
            death = self._child.describe_death(0)
            if death is not None or time.monotonic() > deadline:
                said = " ".join(self._child.said()[:1])
                self._child.stop()
                raise EmulatorError(f"QEMU does not boot the program: {death or 'its UART does not appear'} {said}")
            time.sleep(0.002)
