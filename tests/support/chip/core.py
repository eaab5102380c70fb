"""The core as debug sees it: running, halted, stepping, in reset; and what it does when the engine stops."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.chip import system_control as scb
from tests.support.chip.breakpoints import BreakpointUnit
from tests.support.chip.engine import LR, SP, Engine, Stop, Why
from tests.support.chip.exceptions import Catch, Exceptions
from tests.support.chip.memory import BusError, Memory
from tests.support.chip.parts import Part
from tests.support.chip.system_control import SystemControl

HALTED, BKPT, VCATCH = 1 << 0, 1 << 1, 1 << 3
"""Bits of DFSR."""

CORE_RESET = 1 << 0
_CATCH_BITS = {
    Catch.MEMORY: 1 << 4,
    Catch.COPROCESSOR: 1 << 5,
    Catch.CHECK: 1 << 6,
    Catch.STATE: 1 << 7,
    Catch.BUS: 1 << 8,
    Catch.INTERRUPT: 1 << 9,
    Catch.HARD: 1 << 10,
}
_FPU_ACCESS = 5 << 20
_STEP_TRIES = 3


class Core:
    """One core with its memories.

    Attributes:
        debug_enabled: DHCSR.C_DEBUGEN. catches: DEMCR's vector catch bits. reasons: DFSR.
        was_reset, has_retired: sticky bits of DHCSR.
        on_reset: called when the system is reset.
    """

    def __init__(self, part: Part, memory: Memory, engine: Engine, breakpoints: BreakpointUnit) -> None:
        self._memory = memory
        self._breakpoints = breakpoints
        self.engine = engine
        self.control = SystemControl(part, lambda: self.exceptions.active, self.request_reset, self._invalidate)
        self.exceptions = Exceptions(engine, memory, self.control, v8=part.v8)
        self.debug_enabled = False
        self.catches = 0
        self.reasons = 0
        self.halted = False
        self.sleeping = False
        self.held_in_reset = False
        self.was_reset = True
        self.has_retired = False
        self._running = False
        self._reset_wanted = False
        self._invalidation_wanted = False
        self.on_reset: Callable[[], None] = lambda: None

    @property
    def runs(self) -> bool:
        """Whether time makes a difference."""
        return not (self.halted or self.sleeping or self.held_in_reset or self.exceptions.locked_up)

    def halt(self) -> None:
        """Stop, because a debugger wants it."""
        if not self.halted and not self.held_in_reset:
            self._stop_for(HALTED)

    def resume(self) -> None:
        """Run; time passes in `advance`."""
        self.halted = self.sleeping = False

    def step(self) -> None:
        """Execute one instruction."""
        before = self.engine.instructions
        for _ in range(_STEP_TRIES):  # the engine may have to start over before an instruction that it watches
            stop = self._execute(1)
            if stop.why is not Why.SLICE or self.engine.instructions != before:
                break
        self._stop_for(HALTED)

    def advance(self, instructions: int) -> None:
        """Let time pass."""
        if self.runs:
            self._execute(instructions)

    def request_reset(self) -> None:
        """Reset the system now, or as soon as the instruction that asks for it is over."""
        if self._running:
            self._reset_wanted = True
            self.engine.stop()
        else:
            self.reset()

    def reset(self) -> None:
        """Reset the core and its system control space; debug registers and memories stay."""
        self._reset_wanted = self._invalidation_wanted = False
        self.halted = self.sleeping = self.exceptions.locked_up = False
        self.control.reset()
        self.on_reset()
        self._apply_control()
        self.was_reset = True
        for register in range(LR):
            self.engine.write(register, 0)
        self.engine.write(16, 0)
        self.engine.write(20, 0)
        self.engine.write(LR, 0xFFFFFFFF)
        vectors = self.control[scb.VTOR]
        try:
            self.engine.write(SP, int.from_bytes(self._memory.read(vectors, 4), "little") & ~3)
            self.engine.branch(int.from_bytes(self._memory.read(vectors + 4, 4), "little"))
        except BusError:
            self.exceptions.locked_up = True
        if self.debug_enabled and self.catches & CORE_RESET:
            self._stop_for(VCATCH)

    def hold_in_reset(self, held: bool) -> None:
        """Drive the reset pin."""
        if held and not self.held_in_reset:
            self.reset()
            self.halted = False
        self.held_in_reset = held
        if not held and self.debug_enabled and self.catches & CORE_RESET:
            self._stop_for(VCATCH)

    def write_control(self, address: int, value: int) -> None:
        """Write a register of the system control block."""
        self.control.write(address, value)
        self._apply_control()

    def _apply_control(self) -> None:
        self.engine.division_traps = bool(self.control[scb.CCR] & scb.DIV_0_TRP)
        self.engine.fpu_enabled = self.control[scb.CPACR] & _FPU_ACCESS == _FPU_ACCESS

    def _invalidate(self) -> None:
        if self._running:
            self._invalidation_wanted = True
            self.engine.stop_before_next_block()
        else:
            self._forget_stale()

    def _forget_stale(self) -> None:
        self._invalidation_wanted = False
        self.engine.forget(self._memory.written)
        self._memory.written.clear()

    def _stop_for(self, reason: int) -> None:
        self.halted = True
        self.sleeping = False
        self.reasons |= reason

    def _execute(self, instructions: int) -> Stop:
        if not self.control.caches_instructions:
            self._forget_stale()
        self.engine.breakpoints = self._breakpoints.addresses if self.debug_enabled else frozenset()
        before = self.engine.instructions
        self._running = True
        try:
            stop = self.engine.run(instructions)
        finally:
            self._running = False
        self.has_retired = self.has_retired or self.engine.instructions != before
        if self._reset_wanted:
            self.reset()
        elif stop.why is not Why.SLICE:
            self._follow(stop)
        if self._invalidation_wanted:
            self._forget_stale()
        return stop

    def _follow(self, stop: Stop) -> None:
        if stop.why is Why.SLEEP:
            self.sleeping = True
        elif stop.why is Why.BREAKPOINT or (stop.why is Why.BKPT and self.debug_enabled):
            self._stop_for(BKPT)
        else:
            caught = self.exceptions.break_without_debugger() if stop.why is Why.BKPT else self.exceptions.take(stop)
            if self.debug_enabled and any(self.catches & _CATCH_BITS.get(catch, 0) for catch in caught):
                self._stop_for(VCATCH)
