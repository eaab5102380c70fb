"""QEMU as a board: one long-lived process on a private Unix socket, its instructions counted."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import time
import weakref
from pathlib import Path

from utvm.boards import Board, BoardError
from utvm.cores.timing import Timing
from utvm.device import Count, DebugLink
from utvm.emulators.assumptions import Assumption
from utvm.emulators.counters import AddressRange, Counters, Counts
from utvm.emulators.cycles import CycleModel
from utvm.emulators.plugin import plugin_library
from utvm.errors import UtvmError
from utvm.toolchain import Image, instruction_listing

_START_SECONDS = 20.0
_PACKAGES = {"qemu-system-arm": "qemu-system-arm", "qemu-system-riscv32": "qemu-system-misc"}
_PR_SET_PDEATHSIG = 1


class EmulatorError(UtvmError):
    """An emulator is missing or does not start."""


class QemuTarget:
    """A board in QEMU. `start` launches it, halted; the process ends with `stop`, with this object, or with Python.

    Args:
        board: a board with an emulator.
        cache_directory: where the counting plugin is kept.
        assume: what the cycle model assumes instead of zero-wait memory.
    """

    def __init__(self, board: Board, *, cache_directory: Path, assume: Assumption | None = None) -> None:
        if board.emulator is None:
            raise BoardError(f"board '{board.name}' has no emulator")
        self._board = board
        self._emulator = board.emulator
        self._cache_directory = cache_directory
        self._assume = assume
        self._directory: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._counters: Counters | None = None
        self._models: weakref.WeakKeyDictionary[Image, CycleModel] = weakref.WeakKeyDictionary()
        self._instructions_before = 0
        self._finalizer: weakref.finalize[..., QemuTarget] | None = None

    def start(self) -> str:
        """Launch QEMU, ending one that runs, and return the path of its GDB socket.

        Raises:
            EmulatorError: QEMU is not installed, or ended at once.
        """
        self.stop()
        binary = shutil.which(self._emulator.binary)
        if binary is None:
            package = _PACKAGES.get(self._emulator.binary, self._emulator.binary)
            raise EmulatorError(f"{self._emulator.binary} is not installed: `apt-get install {package}`")
        self._directory = Path(tempfile.mkdtemp(prefix="utvm-qemu-"))
        gdb_socket = self._directory / "gdb"
        command = [
            binary, "-M", self._emulator.machine, *self._emulator.arguments,
            "-display", "none", "-serial", "null", "-monitor", "none", "-S",
            "-gdb", f"unix:{gdb_socket},server=on,wait=off", *self._counting(),
        ]  # fmt: skip
        with (self._directory / "stderr").open("wb") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                preexec_fn=_die_with_parent,
            )
        self._finalizer = weakref.finalize(self, _clean_up, self._process, self._directory)
        deadline = time.monotonic() + _START_SECONDS
        while not gdb_socket.exists():
            death = self.describe_death(0)
            if death is not None or time.monotonic() > deadline:
                self.stop()
                raise EmulatorError(f"{self._emulator.binary} does not start: {death or 'its socket does not appear'}")
            time.sleep(0.002)
        return str(gdb_socket)

    def describe_death(self, patience: float = 0.5) -> str | None:
        """Return why QEMU ended, or None if it still runs after `patience` seconds."""
        if self._process is None or self._directory is None:
            return "it was not started"
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=patience)
        if self._process.returncode is None:
            return None
        said = (self._directory / "stderr").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        status = self._process.returncode
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
        return f"QEMU ended with {how}" + (f": {said[0]}" if said else "")

    @property
    def process_id(self) -> int | None:
        """The process, while there is one."""
        return None if self._process is None else self._process.pid

    def begin_count(self, image: Image, link: DebugLink) -> None:
        """Count from here on; the machine must be stopped."""
        if self._counters is None:
            return
        memory = None if self._assume is None else self._assume.memory
        if memory is not None:
            code, data = self._board.code, self._board.data
            held = image.data_bytes + image.zero_bytes + self._board.stack_bytes
            ranges = (
                AddressRange(name="flash", start=code.origin, end=code.origin + code.length, cached=True),
                AddressRange(
                    name="ram", start=data.origin, end=data.origin + data.length, cached=held > memory.fast_ram_bytes
                ),
            )
            self._counters.watch(ranges, memory.instruction_cache, memory.data_cache)
        self._instructions_before = self._counters.instructions
        self._counters.begin()

    def count(self, image: Image, link: DebugLink) -> Count:
        """Return instructions, exact, and cycles, modelled, since `begin_count`; None for what is not known."""
        if self._counters is None:
            return Count()
        instructions = self._counters.instructions - self._instructions_before
        timing = self._timing
        if timing is None:
            return Count(instructions=instructions)
        if image not in self._models:
            self._models[image] = CycleModel(instruction_listing(image), timing)
        counts = self._counters.counts()
        cycles, source = self._models[image].cycles(counts), timing.name
        if cycles is None:
            return Count(instructions=instructions)
        if self._assume is not None and self._assume.memory is not None:
            cycles += self._assume.memory.stalls(counts.ranges["flash"], counts.ranges["ram"])
            source = f"{source}, memory of {self._assume.name}"
        return Count(instructions=instructions, cycles=cycles, cycles_source=source)

    def counts(self) -> Counts | None:
        """Return what the cycle model of the last call was made from; None if nothing is counted."""
        return None if self._counters is None else self._counters.counts()

    @property
    def _timing(self) -> Timing | None:
        assumed = None if self._assume is None else self._assume.timing
        return assumed or self._board.core.timing

    def stop(self) -> None:
        """End QEMU and remove its files. Never fails."""
        if self._finalizer is not None:
            self._finalizer()
        self._finalizer = self._process = self._directory = self._counters = None

    def _counting(self) -> list[str]:
        assert self._directory is not None
        library = plugin_library(self._cache_directory)
        if library is None:
            return []
        file = self._directory / "counts"
        self._counters = Counters(file)
        return ["-plugin", f"{library},shared={file}"]


def _clean_up(process: subprocess.Popen[bytes], directory: Path) -> None:
    with contextlib.suppress(OSError):
        process.kill()
        process.wait(timeout=10)
    shutil.rmtree(directory, ignore_errors=True)


_LIBC = ctypes.CDLL(None, use_errno=True)


def _die_with_parent() -> None:
    """In the child: leave the terminal's Ctrl-C to us, and die when we die."""
    os.setpgid(0, 0)
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
