"""Emulated boards and what they count."""

from utvm.emulators.assumptions import Assumption, assumptions, get_assumption
from utvm.emulators.boot import BootedBoard
from utvm.emulators.errors import EmulatorError
from utvm.emulators.launch import emulator_target
from utvm.emulators.qemu import QemuTarget
from utvm.emulators.rtl import RtlTarget
from utvm.emulators.stand_in import StandIn, stand_in

__all__ = [
    "Assumption",
    "BootedBoard",
    "EmulatorError",
    "QemuTarget",
    "RtlTarget",
    "StandIn",
    "assumptions",
    "emulator_target",
    "get_assumption",
    "stand_in",
]
