"""Flash programmed through stock OpenOCD: its command, on a flash driver that only pretends; and what has no flash."""

import random
from dataclasses import replace

import pytest

from tests.support.chip.process import ChipProcess, board_file
from utvm.boards import Board, load_board
from utvm.device import DebugLink, FlashProgrammer, LinkRefusedError, link_opener

FLASH = 0x08000000
DATA = random.Random(1).randbytes(10_000)
CORE = pytest.mark.parametrize("core", ["cortex-m7"])


def opened(chip: ChipProcess, board: Board) -> DebugLink:
    return link_opener(board)(str(chip.pins))


@CORE
def test_a_range_of_a_bank_is_programmed(chip: ChipProcess, core: str) -> None:
    board = load_board(board_file(core), trust=True)
    assert board.link.openocd is not None
    pretending = replace(board.link.openocd, commands=(f"flash bank pretended faux {FLASH:#x} 0x40000 2 2 chip.cpu",))
    link = opened(chip, replace(board, link=replace(board.link, openocd=pretending)))
    try:
        assert isinstance(link, FlashProgrammer)
        link.program_flash(FLASH + 0x20000, DATA)
        link.write_memory(0x20000000, DATA)
        assert link.read_memory(0x20000000, len(DATA)) == DATA
    finally:
        link.close()


@CORE
def test_what_has_no_flash_is_told(chip: ChipProcess, core: str) -> None:
    link = opened(chip, load_board(board_file(core), trust=True))
    try:
        assert isinstance(link, FlashProgrammer)
        with pytest.raises(LinkRefusedError, match="can't be programmed"):
            link.program_flash(FLASH, DATA)
    finally:
        link.close()
