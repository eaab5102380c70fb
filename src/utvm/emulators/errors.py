"""What goes wrong with emulators."""

from utvm.errors import UtvmError


class EmulatorError(UtvmError):
    """An emulator is missing, can't be built or does not start."""
