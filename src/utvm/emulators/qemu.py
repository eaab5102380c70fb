"""QEMU as a board: one long-lived process on a private Unix socket, its instructions counted."""

from __future__ import annotations

import shutil
import time
import weakref
from pathlib import Path

from utvm.boards import Board, BoardError
from utvm.cores.timing import Timing
from utvm.device import ChildProcess, Count, DebugLink
from utvm.emulators.assumed import Assumption, stalls
from utvm.emulators.counters import AddressRange, Counters, Counts
from utvm.emulators.cycles import CycleModel
from utvm.emulators.errors import EmulatorError
from utvm.emulators.plugin import plugin_library
from utvm.prerequisites import packages_of
from utvm.toolchain import Image, instruction_listing

_START_SECONDS = 20.0


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
        self._child: ChildProcess | None = None
        self._counters: Counters | None = None
        self._models: weakref.WeakKeyDictionary[Image, CycleModel] = weakref.WeakKeyDictionary()
        self._instructions_before = 0

    def start(self) -> str:
        """Launch QEMU, ending one that runs, and return the path of its GDB socket.

        Raises:
            EmulatorError: QEMU is not installed, or ended at once.
        """
        self.stop()
        binary = shutil.which(self._emulator.binary)
        if binary is None:
            package = " ".join(packages_of(self._emulator.binary)) or self._emulator.binary
            raise EmulatorError(f"{self._emulator.binary} is not installed: `apt-get install {package}`")
        child = self._child = ChildProcess("QEMU", prefix="utvm-qemu-")
        gdb_socket = child.directory / "gdb"
        child.start([
            binary, "-M", self._emulator.machine, *self._emulator.arguments,
            "-display", "none", "-serial", "null", "-monitor", "none", "-S",
            "-gdb", f"unix:{gdb_socket},server=on,wait=off", *self._counting(child.directory / "counts"),
        ])  # fmt: skip
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
        if self._child is None:
            return "it was not started"
        death = self._child.describe_death(patience)
        said = self._child.said()
        return f"{death}: {said[0]}" if death and said else death

    @property
    def process_id(self) -> int | None:
        """The process, while there is one."""
        return None if self._child is None else self._child.process_id

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
            cycles += stalls(self._assume.memory, counts.ranges["flash"], counts.ranges["ram"])
            source = f"{source}, memory of {self._assume.memory.name}"
        return Count(instructions=instructions, cycles=cycles, cycles_source=source)

    def counts(self) -> Counts | None:
        """Return what the cycle model of the last call was made from; None if nothing is counted."""
        return None if self._counters is None else self._counters.counts()

    @property
    def _timing(self) -> Timing | None:
        core = self._board.core
        assumed = None if self._assume is None else self._assume.timings.get(core.name)
        return assumed or core.timing

    def stop(self) -> None:
        """End QEMU and remove its files. Never fails."""
        if self._child is not None:
            self._child.stop()
        self._child = self._counters = None

    def _counting(self, file: Path) -> list[str]:
        library = plugin_library(self._cache_directory)
        if library is None:
            return []
        self._counters = Counters(file)
        return ["-plugin", f"{library},shared={file}"]
