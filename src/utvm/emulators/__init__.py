"""Emulated boards and what they count."""

from utvm.emulators.qemu import EmulatorError, QemuTarget

__all__ = ["EmulatorError", "QemuTarget"]
