"""The loop: what it finds, what it does not measure twice, and that nothing finished is lost when it is killed."""

import dataclasses
import itertools
import json
import os
import pickle
import random
import select
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import utvm
from tests.support.interrupts import InterruptsWhenDropped, dropped_exceptions, heard_interrupts
from tests.tuning.support import EXAMPLE, M7, layer
from utvm.frontends import load
from utvm.lowering import Options, lower
from utvm.model_tuning import tune
from utvm.passes import run_passes
from utvm.report import knob_worth, tuning_html, tuning_json
from utvm.tuning import (
    SEARCHES,
    ExhaustiveSearch,
    Limits,
    LocalRack,
    Outcome,
    Progress,
    RandomSearch,
    RecordStore,
    Tuner,
    build_candidate,
    tasks_of,
)
from utvm.tuning.build import Builder

LAYER = "conv_6x6x4_4_k3"
VICTIMS = ("tuner", "emulator", "builder")
KILLS = int(os.environ.get("UTVM_KILLS", "1"))
FEW = "conv_2d_0,fully_connected_6"
TRIALS, FULL = 10, 25  # of 39 candidates


def test_the_default_is_the_first_candidate_and_none_is_there_twice() -> None:
    for core in ("qemu-cortex-m7", "qemu-riscv32"):
        board = utvm.api.as_board(core)
        (task,) = tasks_of(layer(), board.core)
        keys = [candidate.key for candidate in task.candidates]
        assert len(set(keys)) == len(keys)
        # Without a budget lowering would take less flash for up to a per cent of cycles.
        (call,) = lower(layer(), board.core, Options(flash=16 << 20)).calls
        assert (task.default.family, task.default.config) == (call.kernel.family, call.kernel.config)


def test_an_exhaustive_search_finds_the_best_and_a_second_run_measures_nothing(tmp_path: Path) -> None:
    done = tune(layer(), M7, database=tmp_path / "store.sqlite", search="exhaustive", gain=0.0)
    (found,) = done.report.layers
    assert found.trials == found.space
    assert found.best is not None
    assert found.default is not None
    costs = [each.cost for each in found.records if each.cost is not None]
    assert found.best.cost == min(costs)
    assert found.default.cost > found.best.cost or found.default is found.best
    again = tune(layer(), M7, database=tmp_path / "store.sqlite", search="random", gain=0.0).report.layers[0]
    assert (again.trials, again.reused) == (0, found.space)
    assert again.best == found.best


def test_limits_end_a_run_and_the_next_goes_on(tmp_path: Path) -> None:
    for expected in (3, 6):
        tune(layer(), M7, database=tmp_path / "store.sqlite", search="exhaustive", trials=3, gain=0.0)
        with RecordStore(tmp_path / "store.sqlite") as store:
            records = store.records()
        assert len(records) == len({each.candidate for each in records}) == expected


def test_the_best_of_the_records_is_known_however_early_a_run_ends(tmp_path: Path) -> None:
    database = tmp_path / "store.sqlite"
    whole = tune(layer(), M7, database=database, search="exhaustive", gain=0.0).report.layers[0]
    assert whole.default is not None
    last = min(whole.records, key=lambda each: -(each.cost or 0))
    assert last.candidate != whole.default.candidate
    with RecordStore(database) as store:
        store.add([dataclasses.replace(last, cycles=1, time=last.time + 1)])
    early = tune(layer(), M7, database=database, gain=0.5).report.layers[0]
    assert early.best is not None
    assert (early.trials, early.best.candidate, early.best.cost) == (0, last.candidate, 1)
    assert early.reused < whole.space


def test_why_a_run_ended_is_told(tmp_path: Path) -> None:
    def ended(**options: Any) -> str:
        return tune(layer(), M7, database=tmp_path / "store.sqlite", **options).report.ended

    assert ended(trials=2) == "that was the limit"
    assert "expected to save 50.00% of the cycles" in ended(gain=0.5)
    assert ended(gain=0.0) == "every candidate is measured"


def test_a_high_threshold_of_gain_ends_after_the_defaults(tmp_path: Path) -> None:
    done = tune(layer(), M7, database=tmp_path / "store.sqlite", gain=0.5)
    assert done.report.layers[0].trials < done.report.layers[0].space / 3


