"""The debug port (Arm IHI 0031, B1 and B2): power, sticky errors, the way to the access port."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from tests.support.chip.access_port import AccessPort
from tests.support.chip.chip import Chip
from tests.support.chip.damage import Damage
from tests.support.chip.memory import BusError

DPIDR, CTRL_STAT, SELECT, RDBUFF = 0x0, 0x4, 0x8, 0xC
ABORT = DPIDR
"""Register of a write over SWD; over JTAG it is an instruction of its own."""

ORUNDETECT, STICKYORUN, STICKYCMP, STICKYERR = 1 << 0, 1 << 1, 1 << 4, 1 << 5
_READOK, _WDATAERR = 1 << 6, 1 << 7
_STICKY = STICKYORUN | STICKYCMP | STICKYERR
_MODE = 3 << 2
_REQUESTS = 1 << 26 | 1 << 28 | 1 << 30  # debug reset, debug power, system power; acknowledged one bit higher
_DEBUG_POWER = 1 << 28
_PLAIN = 0x00FFFF0D
_ABORT_CLEARS = {1 << 1: STICKYCMP, 1 << 2: STICKYERR, 1 << 3: _WDATAERR, 1 << 4: STICKYORUN}
_TARGETID_BANK, _TARGETID = 2, 0x04500041


class Ack(Enum):
    """How the port answers."""

    OK = 1
    WAIT = 2
    FAULT = 4
    NONE = 0  # nothing is there


class DebugPort:
    """Registers of a JTAG or SW debug port and what its transactions do."""

    def __init__(self, chip: Chip, damage: Damage) -> None:
        self._chip = chip
        self._damage = damage
        self._access_port = AccessPort(chip, damage)
        self.reset()

    def reset(self) -> None:
        """Set the registers as a power-on reset does."""
        self._control = 0
        self._sticky = 0
        self._select = 0
        self.result = 0  # RDBUFF
        self._access_port.reset()

    def poll(self) -> Ack:
        """Return how the next access of the access port will be answered; each call is one access on the wires."""
        if not self._chip.powered:
            return Ack.NONE
        if not self._damage.at_words:
            return Ack.OK
        if self._damage.cuts_power():
            self._chip.lose_power(self._damage.plan.seed)
            return Ack.NONE
        if self._damage.waits():
            if self._control & ORUNDETECT:
                self._sticky |= STICKYORUN
            return Ack.WAIT
        return Ack.OK

    @property
    def has_error(self) -> bool:
        """Whether a sticky flag holds accesses back."""
        return bool(self._sticky)

    def read(self, register: int) -> int:
        """Return a register of this port."""
        bank = self._select & 15
        if register == DPIDR:
            return self._chip.part.dpidr
        if register == CTRL_STAT and bank == 0:
            granted = self._control & _REQUESTS
            return self._control | granted << 1 | self._sticky | _READOK
        if register == CTRL_STAT:
            return _TARGETID if bank == _TARGETID_BANK else 0
        if register == SELECT:
            return self._select
        return self.result

    def write(self, register: int, value: int, *, clears: bool) -> None:
        """Set a register of this port. `clears`: ones clear sticky flags in CTRL/STAT, as over JTAG."""
        if register == CTRL_STAT and self._select & 15 == 0:
            self._control = value & (_REQUESTS | _PLAIN)
            if clears:
                self._sticky &= ~(value & _STICKY)
        elif register == SELECT:
            self._select = value

    def abort(self, value: int) -> None:
        """Write ABORT: give up a transaction, and clear flags (those over SWD)."""
        for bit, flag in _ABORT_CLEARS.items():
            if value & bit:
                self._sticky &= ~flag

    def read_access_port(self, register: int) -> int:
        """Make a read transaction; `result` and the return value are what it read, 0 if it failed."""
        self.result = self._transact(lambda port: port.read(self._select & 0xF0 | register))
        return self.result

    def write_access_port(self, register: int, value: int) -> None:
        """Make a write transaction."""

        def write(port: AccessPort) -> int:
            port.write(self._select & 0xF0 | register, value)
            return 0

        self._transact(write)

    def _transact(self, access: Callable[[AccessPort], int]) -> int:
        if self._sticky:
            return 0
        if not self._control & _DEBUG_POWER or (self._damage.at_words and self._damage.fault()):
            self._sticky |= STICKYERR
            return 0
        if self._select >> 24:
            return 0  # there is one access port
        try:
            return access(self._access_port)
        except BusError:
            self._sticky |= STICKYERR
            return 0
