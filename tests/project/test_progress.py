"""What takes long says so on a terminal, and nowhere else."""

import io
import time

import pytest

from utvm import progress


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_nothing_is_written_to_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_PATIENCE_SECONDS", 0.0)
    pipe = io.StringIO()
    with progress.shown_on(pipe):
        progress.say("choosing kernels")
    assert pipe.getvalue() == ""


def test_nothing_is_written_within_the_first_second() -> None:
    terminal = Terminal()
    with progress.shown_on(terminal):
        progress.say("choosing kernels")
    assert terminal.getvalue() == ""


def test_what_stays_true_is_shown_late_and_nothing_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_PATIENCE_SECONDS", 0.02)
    terminal = Terminal()
    with progress.shown_on(terminal):
        progress.say("reading")
        progress.say("compiling")
        for _ in range(1000):
            if terminal.getvalue():
                break
            time.sleep(0.01)
        assert terminal.getvalue() == "\r\x1b[Kcompiling"
        progress.end()
        shown = terminal.getvalue()
        progress.say("writing")
        progress.end()
        time.sleep(0.05)
        assert terminal.getvalue() in (shown, f"{shown}\r\x1b[Kwriting\r\x1b[K")


def test_the_line_is_taken_away_and_names_can_t_control_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_PATIENCE_SECONDS", 0.0)
    terminal = Terminal()
    with progress.shown_on(terminal):
        progress.say("Conv2D \x1b[31mred\n" + 100 * "x")
        progress.end()
        shown = terminal.getvalue()
    assert shown.startswith("\r\x1b[KConv2D ?[31mred?xxx")
    assert shown.endswith("\r\x1b[K")
    assert len(shown.split("\x1b[K")[1]) == 79
    assert terminal.getvalue() == shown
