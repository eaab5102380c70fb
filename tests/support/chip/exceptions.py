"""Entry into and return from exceptions (DDI 0403, B1.5; DDI 0553, B3.18 to B3.22), synchronous ones only."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum, auto

from tests.support.chip import system_control as scb
from tests.support.chip.engine import FIRST_SINGLE, FPSCR, LR, MSP, PC, PSP, SP, XPSR, Engine, Stop, Why
from tests.support.chip.memory import BusError, Memory
from tests.support.chip.system_control import SystemControl

HARD_FAULT, MEM_MANAGE, BUS_FAULT, USAGE_FAULT, SV_CALL = 3, 4, 5, 6, 11
LOCKUP_PC = 0xFFFFFFFE
_ENABLE = {MEM_MANAGE: 1 << 16, BUS_FAULT: 1 << 17, USAGE_FAULT: 1 << 18}
_BFAR_VALID, _FORCED, _VECTTBL = 1 << 15, 1 << 30, 1 << 1
_STACKING_ERROR, _UNSTACKING_ERROR = 1 << 12, 1 << 11
_ALIGNED = 1 << 9


@dataclass(frozen=True, slots=True)
class _Cause:
    exception: int
    status: int
    addressed: bool = False


_CAUSES = {
    Why.FETCH: _Cause(BUS_FAULT, 1 << 8),
    Why.LOAD: _Cause(BUS_FAULT, 1 << 9, addressed=True),
    Why.STORE: _Cause(BUS_FAULT, 1 << 9, addressed=True),
    Why.UNDEFINED: _Cause(USAGE_FAULT, 1 << 16),
    Why.NO_COPROCESSOR: _Cause(USAGE_FAULT, 1 << 19),
    Why.DIVISION: _Cause(USAGE_FAULT, 1 << 25),
}
_INVALID_STATE, _INVALID_PC = 1 << 17, 1 << 18


class Catch(Enum):
    """Classes of exceptions at whose entry DEMCR can halt the core."""

    NONE = auto()
    HARD = auto()
    INTERRUPT = auto()  # a fault while an exception was entered
    BUS = auto()
    STATE = auto()
    CHECK = auto()
    COPROCESSOR = auto()
    MEMORY = auto()


_CATCHES = {
    Why.FETCH: Catch.BUS,
    Why.LOAD: Catch.BUS,
    Why.STORE: Catch.BUS,
    Why.UNDEFINED: Catch.STATE,
    Why.NO_COPROCESSOR: Catch.COPROCESSOR,
    Why.DIVISION: Catch.CHECK,
}


class Exceptions:
    """What the core does by itself when an instruction can't be executed."""

    def __init__(self, engine: Engine, memory: Memory, control: SystemControl, *, v8: bool) -> None:
        self._engine = engine
        self._memory = memory
        self._control = control
        self._v8 = v8
        self.locked_up = False

    @property
    def active(self) -> int:
        """The number of the exception that the core is in, 0 in thread mode."""
        return self._engine.read(XPSR) & 0x1FF

    def take(self, stop: Stop) -> tuple[Catch, ...]:
        """Enter the exception that a stop leads to, or return from one; return what vector catch may halt at."""
        if stop.why is Why.EXCEPTION_RETURN:
            return self._leave()
        if stop.why is Why.SUPERVISOR_CALL:
            return self._enter(SV_CALL)
        cause = _CAUSES[stop.why]
        status, catch = cause.status, _CATCHES[stop.why]
        if stop.why is Why.UNDEFINED and not self._engine.read(XPSR) & 1 << 24:
            status = _INVALID_STATE
        return (catch, *self._fault(cause.exception, status, stop.address if cause.addressed else None))

    def break_without_debugger(self) -> tuple[Catch, ...]:
        """A BKPT while halting debug is off is a HardFault."""
        self._control.hard_fault_status |= 1 << 31
        return self._enter(HARD_FAULT)

    def _fault(self, exception: int, status: int, address: int | None) -> tuple[Catch, ...]:
        control = self._control
        control.fault_status |= status
        if address is not None:
            control.fault_status |= _BFAR_VALID
            control.note_address(scb.BFAR, address)
        if control[scb.SHCSR] & _ENABLE[exception] and not 0 < self.active < SV_CALL:
            return self._enter(exception)
        if self.active in (2, HARD_FAULT):
            return self._lock_up()
        control.hard_fault_status |= _FORCED
        return self._enter(HARD_FAULT)

    def _lock_up(self) -> tuple[Catch, ...]:
        self.locked_up = True
        self._engine.branch(LOCKUP_PC | 1)
        return (Catch.HARD,)

    def _enter(self, exception: int) -> tuple[Catch, ...]:
        engine, control = self._engine, self._control
        if exception == SV_CALL and self.active in (2, HARD_FAULT):
            return self._lock_up()
        catches: tuple[Catch, ...] = (Catch.HARD,) if exception == HARD_FAULT else ()
        with_fpu = bool(engine.read(20) >> 24 & 4)
        on_process_stack = not self.active and bool(engine.read(20) >> 24 & 2)
        thread = not self.active
        stacked = self._push(with_fpu=with_fpu)
        if not stacked:
            control.fault_status |= _STACKING_ERROR
            control.hard_fault_status |= _FORCED
            exception = HARD_FAULT
            catches = (Catch.INTERRUPT, Catch.HARD)
        engine.write(XPSR, engine.read(XPSR) & ~0x0600FDFF | exception)
        engine.write(LR, self._return_value(thread, on_process_stack, with_fpu))
        try:
            vector = int.from_bytes(self._memory.read(control[scb.VTOR] + 4 * exception, 4), "little")
        except BusError:
            control.hard_fault_status |= _VECTTBL
            return (Catch.INTERRUPT, *self._lock_up())
        engine.branch(vector)
        return catches

    def _return_value(self, thread: bool, process_stack: bool, with_fpu: bool) -> int:
        value = 0xFFFFFFA0 if self._v8 else 0xFFFFFFE1
        return value | (0 if with_fpu else 0x10) | (8 if thread else 0) | (4 if thread and process_stack else 0)

    def _push(self, *, with_fpu: bool) -> bool:
        engine = self._engine
        pointer = engine.read(SP)
        floats = [engine.read(FIRST_SINGLE + n) for n in range(16)] + [engine.read(FPSCR), 0] if with_fpu else []
        base = (pointer - 4 * (8 + len(floats))) & ~(7 if self._control[scb.CCR] & scb.STKALIGN else 3) & 0xFFFFFFFF
        padded = _ALIGNED if pointer & 4 and self._control[scb.CCR] & scb.STKALIGN else 0
        words = [engine.read(n) for n in (0, 1, 2, 3, 12, LR)] + [engine.pc, engine.read(XPSR) & ~_ALIGNED | padded]
        engine.write(SP, base)
        try:
            self._memory.write(base, struct.pack(f"<{8 + len(floats)}I", *words, *floats))
        except BusError:
            return False
        return True

    def _leave(self) -> tuple[Catch, ...]:
        engine = self._engine
        value = engine.pc | 1
        thread, process_stack, with_fpu = bool(value & 8), bool(value & 4), not value & 0x10
        selector = PSP if thread and process_stack else MSP
        pointer = engine.read(selector if thread else SP)
        count = 26 if with_fpu else 8
        try:
            words = struct.unpack(f"<{count}I", self._memory.read(pointer, 4 * count))
        except BusError:
            return (Catch.INTERRUPT, *self._fault(BUS_FAULT, _UNSTACKING_ERROR, None))
        if not self.active:
            return (Catch.CHECK, *self._fault(USAGE_FAULT, _INVALID_PC, None))
        state = words[7]
        engine.write(XPSR, state & ~_ALIGNED)
        for register, word in zip((0, 1, 2, 3, 12, LR), words, strict=False):
            engine.write(register, word)
        if with_fpu:
            for position, word in enumerate(words[8:24]):
                engine.write(FIRST_SINGLE + position, word)
            engine.write(FPSCR, words[24])
        engine.write(SP, pointer + 4 * count + (4 if state & _ALIGNED else 0))
        engine.write(PC, words[6])
        return ()
