"""Measuring: right results are timed; wrong, crashing, hanging and oversized candidates cost their deadline at most."""

import dataclasses
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import utvm
from tests.tuning.support import M7, CountedChip, broken, chip_board, task
from utvm.device import DeviceError, Measurement, Session, link_opener
from utvm.tuning import (
    BoardLostError,
    FamilyConfig,
    Limits,
    LocalRack,
    Measurer,
    Outcome,
    RandomSearch,
    RecordStore,
    Tuner,
    build_candidate,
    expectation,
)


@pytest.fixture
def measurer() -> Iterator[Measurer]:
    made = Measurer(board=M7, connect=lambda: utvm.connect(M7))
    yield made
    made.close()


def test_a_good_candidate_costs_the_same_every_time_and_equal_code_has_one_digest(measurer: Measurer) -> None:
    wanted = task(M7)
    built = [build_candidate(wanted.op, M7, wanted.default) for _ in range(2)]
    assert built[0].code == built[1].code
    assert built[0].content == built[1].content
    first, second = (measurer.measure(expectation(wanted), each) for each in built)
    assert first.outcome is Outcome.OK
    assert first.cycles == second.cycles
    assert first.cycles_source == "model: measured cortex-m7"
    others = {build_candidate(wanted.op, M7, each).code for each in wanted.candidates[:4]}
    assert len(others) == 4


def test_known_code_is_not_built_again() -> None:
    wanted = task(M7)
    code = build_candidate(wanted.op, M7, wanted.default).code
    assert build_candidate(wanted.op, M7, wanted.default, known=code).image is None
    assert build_candidate(wanted.op, M7, wanted.default, known="outdated").image is not None


@pytest.mark.parametrize(
    ("body", "outcome", "says"),
    [
        ("(void)arena; return 0;", Outcome.WRONG, "differ from the reference"),
        ("(void)arena; __builtin_trap();", Outcome.CRASHED, "utvm_run_model"),
        ("volatile uint8_t *p = arena; for (;;) { (void)*p; }", Outcome.HUNG, "did not return"),
    ],
)
def test_bad_candidates_are_told_apart_and_the_next_one_runs(
    measurer: Measurer, body: str, outcome: Outcome, says: str
) -> None:
    wanted = task(M7)
    good = build_candidate(wanted.op, M7, wanted.default)
    before = measurer.measure(expectation(wanted), good)
    trial = measurer.measure(expectation(wanted), broken(M7, wanted, body))
    assert trial.outcome is outcome
    assert says in trial.message
    assert measurer.measure(expectation(wanted), good).cycles == before.cycles


def test_what_does_not_fit_or_compile_is_a_result() -> None:
    tiny = dataclasses.replace(M7.code, length=1024)
    place = dataclasses.replace(M7.placements[0], code=tiny, constants=tiny)
    board = dataclasses.replace(M7, placements=(place,))
    wanted = task(M7)
    built = build_candidate(wanted.op, board, wanted.default)
    assert (built.outcome, built.image) == (Outcome.TOO_LARGE, None)
    assert build_candidate(wanted.op, M7, FamilyConfig(family="absent", config={})).outcome is Outcome.NOT_BUILT


def test_through_jtag_a_candidate_runs_cold_once_and_warm_seven_times(tmp_path: Path) -> None:
    board = chip_board("cortex-m7")
    calls: list[str] = []

    class Counted(Session):
        def call(self, function: str | int, *arguments: int, timeout: float | None = None) -> Measurement:
            calls.append(str(function))
            return super().call(function, *arguments, timeout=timeout)

    def connect() -> Session:
        return Counted(board, CountedChip(board), link_opener(board))

    with RecordStore(tmp_path / "store.sqlite") as store:
        tuner = Tuner(board, LocalRack([(board, connect)]), store)
        steps = tuner.tune([task(board)], lambda of, _: RandomSearch(of, estimates={}), Limits(trials=2))
        records = [progress.record for progress in steps]
    assert len(records) == 2
    assert len(calls) == 16
    for record in records:
        assert record.outcome is Outcome.OK
        assert record.cycles_source == "DWT_CYCCNT"
        assert record.cycles
        assert record.cold_cycles == record.cycles  # the simulated chip has no caches, and counts instructions
        assert record.spread == 0
        assert min(record.build_seconds, record.load_seconds, record.run_seconds) > 0


def test_an_emulator_that_is_killed_costs_no_trial() -> None:
    sessions: list[Session] = []

    def connect() -> Session:
        sessions.append(utvm.connect(M7))
        return sessions[-1]

    measurer = Measurer(board=M7, connect=connect)
    wanted = task(M7)
    built = build_candidate(wanted.op, M7, wanted.default)
    before = measurer.measure(expectation(wanted), built)
    process = sessions[0]._target.process_id  # type: ignore[attr-defined]
    os.kill(process, signal.SIGKILL)
    assert measurer.measure(expectation(wanted), built).cycles == before.cycles
    assert len(sessions) == 2
    measurer.close()


def test_a_board_that_can_not_be_reached_is_no_outcome_of_a_candidate() -> None:
    def connect() -> Session:
        raise DeviceError("no probe")

    wanted = task(M7)
    with pytest.raises(BoardLostError, match="no probe"):
        Measurer(board=M7, connect=connect).measure(expectation(wanted), build_candidate(wanted.op, M7, wanted.default))
