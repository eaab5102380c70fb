"""The RTL system-on-chip as a board: one simulator process, its JTAG pins on a loopback port."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import time
from pathlib import Path

from utvm.boards import Board, BoardError
from utvm.device import ChildProcess, Count, DebugLink, LinkLostError, begin_mcycle, read_mcycle
from utvm.emulators.errors import EmulatorError
from utvm.emulators.rtl.link import RtlLink
from utvm.emulators.rtl.simulator import build_simulator
from utvm.toolchain import Image

CYCLES_SOURCE = "mcycle (RTL)"
_START_SECONDS = 30.0
_FILL_SECONDS = 30.0
_READY = re.compile(r"READY (\d+)")
_BUS_ERROR_ENABLED = {"mie": 1 << 31, "mstatus": 0x1808}
"""The SoC tells bus errors by interrupt 31; mstatus: interrupts on, in machine mode."""


class RtlTarget:
    """A board whose core is simulated in RTL. The process ends with `stop`, with this object, or with Python.

    Cycles are the core's own mcycle: exact, and the same in every run. Bulk data go past JTAG, see `fill`.

    Args:
        board: a board with an emulator of kind "rtl".
        cache_directory: where the built simulator is kept.
    """

    def __init__(self, board: Board, *, cache_directory: Path) -> None:
        if board.emulator is None or board.emulator.kind != "rtl":
            raise BoardError(f"board '{board.name}' is not simulated in RTL")
        self._board = board
        self._pulp = board.emulator.machine.endswith("-xpulp")
        self._cache_directory = cache_directory
        self._child: ChildProcess | None = None
        self._control: socket.socket | None = None

    def start(self) -> str:
        """Launch the simulator, ending one that runs, and return host:port of its remote_bitbang server.

        Raises:
            EmulatorError: a package is missing, or the simulator does not build or start.
        """
        self.stop()
        simulator = build_simulator(self._cache_directory, pulp=self._pulp)
        child = self._child = ChildProcess("the RTL simulator", prefix="utvm-rtl-")
        path = child.directory / "control"
        try:
            child.start([str(simulator), str(path)])
            port = self._await_port(child)
            self._control = socket.socket(socket.AF_UNIX)
            self._control.settimeout(_FILL_SECONDS)
            self._control.connect(str(path))
        except OSError as error:
            self.stop()
            raise EmulatorError(f"the RTL simulator does not start: {error}") from error
        except BaseException:
            self.stop()
            raise
        return f"127.0.0.1:{port}"

    def describe_death(self, patience: float = 0.5) -> str | None:
        """Return why the simulator ended, or None if it still runs after `patience` seconds."""
        return "it was not started" if self._child is None else self._child.describe_death(patience)

    @property
    def process_id(self) -> int | None:
        """The process, while there is one."""
        return None if self._child is None else self._child.process_id

    def wrap(self, link: DebugLink) -> DebugLink:
        """See `WrappingTarget`."""
        return RtlLink(link, code=self._board.code, fill=self.fill, describe_death=self.describe_death)

    def fill(self, address: int, data: bytes) -> bool:
        """Write bytes past JTAG into RAM, the core halted; False if there is no RAM.

        Raises:
            LinkLostError: the simulator has gone.
        """
        if self._control is None:
            raise LinkLostError("the RTL simulator was not started")
        try:
            self._control.sendall(b"W" + struct.pack("<II", address, len(data)))
            self._control.sendall(data)
            answer = self._control.recv(1)
        except OSError as error:
            raise LinkLostError(self.describe_death() or f"the RTL simulator does not answer: {error}") from error
        if not answer:
            raise LinkLostError(self.describe_death() or "the RTL simulator hung up")
        return answer == b"K"

    def begin_count(self, image: Image, link: DebugLink) -> None:
        """See `Target`."""
        begin_mcycle(image, link, _BUS_ERROR_ENABLED)

    def count(self, image: Image, link: DebugLink) -> Count:
        """See `Target`. Counted is the call with its jump and its return; an empty function takes 9 cycles."""
        cycles, instructions = read_mcycle(link)
        return Count(instructions=instructions, cycles=cycles, cycles_source=CYCLES_SOURCE)

    def stop(self) -> None:
        """End the simulator and remove its files. Never fails."""
        if self._control is not None:
            with contextlib.suppress(OSError):
                self._control.close()
        if self._child is not None:
            self._child.stop()
        self._child = self._control = None

    @staticmethod
    def _await_port(child: ChildProcess) -> str:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            found = _READY.search("\n".join(child.said()))
            if found is not None:
                return found.group(1)
            death = child.describe_death(0)
            if death is not None or time.monotonic() > deadline:
                said = "; ".join(child.said()[-2:])
                raise EmulatorError(f"the RTL simulator does not start: {said or death or 'it does not listen'}")
            time.sleep(0.002)
