"""Emulated boards and what they count."""

from utvm.emulators.assumptions import ASSUMPTIONS, Assumption, MemoryModel, get_assumption
from utvm.emulators.launch import emulator_target
from utvm.emulators.qemu import EmulatorError, QemuTarget

__all__ = [
    "ASSUMPTIONS",
    "Assumption",
    "EmulatorError",
    "MemoryModel",
    "QemuTarget",
    "emulator_target",
    "get_assumption",
]
