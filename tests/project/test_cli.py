"""The frame of the command line: statuses, messages, and what a user must never see."""

import argparse
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.support.interrupts import InterruptsWhenDropped, dropped_exceptions, heard_interrupts
from utvm import __version__, cli
from utvm.errors import UtvmError


class FakeCommand:
    """A command `fake` that does what a test wants."""

    def __init__(self, run: Callable[[argparse.Namespace], int]) -> None:
        self._run = run

    def add_parser(self, subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
        subparsers.add_parser("fake").set_defaults(run=self._run)


def run_fake(monkeypatch: pytest.MonkeyPatch, run: Callable[[argparse.Namespace], int]) -> int:
    monkeypatch.setattr(cli, "_COMMANDS", (FakeCommand(run),))
    return cli.main(["fake"])


def raising(error: BaseException) -> Callable[[argparse.Namespace], int]:
    def run(_: argparse.Namespace) -> int:
        raise error

    return run


@pytest.mark.parametrize("status", [0, 2])
def test_the_status_is_the_command_s(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    assert run_fake(monkeypatch, lambda _: status) == status


def test_a_user_error_is_one_message_and_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_fake(monkeypatch, raising(UtvmError("no such board: lunar; see `utvm boards`"))) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "utvm: no such board: lunar; see `utvm boards`\n"


def test_what_comes_from_a_file_does_not_steer_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_fake(monkeypatch, raising(UtvmError("no core is 'a\x1b[31m\x07\u202eb':\n  - é"))) == 2
    assert capsys.readouterr().err == "utvm: no core is 'a\\x1b[31m\\x07\\u202eb':\n  - é\n"


def test_a_full_disk_is_one_message_and_other_errors_of_the_system_are_ours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_fake(monkeypatch, raising(OSError(errno.ENOSPC, "No space left on device"))) == 2
    assert capsys.readouterr().err.startswith("utvm: No space left on device: make room there, or set UTVM_CACHE")
    assert run_fake(monkeypatch, raising(PermissionError(errno.EACCES, "Permission denied", "/x"))) == 2
    assert capsys.readouterr().err.startswith("utvm: /x: Permission denied: let this user write there")
    assert run_fake(monkeypatch, raising(OSError(errno.EFBIG, "File too large"))) == 2
    assert capsys.readouterr().err.startswith("utvm: File too large: allow larger files (`ulimit -f`)")
    with pytest.raises(ProcessLookupError):
        run_fake(monkeypatch, raising(ProcessLookupError(errno.ESRCH, "No such process")))


def test_an_interrupt_while_arguments_are_parsed_is_status_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Slow(FakeCommand):
        def add_parser(self, subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_COMMANDS", (Slow(lambda _: 0),))
    assert cli.main(["fake"]) == 130
    assert capsys.readouterr().err == "utvm: interrupted\n"


@pytest.mark.parametrize(
    "command",
    [
        ["tune", "m.tflite", "--board", "b", "--trials", "0"],
        ["tune", "m.tflite", "--board", "b", "--minutes", "-1"],
        ["tune", "m.tflite", "--board", "b", "--gain", "-5"],
        ["plan", "m.tflite", "--board", "b", "--points", "-3"],
        ["run", "m.tflite", "--board", "b", "--input", "i.npy", "--timeout", "nan"],
        ["verify", "d", "--against", "m.tflite", "--inputs", "many"],
    ],
)
def test_numbers_that_make_no_sense_are_refused(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(command)
    assert stopped.value.code == 2
    assert f"'{command[-1]}' is not a" in capsys.readouterr().err


def test_an_interrupt_is_status_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_fake(monkeypatch, raising(KeyboardInterrupt())) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_an_interrupt_that_python_drops_or_that_ends_in_an_error_is_status_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def drop(_: argparse.Namespace) -> int:
        InterruptsWhenDropped()
        return 0

    def fail(_: argparse.Namespace) -> int:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            raise UtvmError("the board can't be brought back") from None
        return 0

    with heard_interrupts(), dropped_exceptions() as dropped:
        assert run_fake(monkeypatch, drop) == 130
        assert run_fake(monkeypatch, fail) == 130
    assert dropped == [KeyboardInterrupt]


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        run_fake(monkeypatch, raising(ZeroDivisionError()))


def utvm(*arguments: str, **options: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "utvm", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]
    )


def test_version() -> None:
    process = utvm("--version")
    assert process.communicate()[0] == f"utvm {__version__}\n"
    assert process.returncode == 0


def test_no_command_is_a_usage_error() -> None:
    process = utvm()
    assert "usage: utvm" in process.communicate()[1]
    assert process.returncode == 2


def test_a_reader_that_leaves_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    process = subprocess.Popen(
        [sys.executable, "-m", "utvm", "doctor"], stdout=write, stderr=subprocess.PIPE, text=True
    )
    os.close(write)
    assert process.communicate()[1] == ""
    assert process.returncode == 141


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, utvm.cli\ntry:\n    utvm.cli.main(['--help'])\nexcept SystemExit:\n    pass\n"
    check = "print(sorted({'numpy', 'PIL', 'rich', 'tflite'} & sys.modules.keys()), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code + check], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
