"""The core debug registers (DDI 0403, C1.6; DDI 0553, D1.2)."""

from __future__ import annotations

from tests.support.chip.core import Core
from tests.support.chip.parts import Part

DFSR, DHCSR, DCRSR, DCRDR, DEMCR = 0xE000ED30, 0xE000EDF0, 0xE000EDF4, 0xE000EDF8, 0xE000EDFC
DAUTHCTRL, DSCSR, DAUTHSTATUS = 0xE000EE04, 0xE000EE08, 0xE000EFB8
ADDRESSES = frozenset({DFSR, DHCSR, DCRSR, DCRDR, DEMCR, DAUTHCTRL, DSCSR, DAUTHSTATUS})

_DEBUG_KEY = 0xA05F
_C_DEBUGEN, _C_HALT, _C_STEP, _C_MASKINTS = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_S_REGRDY, _S_HALT, _S_SLEEP, _S_LOCKUP, _S_RETIRE, _S_RESET = 1 << 16, 1 << 17, 1 << 18, 1 << 19, 1 << 24, 1 << 25
_TRCENA = 1 << 24
_CATCHES = 0x7F1
_NON_SECURE_DEBUG_ALLOWED = 0b1111
_WRITE = 1 << 16


class CoreDebug:
    """Registers.

    Args:
        part: whose.
        core: what they govern.
        poll_instructions: how much time passes for a running core when its status is read.
    """

    def __init__(self, part: Part, core: Core, poll_instructions: int) -> None:
        self._part = part
        self._core = core
        self._poll_instructions = poll_instructions
        self._data = 0
        self._masks_interrupts = 0
        self.trace_enabled = False

    def power_on(self) -> None:
        """Set the registers as the first reset does."""
        self._data = self._masks_interrupts = 0
        self.trace_enabled = False
        self._core.debug_enabled = False
        self._core.catches = self._core.reasons = 0

    def read(self, address: int) -> int:
        """Return a register."""
        if address == DHCSR:
            return self._status()
        if address == DCRDR:
            return self._data
        if address == DEMCR:
            return self._core.catches | (_TRCENA if self.trace_enabled else 0)
        if address == DFSR:
            return self._core.reasons
        if address == DAUTHSTATUS and self._part.v8:
            return _NON_SECURE_DEBUG_ALLOWED
        return 0

    def write(self, address: int, value: int, *, debugger: bool) -> None:
        """Set a register. Software can't halt or step the core (DDI 0403, C1.6.2)."""
        if address == DHCSR:
            if value >> 16 == _DEBUG_KEY and debugger:
                self._control(value)
        elif address == DCRSR:
            self._transfer(value)
        elif address == DCRDR:
            self._data = value
        elif address == DEMCR:
            self._core.catches = value & _CATCHES
            self.trace_enabled = bool(value & _TRCENA)
        elif address == DFSR:
            self._core.reasons &= ~value

    def _status(self) -> int:
        core = self._core
        core.advance(self._poll_instructions)
        status = _S_REGRDY | (_C_DEBUGEN if core.debug_enabled else 0) | self._masks_interrupts
        if core.halted:
            status |= _S_HALT | _C_HALT
        if core.sleeping:
            status |= _S_SLEEP
        if core.exceptions.locked_up and not core.halted:
            status |= _S_LOCKUP
        if core.has_retired:
            status |= _S_RETIRE
        if core.was_reset:
            status |= _S_RESET
        core.has_retired = False
        core.was_reset = core.held_in_reset
        return status

    def _control(self, value: int) -> None:
        core = self._core
        core.debug_enabled = bool(value & _C_DEBUGEN)
        self._masks_interrupts = value & _C_MASKINTS
        if value & _C_DEBUGEN and value & _C_HALT:
            core.halt()
        elif core.halted:
            if value & _C_DEBUGEN and value & _C_STEP:
                core.step()
            else:
                core.resume()

    def _transfer(self, value: int) -> None:
        if not self._core.halted:
            return
        if value & _WRITE:
            self._core.exceptions.locked_up = self._core.exceptions.locked_up and value & 0x7F != 15
            self._core.engine.write(value & 0x7F, self._data)
        else:
            self._data = self._core.engine.read(value & 0x7F)
