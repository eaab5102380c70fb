"""The chip: core, memories, the private peripheral bus; what a debug access port reaches."""

from __future__ import annotations

import random
import struct

from tests.support.chip import core_debug
from tests.support.chip.breakpoints import BreakpointUnit
from tests.support.chip.core import Core
from tests.support.chip.core_debug import CoreDebug
from tests.support.chip.engine import PERIPHERAL_BUS, PERIPHERAL_BYTES, Engine
from tests.support.chip.memory import BusError, Memory
from tests.support.chip.part_peripherals import PERIPHERALS, PERIPHERALS_BYTES, PartPeripherals
from tests.support.chip.parts import FLASH, Part
from tests.support.chip.rom_table import identification_words
from tests.support.chip.trace_unit import TraceUnit

_STACK_TOP = 0x20004000
_RESET_HANDLER = FLASH + 0x100
_SLEEP_LOOP = b"\x30\xbf\xfd\xe7"  # 1: wfi; b 1b
_TRACE_PAGE, _BREAKPOINT_PAGE = 0xE0001, 0xE0002


class Chip:
    """A chip with power. In flash is a program that sleeps.

    Args:
        part: what it is.
        poll_instructions: how many instructions a running core executes when a debugger reads its status.
    """

    def __init__(self, part: Part, *, poll_instructions: int = 20_000) -> None:
        self.part = part
        self.powered = True
        self.memory = Memory(part.banks)
        vectors = struct.pack("<II", _STACK_TOP, _RESET_HANDLER | 1)
        self.memory.program(FLASH, vectors.ljust(_RESET_HANDLER - FLASH, b"\xff") + _SLEEP_LOOP)
        self._identification = identification_words(part)
        self.peripherals = None if part.peripherals is None else PartPeripherals(part.peripherals, self.memory)
        self._engine = self._make_engine()
        self._breakpoints = BreakpointUnit(part)
        self.core = Core(part, self.memory, self._engine, self._breakpoints)
        self._debug = CoreDebug(part, self.core, poll_instructions)
        if self.peripherals is not None:
            self.core.on_reset = self.peripherals.reset
        self._trace = TraceUnit(lambda: self._engine.cycles, lockable=part.dwt_lock)
        self.core.reset()

    def lose_power(self, seed: int) -> None:
        """Everything is off, and the memories hold noise."""
        self.powered = False
        self.memory.scramble(random.Random(seed))

    def return_power(self) -> None:
        """Start as after a power-on reset."""
        self.powered = True
        for unit in (self._breakpoints, self._trace, self._debug):
            unit.power_on()
        self.core.reset()

    def advance(self, instructions: int) -> None:
        """Let time pass for the core."""
        if self.powered:
            self.core.advance(instructions)

    def read(self, address: int, size: int) -> int:
        """Return `size` (1, 2 or 4) bytes as the debug access port reads them, or raise `BusError`."""
        if not self.powered or address % size:
            raise BusError(address)
        if PERIPHERAL_BUS <= address < PERIPHERAL_BUS + PERIPHERAL_BYTES:
            return self._read_register(address & ~3) >> 8 * (address & 3) & ((1 << 8 * size) - 1)
        if self.peripherals is not None and self.peripherals.holds(address):
            return self.peripherals.read(address, size)
        return int.from_bytes(self.memory.read(address, size), "little")

    def write(self, address: int, size: int, value: int) -> None:
        """Write `size` (1, 2 or 4) bytes as the debug access port does, or raise `BusError`."""
        if not self.powered or address % size:
            raise BusError(address)
        if PERIPHERAL_BUS <= address < PERIPHERAL_BUS + PERIPHERAL_BYTES:
            self._write_register(address, size, value, debugger=True)
            return
        data = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")
        if self.peripherals is not None and self.peripherals.holds(address):
            self.peripherals.write(address, size, value)
        elif self.peripherals is not None and self.peripherals.flash.holds(address):
            self.peripherals.flash.program(address, data)
        else:
            self.memory.write(address, data)

    def _make_engine(self) -> Engine:
        reach = (self.part.unicorn_model, self.memory, self._software_read, self._software_write)
        if self.peripherals is None:
            return Engine(*reach)
        everywhere = [(PERIPHERALS, PERIPHERALS_BYTES)]
        return Engine(*reach, programs=self.peripherals.programs, registers=everywhere)

    def _software_read(self, address: int, size: int) -> int:
        if self.peripherals is not None and self.peripherals.holds(address):
            return self.peripherals.read(address, size)
        return self._read_register(address & ~3) >> 8 * (address & 3) & ((1 << 8 * size) - 1)

    def _software_write(self, address: int, size: int, value: int) -> None:
        if self.peripherals is not None and self.peripherals.holds(address):
            self.peripherals.write(address, size, value)
            return
        self._write_register(address, size, value, debugger=False)

    def _read_register(self, address: int) -> int:
        if address in core_debug.ADDRESSES:
            return self._debug.read(address)
        if address in self._identification:
            return self._identification[address]
        page, offset = address >> 12, address & 0xFFF
        if page == _TRACE_PAGE:
            return self._trace.read(offset)
        if page == _BREAKPOINT_PAGE:
            return self._breakpoints.read(offset)
        return self.core.control.read(address)

    def _write_register(self, address: int, size: int, value: int, *, debugger: bool) -> None:
        word = address & ~3
        if size < 4:
            shift, mask = 8 * (address & 3), (1 << 8 * size) - 1
            value = self._read_register(word) & ~(mask << shift) | (value & mask) << shift
        page, offset = word >> 12, word & 0xFFF
        if word in core_debug.ADDRESSES:
            self._debug.write(word, value, debugger=debugger)
            self._trace.powered = self._debug.trace_enabled
        elif page == _TRACE_PAGE:
            self._trace.write(offset, value, debugger=debugger)
        elif page == _BREAKPOINT_PAGE:
            self._breakpoints.write(offset, value)
        else:
            self.core.write_control(word, value)
