"""Boards of the user's own: `utvm boards add`, the user's directory, and the check against a connected board."""

import io
import json
import sys
from pathlib import Path

import pytest

from tests.support.boards import EMULATED, PHYSICAL
from utvm import api, cli
from utvm.boards import BoardError, load_board, user_boards
from utvm.device import check_connected

FACTS = ("--core", "cortex-m4", "--clock", "16M", "--ram", "0x20000000+128K", "--openocd", "board/st_nucleo_f4.cfg")


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's directory of boards, empty."""
    monkeypatch.setenv("UTVM_BOARDS", str(tmp_path / "boards"))
    return tmp_path / "boards"


def add(*arguments: str) -> int:
    return cli.main(["boards", "add", *arguments])


def test_a_board_from_flags_is_found_by_its_name(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert add("mine", *FACTS, "--ram", "0x10000000+64K", "--flash", "0x08040000+256K", "--pyocd", "stm32f4") == 0
    assert f"{directory / 'mine.toml'}: board 'mine', cortex-m4" in capsys.readouterr().out
    board = load_board("mine")
    assert (board.core.name, board.clock_hz, board.cycle_counter, board.silicon) == (
        "cortex-m4",
        16_000_000,
        "dwt",
        "never run",
    )
    assert [(place.code.name, place.constants.name, place.data.name) for place in board.placements] == [
        ("ram0", "ram0", "ram1"),
        ("ram0", "flash0", "ram1"),
    ]
    assert board.link.described == ("openocd", "pyocd")
    assert [found.name for found in user_boards()] == ["mine"]
    assert cli.main(["boards", "--json"]) == 0
    listed = {entry["name"]: entry["kind"] for entry in json.loads(capsys.readouterr().out)}
    assert listed["mine"] == "physical, never run on silicon"


def test_a_board_of_a_described_part_needs_only_its_link() -> None:
    assert add("desk", "--part", "rp2040", "--gdb", "localhost:2331") == 0
    board, pico = load_board("desk"), PHYSICAL["raspberry-pi-pico"]
    assert (board.clock, board.memories, board.cycle_counter) == (pico.clock, pico.memories, "systick")
    assert board.link.kind == "gdb"


@pytest.mark.parametrize(("core", "counter"), [("cortex-m0", "systick"), ("rv32imc", "mcycle"), ("cortex-m85", "dwt")])
def test_the_cycle_counter_is_the_core_s(core: str, counter: str) -> None:
    assert add("mine", "--core", core, "--clock", "8M", "--ram", "0x20000000+32K", "--pyocd", "x") == 0
    assert load_board("mine").cycle_counter == counter


def test_an_image_links_for_it() -> None:
    assert add("mine", *FACTS, "--ram", "0x10000000+64K") == 0
    compiled = api.compile(Path("examples/cifar10/cifar10_cnn.tflite"), "mine", small=True)
    assert {s.address >> 28 for s in compiled.image.sections} == {1, 2}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("mine",), ("more is needed", "a part (", "the ranges of RAM", "the clock", "a debug link")),
        (("mine", "--part", "rp2040"), ("a debug link",)),
        (("mine", "--part", "z80", "--pyocd", "x"), ("'z80'", "rp2040")),
        (("mine", *FACTS, "--ram", "0x20000000+4K"), ("'ram0' and 'ram1' overlap",)),
        (("mine", "--core", "m4", "--clock", "1M", "--ram", "0+64K", "--pyocd", "x"), ("no core is named 'm4'",)),
        (("qemu-cortex-m7", *FACTS), ("comes with µTVM",)),
        (("no way", *FACTS), ("can't name a board",)),
    ],
)
def test_what_is_wrong_is_told_and_nothing_is_written(
    arguments: tuple[str, ...], expected: tuple[str, ...], directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert add(*arguments) == 2
    said = capsys.readouterr().err
    assert all(words in said for words in expected), said
    assert not list(directory.glob("*"))


def test_a_file_that_is_there_is_left_alone(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert add("mine", *FACTS) == 0
    before = (directory / "mine.toml").read_bytes()
    assert add("mine", "--part", "rp2040", "--pyocd", "rp2040") == 2
    assert "is there already" in capsys.readouterr().err
    assert (directory / "mine.toml").read_bytes() == before


@pytest.mark.parametrize("bad", [("--ram", "64K"), ("--ram", "x+64K"), ("--clock", "fast"), ("--clock", "0")])
def test_numbers_that_are_none_are_usage_errors(bad: tuple[str, str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        add("mine", *bad)
    assert stopped.value.code == 2


class Terminal(io.StringIO):
    """Answers, typed at a terminal."""

    def isatty(self) -> bool:
        return True


def test_what_no_option_says_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [
        'my "own" board',
        "",
        "cortex-m33",
        "soon",
        "4M",
        "0x20000000+256K 0x20040000+64K",
        "",
        "a.cfg b.cfg",
        "",
    ]
    monkeypatch.setattr(sys, "stdin", Terminal("\n".join(answers) + "\n"))
    assert add("asked") == 0
    board = load_board("asked")
    assert board.description == 'my "own" board'
    assert (board.core.name, board.clock_hz, len(board.memories)) == ("cortex-m33", 4_000_000, 2)
    assert board.link.openocd is not None
    assert board.link.openocd.config == ("a.cfg", "b.cfg")


def test_answers_that_end_are_no_endless_question(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("\n"))
    assert add("asked") == 2
    assert "more is needed" in capsys.readouterr().err


@pytest.mark.parametrize("name", [*PHYSICAL, "qemu-cortex-m7"])
def test_show_prints_all_that_is_known(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    board = {**PHYSICAL, **EMULATED}[name]
    assert cli.main(["boards", "show", name]) == 0
    text = capsys.readouterr().out
    assert ("never run on silicon" in text) == (board.emulator is None)
    for words in (*(memory.name for memory in board.memories), *board.sources, *board.unverified, board.core.name):
        assert words in text
    assert all(str(operation) in text for operation in board.clock)
    assert cli.main(["boards", "show", name, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert len(shown["clock"]) == len(board.clock)
    assert shown["links"].keys() <= {"gdb", "openocd", "pyocd"}


def test_an_emulator_is_not_checked() -> None:
    with pytest.raises(BoardError, match="nothing to check"):
        check_connected(load_board("qemu-cortex-m7"))
