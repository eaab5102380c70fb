"""What `utvm flash` refuses before it touches a board."""

import io
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from utvm.boards import GdbSettings, load_board
from utvm.cli import main
from utvm.deploy import FirmwareError, plan_flash
from utvm.device.firmware import board_layout, runtime_sources
from utvm.toolchain import RESET_SYMBOL, Source, Toolchain

BOARD = "nucleo-l4r5zi"


@cache
def program(board: str = BOARD, *, core: str = BOARD, named: str | None = None, length: int = 100) -> Path:
    """A program in the flash of a board, compiled for the core of another, that says for which it was made."""
    described = load_board(board)
    other = load_board(core).core
    name = f'const char utvm_firmware_board[] __attribute__((used)) = "{named}";\n' if named else ""
    text = f"""\
#include <stdint.h>

const uint8_t table[{length}] __attribute__((used)) = {{1}};
{name}void utvm_reset(void);
void utvm_reset(void) {{ }}
"""
    placement = described.firmware[0]
    toolchain = Toolchain(prefix=other.tool_prefix, machine_flags=other.cflags, extra_flags=("-DUTVM_BOOTS=1",))
    runtime = runtime_sources(replace(described, core=other), placement, boots=True)
    entries = [RESET_SYMBOL, "table", *(["utvm_firmware_board"] if named else [])]
    layout = board_layout(described, placement, boots=True)
    return toolchain.build([*runtime, Source(name="main.c", text=text)], layout, entries=entries).path


def refused(path: Path, board: str = BOARD) -> str:
    with pytest.raises(FirmwareError) as told:
        plan_flash(path, board)
    return str(told.value)


def test_what_will_be_overwritten_is_known() -> None:
    plan = plan_flash(program(named=BOARD), BOARD)
    (segment,) = plan.segments
    assert segment.address == 0x08000000
    assert plan.described == (f"0x08000000 to 0x{segment.end - 1:08x} of flash ({len(segment.data):,} B)",)


def test_a_program_of_somebody_else_may_be_programmed_too() -> None:
    assert plan_flash(program(), BOARD).nbytes > 100


def test_the_firmware_of_another_board_is_refused() -> None:
    said = refused(program(named="nucleo-u575zi-q"))
    assert said.endswith(f"is the firmware of board 'nucleo-u575zi-q', not of '{BOARD}'")


def test_code_for_another_core_is_refused() -> None:
    said = refused(program(core="nucleo-u575zi-q"))
    assert f"has code that the cortex-m4 of board '{BOARD}' can't execute" in said
    assert plan_flash(program(core="raspberry-pi-pico"), BOARD).nbytes > 100  # Armv6-M runs on every later core


def test_what_lies_elsewhere_is_refused() -> None:
    assert "0x08000000, where board 'nrf52840-dk' has no memory" in refused(program(), "nrf52840-dk")
    assert "where board 'stm32f746g-disco' has no memory" in refused(program(length=1 << 20), "stm32f746g-disco")


def test_a_program_in_ram_is_refused(tmp_path: Path) -> None:
    board = load_board(BOARD)
    toolchain = Toolchain(prefix=board.core.tool_prefix, machine_flags=board.core.cflags)
    text = "void utvm_start(void);\nvoid utvm_start(void) { }\n"
    source = Source(name="main.c", text=text)
    path = toolchain.build([source], board_layout(board, board.placements[0]), entries=["utvm_start"]).path
    assert "a firmware must lie in flash" in refused(path)


def test_a_link_that_can_t_program_flash_is_refused() -> None:
    board = load_board(BOARD)
    served = replace(board, link=replace(board.link, kind="gdb", gdb=GdbSettings(endpoint="localhost:1")))
    with pytest.raises(FirmwareError, match=r"GDB link of board .* can't program flash: use one of OpenOCD"):
        plan_flash(program(), served)
    assert plan_flash(program(), served, link="pyocd").board.link.kind == "pyocd"


def test_what_is_no_program_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"something else", program().read_bytes()[:200]):
        path = tmp_path / "program.elf"
        path.write_bytes(content)
        with pytest.raises(FirmwareError):
            plan_flash(path, BOARD)
    assert "can't be read" in refused(tmp_path / "missing.elf")


@pytest.mark.parametrize(("answer", "terminal"), [("n\n", True), ("\n", True), ("", True), ("yes\n", False)])
def test_without_yes_somebody_has_to_agree(
    answer: str, terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = io.StringIO(answer)
    monkeypatch.setattr(typed, "isatty", lambda: terminal)
    monkeypatch.setattr("sys.stdin", typed)
    assert main(["flash", str(program(named=BOARD)), "--board", BOARD]) == 2
    shown = capsys.readouterr()
    assert "erases the sectors under 0x08000000 to" in shown.out
    assert shown.err.startswith("utvm: nothing was programmed")


def test_a_board_that_is_not_there_is_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["flash", str(program(named=BOARD)), "--board", BOARD, "--yes"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "the board can't be reached" in said or "OpenOCD does not reach the board" in said
