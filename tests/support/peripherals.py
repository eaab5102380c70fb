"""Stubbed registers of microcontrollers, and Unicorn running start-up code on them.

What a register shows is written down here from the manuals' words (a ready flag follows its enable bit, the status of a
switch follows the switch), not taken from the boards' files: a wrong bit there is a wait that does not end, or a clock
that is not the one promised.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import unicorn
from unicorn import arm_const

from utvm.boards import Board
from utvm.device.firmware import RETURN_SYMBOL, START_SYMBOL
from utvm.toolchain import STACK_SYMBOL, Image

_READS_UNTIL_SHOWN = 3
PERIPHERALS, PRIVATE = (0x40000000, 0x20000000), (0xE0000000, 0x100000)
MODELS = {
    "armv6-m": arm_const.UC_CPU_ARM_CORTEX_M0,
    "armv7e-m": arm_const.UC_CPU_ARM_CORTEX_M7,
    "armv8-m.main": arm_const.UC_CPU_ARM_CORTEX_M33,
}


@dataclass(frozen=True)
class Access:
    """One access: "read" or "write", address, bytes, value."""

    kind: str
    address: int
    size: int
    value: int


@dataclass(frozen=True)
class Status:
    """What a register shows: `flags` of the registers written, in the bits of `mask`; else what was written to it."""

    mask: int
    flags: Callable[[Registers], int]


def follows(address: int, *moves: tuple[int, int, int]) -> Status:
    """Fields of a register that follow others of it: (from bit, to bit, width)."""

    def flags(registers: Registers) -> int:
        return sum((registers[address] >> origin & (1 << width) - 1) << to for origin, to, width in moves)

    return Status(sum(((1 << width) - 1) << to for _, to, width in moves), flags)


@dataclass
class Registers:
    """Registers of a part. Flags show new values after some reads.

    Args:
        status: registers that show more than what was written to them.
        initial: what registers hold after a reset, where not 0.
        stuck: addresses whose flags never change.
    """

    status: dict[int, Status] = field(default_factory=dict)
    initial: dict[int, int] = field(default_factory=dict)
    stuck: frozenset[int] = frozenset()
    log: list[Access] = field(default_factory=list)
    written: dict[int, int] = field(default_factory=dict)
    _shown: dict[int, int] = field(default_factory=dict)
    _late: dict[int, int] = field(default_factory=dict)

    def reset_to(self, fresh: Registers) -> None:
        """Take over what others hold, as a reset does."""
        self.initial, self.written, self.log = fresh.initial, fresh.written, fresh.log
        self._shown, self._late = fresh._shown, fresh._late

    def __getitem__(self, address: int) -> int:
        return self.written.get(address, self.initial.get(address, 0))

    def bit(self, address: int, position: int) -> int:
        """Return a bit of what was written."""
        return self[address] >> position & 1

    def read(self, address: int, size: int) -> int:
        """Return what a register shows."""
        value = self[address] if address not in self.status else self._flags(address)
        self.log.append(Access("read", address, size, value))
        return value

    def _flags(self, address: int) -> int:
        mask = self.status[address].mask
        wanted = self.status[address].flags(self) & mask
        shown = self._shown.setdefault(address, self.initial.get(address, 0) & mask)
        if address not in self.stuck and wanted != shown:
            self._late[address] = (self._late.get(address, 0) + 1) % _READS_UNTIL_SHOWN
            if not self._late[address]:
                self._shown[address] = shown = wanted
        return self[address] & ~mask | shown

    def write(self, address: int, size: int, value: int) -> None:
        """Take a write."""
        self.log.append(Access("write", address, size, value))
        self.written[address] = value


def map_memories(engine: unicorn.Uc, board: Board) -> None:
    """Give an engine the memories of a board, all of them RAM."""
    for memory in board.memories:
        if memory.origin + memory.length <= PERIPHERALS[0]:
            engine.mem_map(memory.origin // 4096 * 4096, memory.length)


def run_start(board: Board, image: Image, registers: Registers) -> int:
    """Run an image's start-up code and return what it returns."""
    engine = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
    engine.ctl_set_cpu_model(MODELS[board.core.architecture])
    map_memories(engine, board)
    for base, length in (PERIPHERALS, PRIVATE):
        engine.mmio_map(
            base,
            length,
            lambda _, offset, size, at: registers.read(at + offset, size),
            base,
            lambda _, offset, size, value, at: registers.write(at + offset, size, value),
            base,
        )
    for section in image.sections:
        engine.mem_write(section.address, section.data or bytes(section.size))
    end = image.symbol(RETURN_SYMBOL).address
    engine.reg_write(arm_const.UC_ARM_REG_SP, image.symbol(STACK_SYMBOL).address)
    engine.reg_write(arm_const.UC_ARM_REG_LR, end | 1)
    engine.emu_start(image.symbol(START_SYMBOL).address | 1, end)
    return int(engine.reg_read(arm_const.UC_ARM_REG_R0))
