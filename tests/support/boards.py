"""The boards that a test can run on without hardware, and those that people own."""

from utvm.boards import list_boards


def _emulated(kind: str) -> dict:
    return {board.name: board for board in list_boards() if board.emulator is not None and board.emulator.kind == kind}


EMULATED = _emulated("qemu")
RTL = _emulated("rtl")
PHYSICAL = {board.name: board for board in list_boards() if board.emulator is None}
