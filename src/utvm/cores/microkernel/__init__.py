"""Micro-kernels: straight-line code over virtual registers, scheduled for a core and given physical registers."""

from utvm.cores.microkernel.block import Block
from utvm.cores.microkernel.list_scheduler import Scheduled, ScheduleError, schedule
from utvm.cores.microkernel.memo import code_cycles

__all__ = ["Block", "ScheduleError", "Scheduled", "code_cycles", "schedule"]