@pytest.mark.parametrize("name", sorted(SEARCHES))
def test_every_search_proposes_each_candidate_once_and_the_default_first(name: str) -> None:
    (task,) = tasks_of(layer(), M7.core)
    for seed in range(2):
        search = SEARCHES[name](task, estimates={key.key: 100.0 for key in task.candidates[1:5]}, seed=seed)
        asked = []
        for cost in itertools.count(100):
            candidate = search.ask()
            if candidate is None:
                break
            asked.append(candidate.key)
            search.tell(candidate, None if cost % 7 == 3 else float(cost * 37 % 101))
            assert search.expected_gain() >= 0
        assert asked[0] == task.default.key
        assert sorted(asked) == sorted(each.key for each in task.candidates)


def test_wrong_results_are_shown_loudly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import utvm.tuning.measure as measure

    right = measure.evaluate
    monkeypatch.setattr(measure, "evaluate", lambda *a: {name: value ^ 1 for name, value in right(*a).items()})
    done = tune(layer(), M7, database=tmp_path / "store.sqlite", trials=2)
    assert len(done.report.layers[0].wrong) == 2
    assert done.report.layers[0].best is None
    assert "WRONG" in tuning_html(done.report)
    assert tuning_json(done.report)["layers"][0]["chosen"] is None


def test_a_builder_that_loses_its_workers_goes_on(tmp_path: Path) -> None:
    tasks = tasks_of(layer(), M7.core)
    with RecordStore(tmp_path / "store.sqlite") as store:
        tuner = Tuner(M7, LocalRack([(M7, lambda: utvm.connect(M7))]), store, workers=1)
        steps = tuner.tune(tasks, lambda task, _: RandomSearch(task, estimates={}), Limits(trials=6))
        for count, progress in enumerate(steps):
            assert progress.record.outcome is Outcome.OK
            if count == 1:
                for child in _descendants(os.getpid(), "forkserver"):
                    os.kill(child, signal.SIGKILL)
        assert count == 5


def test_a_fork_server_that_is_being_killed_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[Exception] = [ConnectionRefusedError(), ConnectionResetError(), BrokenPipeError(), EOFError()]
    submit = ProcessPoolExecutor.submit

    def failing(pool: ProcessPoolExecutor, *call: Any) -> Any:
        if left:
            raise left.pop()
        return submit(pool, *call)

    monkeypatch.setattr(ProcessPoolExecutor, "submit", failing)
    (task, *_) = tasks_of(layer(), M7.core)
    builder = Builder(M7, [task], workers=1)
    future = builder.submit(task.workload, task.default)
    assert builder.result(task.workload, task.default, future).outcome is Outcome.OK
    assert not left
    builder.close()


def test_what_a_worker_sends_is_short_enough_for_one_write() -> None:
    """pipe(7): up to PIPE_BUF bytes are written whole or not at all, so that no killed worker leaves half a result."""
    tasks = tasks_of(run_passes(load(EXAMPLE)), M7.core)
    builder = Builder(M7, tasks)
    for wanted in tasks:
        future = builder.submit(wanted.workload, wanted.default)
        assert len(pickle.dumps(future.result())) < select.PIPE_BUF / 2
        assert builder.result(wanted.workload, wanted.default, future).image is not None
    builder.close()


def test_knobs_are_worth_what_their_best_config_costs(tmp_path: Path) -> None:
    done = tune(layer(), M7, database=tmp_path / "store.sqlite", trials=8, search="random", gain=0.0)
    records = done.report.layers[0].records
    worth = knob_worth(records)
    for knob, choices in worth.items():
        for choice, cost in choices.items():
            family, _, name = knob.partition(" ")
            same = [r for r in records if (r.family == choice if knob == "family" else r.family == family)]
            same = [r for r in same if not name or str(r.config[name]) == choice]
            assert cost == min(r.cost for r in same if r.cost is not None)


