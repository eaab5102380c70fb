"""The instructions of a core, by Unicorn. It knows registers, memory and where to stop; nothing of exceptions or debug.

What Unicorn lacks and this file adds: exact counts of instructions, division by zero as a fault, the FPU that is
switched off, and code that changes under it (translations stay until `forget` is called, as lines of an instruction
cache would). What is lacking still: alignment faults, the MPU, interrupts, PRIMASK and BASEPRI.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

import unicorn
from unicorn import arm_const

from tests.support.chip.memory import Memory
from tests.support.chip.pricing import Pricing

PERIPHERAL_BUS, PERIPHERAL_BYTES = 0xE0000000, 0x100000
_MASK = 0xFFFFFFFF
_NOWHERE = 0xFFFFFFF0
_THUMB = 1 << 24
_HANDLER_MASK = 0x1FF
_RETURN = 0xFF000000
# Unicorn's numbers of exceptions are QEMU's of target/arm/cpu.h.
_EXCP_SWI, _EXCP_BKPT, _EXCP_EXIT = 2, 7, 8


class Why(Enum):
    """Why the core stopped."""

    SLICE = auto()  # it has run as many instructions as it was to
    BREAKPOINT = auto()  # it is at a breakpoint
    BKPT = auto()  # it is at a BKPT instruction
    SUPERVISOR_CALL = auto()  # it is behind an SVC
    EXCEPTION_RETURN = auto()  # it has branched to an EXC_RETURN value
    SLEEP = auto()  # it is behind a WFI or WFE
    FETCH = auto()  # nothing to execute at pc
    UNDEFINED = auto()  # an undefined instruction, or no Thumb bit
    NO_COPROCESSOR = auto()  # an FPU instruction while the FPU is off
    DIVISION = auto()  # a division by zero that is to be trapped
    LOAD = auto()  # a load from nowhere
    STORE = auto()  # a store to nowhere


@dataclass(frozen=True, slots=True)
class Stop:
    """Why and, for loads and stores, at which address."""

    why: Why
    address: int = 0


class Engine:
    """One core.

    Args:
        model: Unicorn's name of it.
        memory: its memories.
        read_register, write_register: how loads and stores reach registers, by address and size.
        programs: whether a store to memory that is not writable, of bytes at an address, goes there all the same.
        registers: where registers are besides the private peripheral bus, as (first address, bytes).
    """

    def __init__(
        self,
        model: str,
        memory: Memory,
        read_register: Callable[[int, int], int],
        write_register: Callable[[int, int, int], None],
        *,
        programs: Callable[[int, bytes], bool] = lambda _address, _data: False,
        registers: Sequence[tuple[int, int]] = (),
    ) -> None:
        self.breakpoints: frozenset[int] = frozenset()
        self.division_traps = False
        self.fpu_enabled = False
        self._memory = memory
        self._programs = programs
        self._uc = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
        self._uc.ctl_set_cpu_model(getattr(arm_const, f"UC_CPU_ARM_{model}"))
        for position, bank in enumerate(memory.banks):
            rights = unicorn.UC_PROT_ALL if bank.writable else unicorn.UC_PROT_READ | unicorn.UC_PROT_EXEC
            place = ctypes.c_void_p(memory.host_address(position))
            self._uc.mem_map_ptr(bank.origin, bank.length, rights, place)
        for base, length in ((PERIPHERAL_BUS, PERIPHERAL_BYTES), *registers):
            self._uc.mmio_map(
                base,
                length,
                lambda _uc, offset, size, origin: read_register(origin + offset, size),
                base,
                lambda _uc, offset, size, value, origin: write_register(origin + offset, size, value),
                base,
            )
        self._uc.hook_add(unicorn.UC_HOOK_INTR, self._on_exception)
        self._uc.hook_add(unicorn.UC_HOOK_INSN_INVALID, self._on_invalid)
        self._uc.hook_add(unicorn.UC_HOOK_MEM_INVALID, self._on_bad_access)
        self._uc.hook_add(unicorn.UC_HOOK_BLOCK, self._on_block)
        self._uc.ctl_exits_enabled(True)
        self._exits: frozenset[int] | None = None
        self._stop_wanted = False
        self._pricing: Pricing | None = None
        self._count = 0  # up to the end of the block that runs
        self._block = (0, 0)
        self._blocks: dict[tuple[int, int], int] = {}
        self._translated: set[int] = set()
        self._watched: dict[int, int] = {}
        self._stop: Stop | None = None

    @property
    def instructions(self) -> int:
        """Instructions executed since the chip was made; while the core runs, to the end of a block of them."""
        return self._count

    @property
    def cycles(self) -> int:
        """What the cycle counter counts: instructions, unless `price` says otherwise."""
        return self._count if self._pricing is None else int(self._pricing.cycles)

    def price(self, pricing: Pricing) -> None:
        """Count cycles by a pipeline from here on."""
        if self._pricing is None:
            kinds = unicorn.UC_HOOK_MEM_READ | unicorn.UC_HOOK_MEM_WRITE
            self._uc.hook_add(kinds, self._on_access)
        self._pricing = pricing

    @property
    def pc(self) -> int:
        """The program counter."""
        return int(self._uc.reg_read(arm_const.UC_ARM_REG_PC)) & ~1

    def read(self, selector: int) -> int:
        """Return the register that DCRSR would select; registers that there are not read as zero."""
        if selector == _CONTROL_AND_MASKS:
            return (int(self._uc.reg_read(arm_const.UC_ARM_REG_CONTROL)) & 7) << 24
        number = _REGISTERS.get(selector)
        return 0 if number is None else int(self._uc.reg_read(number)) & _MASK

    def write(self, selector: int, value: int) -> None:
        """Set the register that DCRSR would select."""
        if selector == _CONTROL_AND_MASKS:
            self._uc.reg_write(arm_const.UC_ARM_REG_CONTROL, value >> 24 & 7)
        elif selector == PC:
            self._jump(value & ~1, thumb=bool(self.read(XPSR) & _THUMB))
        elif selector in _REGISTERS:
            self._uc.reg_write(_REGISTERS[selector], value)

    def branch(self, address: int) -> None:
        """Set pc and, from its lowest bit, the Thumb bit."""
        self._jump(address & ~1, thumb=bool(address & 1))

    def _jump(self, address: int, *, thumb: bool) -> None:
        self._uc.reg_write(arm_const.UC_ARM_REG_PC, address | 1)
        state = int(self._uc.reg_read(arm_const.UC_ARM_REG_XPSR))
        self._uc.reg_write(arm_const.UC_ARM_REG_XPSR, state | _THUMB if thumb else state & ~_THUMB)

    def forget(self, blocks: Iterable[int]) -> None:
        """Drop translations of code in blocks of memory, as the invalidation of an instruction cache does."""
        touched = self._translated.intersection(blocks)
        for block in touched:
            self._uc.ctl_remove_cache(block * Memory.BLOCK, (block + 1) * Memory.BLOCK)
        if touched:
            self._blocks.clear()
            self._translated -= touched

    def stop(self) -> None:
        """End `run` soon; for the functions that read and write registers."""
        self._uc.emu_stop()

    def stop_before_next_block(self) -> None:
        """End `run` before the next block of code; a store that stopped it at once would be executed again."""
        self._stop_wanted = True

    def run(self, instructions: int) -> Stop:
        """Execute up to a number of instructions."""
        start = self.pc
        thumb = bool(self.read(XPSR) & _THUMB)
        if not thumb:
            return Stop(Why.UNDEFINED)
        if start >= _RETURN:
            return Stop(Why.EXCEPTION_RETURN if self.read(XPSR) & _HANDLER_MASK else Why.FETCH, start)
        if start in self.breakpoints:
            return Stop(Why.BREAKPOINT)
        self._arm(self.breakpoints)
        before, self._stop = self._count, None
        self._block = (start, 0)
        try:
            self._uc.emu_start(start | 1, 0, count=instructions)
        except unicorn.UcError:
            if self._stop is None:
                raise
        pc = self.pc
        self._correct_count(pc)
        if self._stop is not None:
            return self._stop
        if pc in self.breakpoints:
            return Stop(Why.BREAKPOINT)
        return Stop(Why.SLEEP if self._count - before < instructions and self._slept(pc) else Why.SLICE)

    def _arm(self, breakpoints: Collection[int]) -> None:
        wanted = frozenset(breakpoints)
        if wanted == self._exits:
            return
        # Translations end at exits: those made without an exit inside must go.
        changed = wanted ^ (self._exits or frozenset())
        self._uc.ctl_set_exits(sorted(wanted) or [_NOWHERE])
        self._exits = wanted
        self.forget(address // Memory.BLOCK for address in changed)

    def _correct_count(self, pc: int) -> None:
        """Take back the instructions of the last block that were not reached."""
        start, size = self._block
        if start <= pc < start + size:
            self._count -= len(self._decode(pc, start + size - pc))

    def _slept(self, pc: int) -> bool:
        return pc >= 2 and self._code(pc - 2, 2) in (b"\x30\xbf", b"\x20\xbf")

    def _code(self, address: int, size: int) -> bytes:
        try:
            return bytes(self._uc.mem_read(address, size))
        except unicorn.UcError:
            return b""

    def _decode(self, address: int, size: int) -> list[tuple[int, bytes]]:
        """Return address and bytes of each instruction of a block (DDI 0403, A5.1)."""
        code = self._code(address, size)
        found, position = [], 0
        while position < len(code):
            length = 4 if code[position + 1 : position + 2] >= b"\xe8" else 2
            found.append((address + position, code[position : position + length]))
            position += length
        return found

    def _on_block(self, uc: unicorn.Uc, address: int, size: int, _data: object) -> None:
        if self._stop is not None:
            return
        if self._stop_wanted:
            self._stop_wanted = False
            self._stop, self._block = Stop(Why.SLICE), (address, 0)
            uc.emu_stop()
            return
        count = self._blocks.get((address, size))
        if count is None:
            found = self._decode(address, size)
            count = self._blocks[address, size] = len(found)
            self._translated.update(range(address // Memory.BLOCK, (address + size - 1) // Memory.BLOCK + 1))
            if self._watch(instruction for instruction in found if _divides(instruction[1])):
                # The block is translated already, without these hooks: translate it again.
                del self._blocks[address, size]
                uc.ctl_remove_cache(address, address + size)
                self._stop, self._block = Stop(Why.SLICE), (address, 0)
                uc.emu_stop()
                return
        if not self.fpu_enabled:
            first = next((where for where, code in self._decode(address, size) if _uses_fpu(code)), None)
            if first == address:
                self._stop, self._block = Stop(Why.NO_COPROCESSOR), (address, 0)
                uc.emu_stop()
                return
            if first is not None and self._watch([(first, b"")]):
                uc.ctl_remove_cache(address, address + size)
                self._stop, self._block = Stop(Why.SLICE), (address, 0)
                uc.emu_stop()
                return
        self._count += count
        self._block = (address, size)
        if self._pricing is not None:
            self._pricing.block(address, size, count)

    def _on_access(self, _uc: unicorn.Uc, kind: int, address: int, size: int, _value: int, _data: object) -> None:
        if self._pricing is not None:
            self._pricing.access(address, size, store=kind == unicorn.UC_MEM_WRITE)

    def _watch(self, instructions: Iterable[tuple[int, bytes]]) -> bool:
        """Hook instructions that may have to be stopped at; return whether any is new."""
        new = [address for address, _ in instructions if address not in self._watched]
        for address in new:
            self._watched[address] = self._uc.hook_add(
                unicorn.UC_HOOK_CODE, self._on_watched, begin=address, end=address
            )
        return bool(new)

    def _on_watched(self, uc: unicorn.Uc, address: int, _size: int, _data: object) -> None:
        code = self._code(address, 4)
        if _divides(code) and self.division_traps and self.read(code[2] & 15) == 0:
            self._stop = Stop(Why.DIVISION)
        elif _uses_fpu(code) and not self.fpu_enabled:
            self._stop = Stop(Why.NO_COPROCESSOR)
        else:
            return
        uc.emu_stop()

    def _on_exception(self, uc: unicorn.Uc, number: int, _data: object) -> None:
        why = {_EXCP_BKPT: Why.BKPT, _EXCP_SWI: Why.SUPERVISOR_CALL, _EXCP_EXIT: Why.EXCEPTION_RETURN}
        self._stop = Stop(why.get(number, Why.UNDEFINED))
        uc.emu_stop()

    def _on_invalid(self, _uc: unicorn.Uc, _data: object) -> bool:
        self._stop = self._stop or Stop(Why.UNDEFINED)
        return False

    def _on_bad_access(self, _uc: unicorn.Uc, kind: int, address: int, size: int, value: int, _data: object) -> bool:
        if kind == unicorn.UC_MEM_WRITE_PROT and self._programs(address, (value & _MASK).to_bytes(8, "little")[:size]):
            return True
        why = {
            unicorn.UC_MEM_FETCH_UNMAPPED: Why.FETCH,
            unicorn.UC_MEM_FETCH_PROT: Why.FETCH,
            unicorn.UC_MEM_WRITE_UNMAPPED: Why.STORE,
            unicorn.UC_MEM_WRITE_PROT: Why.STORE,
        }
        self._stop = Stop(why.get(kind, Why.LOAD), address)
        return False


def _divides(code: bytes) -> bool:
    """SDIV and UDIV (DDI 0403, A5.3.17)."""
    return len(code) == 4 and code[1] == 0xFB and code[0] & 0xD0 == 0x90 and code[3] & 0xF0 == 0xF0


def _uses_fpu(code: bytes) -> bool:
    """Coprocessor instructions of coprocessors 10 and 11 (DDI 0403, A5.3.18)."""
    return len(code) == 4 and code[1] & 0xEC == 0xEC and code[3] & 0x0E == 0x0A


SP, LR, PC, XPSR, MSP, PSP = 13, 14, 15, 16, 17, 18
FPSCR, FIRST_SINGLE = 33, 64
"""Selectors of DCRSR (DDI 0403, C1.6.3)."""

_CONTROL_AND_MASKS = 20
_REGISTERS = {
    **{number: getattr(arm_const, f"UC_ARM_REG_R{number}") for number in range(13)},
    SP: arm_const.UC_ARM_REG_SP,
    LR: arm_const.UC_ARM_REG_LR,
    PC: arm_const.UC_ARM_REG_PC,
    XPSR: arm_const.UC_ARM_REG_XPSR,
    MSP: arm_const.UC_ARM_REG_MSP,
    PSP: arm_const.UC_ARM_REG_PSP,
    FPSCR: arm_const.UC_ARM_REG_FPSCR,
    **{FIRST_SINGLE + number: getattr(arm_const, f"UC_ARM_REG_S{number}") for number in range(32)},
}
