"""Emulated boards and what they count."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from utvm.emulators.assumed import Assumption, assumptions, get_assumption
    from utvm.emulators.boot import BootedBoard
    from utvm.emulators.errors import EmulatorError
    from utvm.emulators.launch import emulator_target
    from utvm.emulators.qemu import QemuTarget
    from utvm.emulators.rtl import RtlTarget
    from utvm.emulators.substitutes import StandIn, stand_in
else:
    from utvm.lazy import exports

    __getattr__ = exports(__name__, __file__)

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
