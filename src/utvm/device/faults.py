"""What went wrong on the target, from its fault registers.

Sources: Armv7-M Architecture Reference Manual (DDI 0403), B3.2.15 to B3.2.18; Armv6-M (DDI 0419), B1.5.
Other instruction sets have registers for it, see `utvm.cores.TrapRegisters`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from utvm.cores import Core, TrapRegisters
from utvm.device.link import DebugLink, DeviceError, LinkRefusedError
from utvm.toolchain import Image, Location

_CFSR, _HFSR, _MMFAR, _BFAR = 0xE000ED28, 0xE000ED2C, 0xE000ED34, 0xE000ED38
_EXCEPTIONS = {2: "NMI", 3: "HardFault", 4: "MemManage", 5: "BusFault", 6: "UsageFault", 7: "SecureFault", 11: "SVCall",
               12: "DebugMonitor", 14: "PendSV", 15: "SysTick"}  # fmt: skip
_CAUSES = {
    0: "instruction fetch not allowed (MPU or execute-never region)",
    1: "data access not allowed (MPU)",
    3: "MPU violation on exception return",
    4: "MPU violation on exception entry",
    5: "MPU violation during lazy FPU state preservation",
    8: "bus error on instruction fetch",
    9: "bus error on a data access",
    10: "bus error on a data access before this instruction (imprecise)",
    11: "bus error on exception return",
    12: "bus error on exception entry (is the stack pointer outside RAM?)",
    13: "bus error during lazy FPU state preservation",
    16: "undefined instruction",
    17: "invalid state (a jump to an address without the Thumb bit?)",
    18: "invalid exception return",
    19: "coprocessor or FPU not enabled",
    20: "stack overflow (stack limit register)",
    24: "unaligned access",
    25: "division by zero",
}
_MMAR_VALID, _BFAR_VALID = 1 << 7, 1 << 15


class TargetFaultError(DeviceError):
    """The target raised a fault. `pc` is the instruction's address, `address` the one it accessed, where known."""

    def __init__(
        self,
        *,
        function: str,
        fault: str,
        cause: str,
        pc: int | None,
        where: Location | None,
        address: int | None,
    ) -> None:
        self.fault = fault
        self.cause = cause
        self.pc = pc
        self.where = where
        self.address = address
        at = "" if pc is None else f", pc 0x{pc:08x}"
        inside = "" if where is None else f" in {where}"
        touched = "" if address is None else f", address 0x{address:08x}"
        super().__init__(
            f"{fault} while {function} ran: {cause}{at}{inside}{touched}; the board was reset and the image reloaded"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A decoded fault."""

    fault: str
    cause: str
    pc: int | None
    address: int | None

    def error(self, function: str, image: Image) -> TargetFaultError:
        """Return the exception that tells of this fault."""
        where = None if self.pc is None else image.locate(self.pc)
        return TargetFaultError(
            function=function,
            fault=self.fault,
            cause=self.cause,
            pc=self.pc,
            where=where,
            address=self.address,
        )


def read_fault(link: DebugLink, core: Core) -> Fault:
    """Decode the fault of a halted core that stands in its handler."""
    if core.isa.traps is not None:
        return _read_registers(link, core.isa.traps)
    return _read_stacked(link, has_status=core.fault_status)


def _read_stacked(link: DebugLink, *, has_status: bool) -> Fault:
    number = link.read_register("xpsr") & 0x1FF
    fault = _EXCEPTIONS.get(number, f"exception {number}")
    pc = _stacked_pc(link)
    if not has_status:
        return Fault(fault=fault, cause="this core does not tell why", pc=pc, address=None)
    status, hard = _word(link, _CFSR), _word(link, _HFSR)
    causes = [text for bit, text in _CAUSES.items() if status & 1 << bit]
    if hard & 1 << 1:
        causes.append("vector table could not be read")
    if hard & 1 << 31 and not causes:
        causes.append("a debug event (BKPT) without a debugger")
    address = _word(link, _MMFAR) if status & _MMAR_VALID else _word(link, _BFAR) if status & _BFAR_VALID else None
    return Fault(fault=fault, cause=", ".join(causes) or "no cause is recorded", pc=pc, address=address)


def _read_registers(link: DebugLink, traps: TrapRegisters) -> Fault:
    cause, pc, value = link.read_registers((traps.cause, traps.pc, traps.address))
    return Fault(
        fault="exception" if cause in traps.causes else "interrupt",
        cause=traps.causes.get(cause, f"cause {cause}"),
        pc=pc,
        address=value if cause in traps.addressed else None,
    )


def _stacked_pc(link: DebugLink) -> int | None:
    """Return the pc that exception entry stacked (DDI 0403, B1.5.6), or None if the stack can't be read."""
    try:
        return _word(link, link.read_register("sp") + 24)
    except LinkRefusedError:
        return None


def _word(link: DebugLink, address: int) -> int:
    return int(struct.unpack("<I", link.read_memory(address, 4))[0])
