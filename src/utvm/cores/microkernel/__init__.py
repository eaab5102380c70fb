"""Micro-kernels: straight-line code over virtual registers, scheduled for a core and given physical registers."""

from utvm.cores.microkernel.block import Block
from utvm.cores.microkernel.known import code_cycles
from utvm.cores.microkernel.schedule import Scheduled, ScheduleError, schedule

__all__ = ["Block", "ScheduleError", "Scheduled", "code_cycles", "schedule"]
