"""Several boards of one host: the same results as one, and boards that vanish and come back."""

import dataclasses
import os
import signal
import threading
from pathlib import Path

import pytest

import utvm
from tests.tuning.support import M7, layer, task
from utvm.device import DeviceError, Session
from utvm.errors import UtvmError
from utvm.model_tuning import boards_of_one_kind, tune
from utvm.tuning import (
    BoardLostError,
    BuiltCandidate,
    Expectation,
    LocalRack,
    Measurer,
    Outcome,
    RecordStore,
    Trial,
    build_candidate,
    expectation,
)
from utvm.tuning import rack as rack_module

NOTHING = Expectation(key="", inputs={}, outputs={})
BUILT = BuiltCandidate(outcome=Outcome.OK)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Boards that do what a test says, by the name in what their `connect` returns."""
    script: dict[str, object] = {}

    def measure(self: Measurer, expected: Expectation, built: BuiltCandidate) -> Trial:
        says = script[self.connect()]  # type: ignore[index]
        assert callable(says)
        return says()

    monkeypatch.setattr(Measurer, "measure", measure)
    monkeypatch.setattr(rack_module, "_RETRY_SECONDS", 0.02)
    return script


def _rack(*names: str) -> LocalRack:
    return LocalRack([(M7, lambda name=name: _Name(name)) for name in names])  # type: ignore[misc]


class _Name(str):
    """What stands for a session."""

    def close(self) -> None:
        """End nothing."""


def test_two_boards_find_what_one_finds(tmp_path: Path) -> None:
    found = []
    for others in ((), (M7,)):
        database = tmp_path / f"{len(others)}.sqlite"
        done = tune(layer(), M7, others=others, database=database, search="exhaustive", gain=0.0)
        with RecordStore(database) as store:
            found.append({(each.candidate, each.outcome, each.cycles) for each in store.records()})
        (report,) = done.report.layers
        assert report.trials == report.space
    assert found[0] == found[1]


def test_boards_work_at_the_same_time(scripted: dict[str, object]) -> None:
    meeting = threading.Barrier(2, timeout=120)

    def meet() -> Trial:
        meeting.wait()
        return Trial(outcome=Outcome.OK)

    scripted.update(a=meet, b=meet)
    rack = _rack("a", "b")
    futures = [rack.submit(NOTHING, BUILT) for _ in range(4)]
    assert [each.result(30).outcome for each in futures] == [Outcome.OK] * 4
    rack.close()


def test_a_board_that_vanishes_gives_its_trial_to_another_and_may_come_back(scripted: dict[str, object]) -> None:
    there, used_again = threading.Event(), threading.Event()

    def flaky() -> Trial:
        if not there.is_set():
            raise BoardLostError("cable")
        used_again.set()
        return Trial(outcome=Outcome.OK, message="a")

    scripted.update(a=flaky, b=lambda: Trial(outcome=Outcome.OK, message="b"))
    rack = _rack("a", "b")
    for _ in range(20):
        assert rack.submit(NOTHING, BUILT).result(30).message == "b"
    there.set()
    while not used_again.is_set():
        rack.submit(NOTHING, BUILT).result(30)
    rack.close()


def test_when_all_boards_are_away_every_trial_says_so(scripted: dict[str, object]) -> None:
    def away() -> Trial:
        raise BoardLostError("cable")

    scripted.update(a=away, b=away)
    rack = _rack("a", "b")
    for future in [rack.submit(NOTHING, BUILT) for _ in range(3)]:
        with pytest.raises(UtvmError, match="cable"):
            future.result(30)
    rack.close()


def test_a_candidate_that_takes_every_board_with_it_has_crashed(scripted: dict[str, object]) -> None:
    poison = BuiltCandidate(outcome=Outcome.OK, content="poison")
    lost: set[str] = set()

    def die(name: str) -> Trial:
        if name not in lost and len(lost) < rack_module.MOST_LOSSES:
            lost.add(name)
            raise BoardLostError("burnt")
        raise AssertionError("measured once more")

    scripted.update({name: (lambda name=name: die(name)) for name in "abcd"})
    rack = _rack(*"abcd")
    trial = rack.submit(NOTHING, poison).result(30)
    assert trial.outcome is Outcome.CRASHED
    assert "burnt" in trial.message
    rack.close()


def test_closing_ends_a_trial_and_its_emulator() -> None:
    sessions: list[Session] = []

    def connect() -> Session:
        sessions.append(utvm.connect(M7))
        return sessions[-1]

    wanted = task(M7)
    rack = LocalRack([(M7, connect)])
    rack.submit(expectation(wanted), build_candidate(wanted.op, M7, wanted.default)).result(60)
    process = sessions[0]._target.process_id  # type: ignore[attr-defined]
    os.kill(process, signal.SIGSTOP)
    rack.submit(expectation(wanted), build_candidate(wanted.op, M7, wanted.candidates[1]))
    rack.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_boards_of_several_kinds_are_refused() -> None:
    with pytest.raises(UtvmError, match="not of one kind"):
        boards_of_one_kind(["qemu-cortex-m7", "qemu-cortex-m4"])
    with pytest.raises(UtvmError, match="serial number"):
        boards_of_one_kind(["nucleo-f746zg", "nucleo-f746zg"])


def test_boards_that_differ_in_name_and_probe_are_of_one_kind() -> None:
    board = utvm.api.as_board("nucleo-f746zg")
    assert board.link.openocd is not None
    probes = [dataclasses.replace(board.link.openocd, probe=probe) for probe in ("A1", "B2")]
    links = [dataclasses.replace(board.link, openocd=probe) for probe in probes]
    boards = [dataclasses.replace(board, name=f"desk {link.openocd}", link=link) for link in links]
    assert boards_of_one_kind(boards) == boards


def test_a_board_lost_at_connection_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> Session:
        raise DeviceError("no probe is connected")

    monkeypatch.setattr(utvm.api, "connect", refuse)
    with pytest.raises(UtvmError, match="no probe is connected"):
        tune(layer(), M7, others=[M7], database=tmp_path / "store.sqlite", trials=2)
