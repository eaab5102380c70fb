"""Emulated boards and what they count."""

from utvm.emulators.assumptions import Assumption, assumptions, get_assumption
from utvm.emulators.launch import emulator_target
from utvm.emulators.qemu import EmulatorError, QemuTarget

__all__ = [
    "Assumption",
    "EmulatorError",
    "QemuTarget",
    "assumptions",
    "emulator_target",
    "get_assumption",
]
