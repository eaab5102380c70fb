"""A board's file names programs: those of strangers run when somebody says so, and never before."""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

import utvm
from utvm import api
from utvm.boards import BoardError, load_board, programs, require_trust
from utvm.cli import main
from utvm.demo import EXAMPLE
from utvm.device import check_connected
from utvm.errors import UtvmError
from utvm.fleet import Fleet, run_worker
from utvm.model_tuning import tune

M7 = (files("utvm.boards") / "qemu-cortex-m7.toml").read_text(encoding="utf-8")
DESK = (files("utvm.boards") / "nucleo-f746zg.toml").read_text(encoding="utf-8")
OURS = 'config = ["board/st_nucleo_f7.cfg"]'


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's directory of boards, empty."""
    monkeypatch.setenv("UTVM_BOARDS", str(tmp_path / "boards"))
    (tmp_path / "boards").mkdir()
    return tmp_path / "boards"


def program_of(tmp_path: Path) -> tuple[Path, Path]:
    """A board whose emulator leaves a mark, and the mark."""
    mark, program = tmp_path / "mark", tmp_path / "emulator.sh"
    program.write_text(f"#!/bin/sh\ntouch {mark}\n")
    program.chmod(0o755)
    board = tmp_path / "given.toml"
    board.write_text(M7.replace('"qemu-system-arm"', f'"{program}"'))
    return board, mark


def file_of(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "given.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("command", ["run", "profile", "bench", "tune", "export", "fleet"])
def test_no_command_runs_what_a_given_file_names(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board, mark = program_of(tmp_path)
    np.save(tmp_path / "zeros.npy", np.zeros((1, 32, 32, 3), np.int8))
    arguments = {
        "run": ["run", str(EXAMPLE), "--input", str(tmp_path / "zeros.npy"), "--board", str(board)],
        "profile": ["profile", str(EXAMPLE), "--board", str(board)],
        "bench": ["bench", "layers", "--board", str(board)],
        "tune": ["tune", str(EXAMPLE), "--board", str(board), "--db", str(tmp_path / "records.sqlite")],
        "export": ["export", str(EXAMPLE), "--board", str(board), "--output", str(tmp_path / "exported")],
        "fleet": ["fleet", "worker", "--scheduler", "tcp://127.0.0.1:1", "--boards", str(board)],
    }[command]
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert f"{tmp_path / 'emulator.sh'} -M mps2-an500" in said
    assert "--trust-board" in said
    assert "Traceback" not in said
    assert not mark.exists()


def test_the_python_interface_neither(tmp_path: Path) -> None:
    board, mark = program_of(tmp_path)
    with pytest.raises(BoardError, match="trust=True"):
        utvm.connect(board)
    with pytest.raises(BoardError, match="names programs"):
        tune(EXAMPLE, board, database=tmp_path / "records.sqlite")
    with pytest.raises(BoardError, match="names programs"):
        run_worker(Fleet(address="tcp://127.0.0.1:1"), [load_board(board)], say=print)
    assert not mark.exists()
    with pytest.raises(UtvmError):  # it is no emulator
        utvm.connect(board, trust_board=True)
    assert mark.exists()


def test_what_is_trusted_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    board = file_of(
        tmp_path, M7.replace('machine = "mps2-an500"', 'machine = "mps2-an500"\narguments = ["-nodefaults"]')
    )
    np.save(tmp_path / "zeros.npy", np.zeros((1, 32, 32, 3), np.int8))
    run = ["run", str(EXAMPLE), "--board", str(board), "--input", str(tmp_path / "zeros.npy")]
    assert main(run) == 2
    assert main([*run, "--trust-board"]) == 0


def test_compiling_and_showing_run_nothing_and_ask_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    board, mark = program_of(tmp_path)
    assert api.compile(EXAMPLE, board).board.name == "given"
    assert main(["boards", "show", str(board)]) == 0
    said = capsys.readouterr().out
    assert "what it runs on this machine, if trusted" in said
    assert "emulator.sh -M mps2-an500" in said
    assert not mark.exists()


def test_a_check_of_a_board_on_the_desk_asks_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = file_of(tmp_path, DESK.replace(OURS, f'{OURS}\ncommands = ["exec touch {tmp_path / "mark"}"]'))
    assert main(["boards", "check", str(path)]) == 2
    assert f"openocd -f board/st_nucleo_f7.cfg -c 'exec touch {tmp_path / 'mark'}'" in capsys.readouterr().err
    with pytest.raises(BoardError, match="names programs"):
        check_connected(load_board(path))


@pytest.mark.parametrize(
    "text",
    [
        M7,  # another file with the emulator of one of ours, and with the links of one
        DESK,
        DESK.replace(OURS, f'{OURS}\nprobe = "066AFF"'),
        DESK.replace(OURS, 'endpoint = "localhost:6666"'),
    ],
)
def test_files_without_programs_of_their_own_need_no_trust(text: str, tmp_path: Path) -> None:
    board = load_board(file_of(tmp_path, text))
    assert not programs(board)
    require_trust(board)


@pytest.mark.parametrize(
    "settings",
    [
        'config = ["board/st_nucleo_f7.cfg", "/tmp/more.cfg"]',
        'config = ["../board/st_nucleo_f7.cfg"]',
        f'{OURS}\ncommands = ["shutdown"]',
    ],
)
def test_every_setting_of_openocd_counts_whatever_link_is_in_use(settings: str, tmp_path: Path) -> None:
    board = load_board(file_of(tmp_path, DESK.replace(OURS, settings))).linked_by("pyocd")
    with pytest.raises(BoardError, match="openocd -f"):
        require_trust(board)


def test_a_file_beside_the_board_is_not_openocd_s_own(tmp_path: Path) -> None:
    (tmp_path / "board").mkdir()
    (tmp_path / "board" / "st_nucleo_f7.cfg").write_text("exec touch /tmp/mark\n")
    with pytest.raises(BoardError, match="names programs"):
        require_trust(load_board(file_of(tmp_path, DESK)))


def test_the_user_s_own_directory_is_trusted_by_name_and_by_path(tmp_path: Path, directory: Path) -> None:
    board, _ = program_of(tmp_path)
    own = Path(shutil.move(board, directory / "mine.toml"))
    link = tmp_path / "link.toml"
    link.symlink_to(own)
    for found in (load_board("mine"), load_board(own), load_board(str(own)), load_board(link)):
        assert programs(found)
        require_trust(found)


def test_what_would_run_can_be_read_on_a_terminal(tmp_path: Path) -> None:
    board = load_board(
        file_of(tmp_path, M7.replace('"qemu-system-arm"', '"qemu"\narguments = ["x\\u001b[2K\\u202e\\nls"]'))
    )
    with pytest.raises(BoardError) as told:
        require_trust(board)
    assert "\\x1b[2K\\u202e\\nls" in str(told.value)
    assert all(letter.isprintable() or letter == "\n" for letter in str(told.value))


@pytest.mark.parametrize("probe", ["1}; exec ls; #{", "a b", "x\ny"])
def test_a_serial_number_is_no_command(probe: str, tmp_path: Path) -> None:
    path = file_of(tmp_path, DESK.replace(OURS, f"{OURS}\nprobe = {probe!r}".replace("'", '"')))
    with pytest.raises(BoardError, match="not a serial number"):
        load_board(path)