def test_kills_lose_at_most_the_trial_in_flight(tmp_path: Path) -> None:
    """The tuner, its emulator, or the processes that build die at a random moment; the store is whole, and what is left
    of the space comes next.

    UTVM_KILLS sets how often each of them is killed, UTVM_SEED varies when.
    """
    database, generator, seen = tmp_path / "store.sqlite", random.Random(int(os.environ.get("UTVM_SEED", "0"))), 0
    command = [
        sys.executable, "-m", "utvm", "tune", str(EXAMPLE), "--board", "qemu-cortex-m7", "--db", str(database),
        "--operators", FEW, "--gain", "0", "--search", "random", "--trials", str(TRIALS),
    ]  # fmt: skip
    for victim in VICTIMS * KILLS:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        finished = 0
        for line in process.stderr:
            finished += line.startswith("trial ")
            if finished == 1:
                break
        time.sleep(generator.random() * 0.4)
        family = _descendants(process.pid, "")
        killed = {
            "tuner": [process.pid],
            "emulator": _descendants(process.pid, "qemu-system"),
            "builder": _descendants(process.pid, "forkserver"),
        }[victim]
        for each in killed:
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        finished += sum(line.startswith("trial ") for line in process.stderr)
        status = process.wait(300)
        assert (status, finished) == (0, TRIALS) or victim == "tuner", victim
        deadline = time.monotonic() + 120
        while any(_alive(child) for child in family):
            assert time.monotonic() < deadline, "a process outlived the tuner"
            time.sleep(0.05)
        assert sqlite3.connect(database).execute("PRAGMA integrity_check").fetchone() == ("ok",)
        with RecordStore(database) as store:
            records = store.records()
        assert seen + finished <= len(records) <= seen + finished + 1
        assert all(each.outcome is Outcome.OK for each in records)
        assert len({(each.workload, each.candidate) for each in records}) == len(records)
        seen = len(records)
        print(f"{victim} killed, {finished} trials reported, {seen} in the records", flush=True)
        if seen > FULL:  # before the space is at its end
            with RecordStore(database) as store:
                assert store.remove([each.digest for each in records]) == seen
            seen = 0


def test_ctrl_c_keeps_what_is_finished_and_exits_with_130(tmp_path: Path) -> None:
    database = tmp_path / "store.sqlite"
    command = [sys.executable, "-m", "utvm", "tune", str(EXAMPLE), "--board", "qemu-cortex-m7", "--db", str(database)]
    with heard_interrupts():
        process = subprocess.Popen(
            [*command, "--json", "--gain", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("trial 2"):
            break
    os.killpg(process.pid, signal.SIGINT)
    out, error = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "Traceback" not in error
    with RecordStore(database) as store:
        assert len(store.records()) >= 2
    assert len(json.loads(out)["layers"]) == 7


def test_a_ctrl_c_that_python_drops_ends_tuning_all_the_same(tmp_path: Path) -> None:
    seen = []

    def observe(progress: Progress) -> None:
        seen.append(progress)
        if len(seen) == 2:
            InterruptsWhenDropped()

    with heard_interrupts(), dropped_exceptions() as dropped:
        done = tune(layer(), M7, database=tmp_path / "store.sqlite", gain=0.0, observe=observe)
    assert dropped == [KeyboardInterrupt]
    assert done.interrupted
    assert len(seen) == 2


def test_configs_that_become_the_same_program_are_measured_once(tmp_path: Path) -> None:
    (task,) = tasks_of(layer(), M7.core)
    same = build_candidate(task.op, M7, task.default)
    with RecordStore(tmp_path / "store.sqlite") as store:
        tuner = Tuner(M7, LocalRack([(M7, lambda: utvm.connect(M7))]), store)
        trials = [tuner._measure(task, same).result() for _ in range(2)]
        assert trials[0] is trials[1]
        tuner._rack.close()
    assert ExhaustiveSearch.name in SEARCHES


def _descendants(root: int, name: str) -> list[int]:
    """Return the processes below `root` whose command line contains `name`."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError):
            continue
    found = []
    for process in parents:
        above = parents.get(process, 0)
        while above not in (0, root):
            above = parents.get(above, 0)
        try:
            command = Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if above == root and name in command:
            found.append(process)
    return found


def _alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_script_without_a_guard_tunes_once(tmp_path: Path) -> None:
    """Workers don't import the script that called: it would tune again in each of them."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, utvm\nfrom tests.tuning.support import layer\nprint('once')\n"
        "print(utvm.tune(layer(), 'qemu-cortex-m7', trials=1, database=sys.argv[1]).report.ended)\n"
    )
    command = [sys.executable, str(script), str(tmp_path / "records.sqlite")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert done.stdout.split("\n")[:2] == ["once", "that was the limit"], done.stdout + done.stderr
