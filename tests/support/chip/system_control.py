"""The system control block: vectors, faults, what is enabled (DDI 0403, B3.2; for Armv8-M DDI 0553, D1.2)."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.chip.parts import Part

ICSR, VTOR, AIRCR, SCR, CCR = 0xE000ED04, 0xE000ED08, 0xE000ED0C, 0xE000ED10, 0xE000ED14
SHPR1, SHPR2, SHPR3, SHCSR = 0xE000ED18, 0xE000ED1C, 0xE000ED20, 0xE000ED24
CFSR, HFSR, MMFAR, BFAR, AFSR, CPACR = 0xE000ED28, 0xE000ED2C, 0xE000ED34, 0xE000ED38, 0xE000ED3C, 0xE000ED88
CSSELR, FPCCR, FPCAR, FPDSCR, ICIALLU, ICIMVAU = 0xE000ED84, 0xE000EF34, 0xE000EF38, 0xE000EF3C, 0xE000EF50, 0xE000EF58
SYSTICK = (0xE000E010, 0xE000E014, 0xE000E018)

DIV_0_TRP, STKALIGN, ICACHE_ON = 1 << 4, 1 << 9, 1 << 17
_VECTKEY, _VECTKEYSTAT = 0x05FA, 0xFA05
_SYSRESETREQ, _VECTRESET = 1 << 2, 1 << 0
_PLAIN = (VTOR, SCR, CCR, SHPR1, SHPR2, SHPR3, SHCSR, MMFAR, BFAR, AFSR, CPACR, CSSELR, FPCCR, FPCAR, FPDSCR, *SYSTICK)


class SystemControl:
    """Registers.

    Args:
        part: whose.
        active_exception: returns the number of the exception that the core is in.
        on_reset: called when software or debugger asks for a reset; its argument is whether it is that of the system.
        on_invalidate: called when the instruction cache is invalidated.
    """

    def __init__(
        self,
        part: Part,
        active_exception: Callable[[], int],
        on_reset: Callable[[], None],
        on_invalidate: Callable[[], None],
    ) -> None:
        self._part = part
        self._active_exception = active_exception
        self._on_reset = on_reset
        self._on_invalidate = on_invalidate
        self.reset()

    def reset(self) -> None:
        """Set the registers as a system reset does."""
        self._words = dict.fromkeys(_PLAIN, 0)
        self._words[VTOR] = self._part.reset_vectors
        self._words[CCR] = STKALIGN
        self._words[FPCCR] = 0xC0000000
        self.fault_status = 0
        self.hard_fault_status = 0

    def __getitem__(self, address: int) -> int:
        return self._words[address]

    @property
    def caches_instructions(self) -> bool:
        """Whether code may be stale until the cache is invalidated."""
        return self._part.instruction_cache and bool(self._words[CCR] & ICACHE_ON)

    def note_address(self, register: int, address: int) -> None:
        """Keep the address of a fault in MMFAR or BFAR."""
        self._words[register] = address

    def read(self, address: int) -> int:
        """Return a register; those that there are not read as zero."""
        if address == CFSR:
            return self.fault_status
        if address == HFSR:
            return self.hard_fault_status
        if address == ICSR:
            return self._active_exception()
        if address == AIRCR:
            return _VECTKEYSTAT << 16
        if address in self._words:
            return self._words[address]
        return self._part.identification.get(address, 0)

    def write(self, address: int, value: int) -> None:
        """Set a register."""
        if address == CFSR:
            self.fault_status &= ~value
        elif address == HFSR:
            self.hard_fault_status &= ~value
        elif address == AIRCR:
            reset = _SYSRESETREQ if self._part.v8 else _SYSRESETREQ | _VECTRESET
            if value >> 16 == _VECTKEY and value & reset:
                self._on_reset()
        elif address in (ICIALLU, ICIMVAU):
            self._on_invalidate()
        elif address in self._words:
            if address == VTOR:
                value &= 0xFFFFFF80
            self._words[address] = value
