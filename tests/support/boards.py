"""The boards that a test can run on without hardware, and those that people own."""

from utvm.boards import list_boards

EMULATED = {board.name: board for board in list_boards() if board.emulator is not None}
PHYSICAL = {board.name: board for board in list_boards() if board.emulator is None}
