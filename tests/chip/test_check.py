"""A board's file against a chip that is connected, and what a check leaves as it was."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.support.chip.process import ChipProcess, board_file
from utvm.boards import Board, Memory, load_board
from utvm.cores import get_core
from utvm.device import DebugLink, check_board, link_opener


def board_of(core: str) -> Board:
    return replace(load_board(board_file(core), trust=True), cycle_counter="dwt")


@pytest.fixture
def link(chip: ChipProcess, core: str) -> Iterator[DebugLink]:
    opened = link_opener(board_of(core))(str(chip.pins))
    try:
        yield opened
    finally:
        opened.close()


@pytest.mark.parametrize("core", ["cortex-m7", "cortex-m4", "cortex-m33"])
def test_a_right_description_holds(link: DebugLink, core: str) -> None:
    checks = check_board(board_of(core), link)
    assert all(check.holds for check in checks), checks
    assert len(checks) == 2 + len(board_of(core).memories)


@pytest.mark.parametrize("core", ["cortex-m7"])
def test_what_differs_is_told(link: DebugLink) -> None:
    board = board_of("cortex-m7")
    large = Memory(name="large", kind="ram", origin=0x24000000, length=0x800000)
    absent = Memory(name="absent", kind="ram", origin=0x90000000, length=0x1000)
    wrong = replace(board, core=get_core("cortex-m33"), memories=(*board.memories[:2], large, absent))
    checks = {check.what.split(",")[0]: check for check in check_board(wrong, link)}
    core = checks["the core is a cortex-m33"]
    assert core.found.startswith("CPUID 0x411fc27")
    assert core.found.endswith("Cortex-M7")
    assert not core.holds
    assert checks["itcm"].holds
    assert checks["large"].found == "0x247ffffc can't be read"
    assert checks["absent"].found == "0x90000000 can't be read, 0x90000ffc can't be read"
    assert not checks["large"].holds


class OnlyReading:
    """A link that refuses whatever would change the board."""

    def __init__(self, link: DebugLink) -> None:
        self._link = link

    def __getattr__(self, name: str) -> object:
        assert name in ("halt", "read_memory", "read_register", "read_registers"), f"a check must not {name}"
        return getattr(self._link, name)


@pytest.mark.parametrize("core", ["cortex-m4"])
def test_a_check_only_reads(link: DebugLink, core: str) -> None:
    assert check_board(board_of(core), OnlyReading(link))  # type: ignore[arg-type]


@pytest.mark.parametrize("core", ["cortex-m7"])
def test_the_command_checks_the_connected_board(
    chip: ChipProcess, core: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from utvm import cli
    from utvm.device import AttachedTarget

    monkeypatch.setattr(AttachedTarget, "start", lambda self: str(chip.pins))
    assert cli.main(["boards", "check", "--trust-board", str(board_file(core))]) == 0
    assert "the core is a cortex-m7: CPUID 0x" in capsys.readouterr().out
