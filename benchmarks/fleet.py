"""How tuning scales with boards, and whether the scheduler of a fleet keeps up with a laboratory of them.

    python benchmarks/fleet.py boards [--trials N] [--model MODEL]
    python benchmarks/fleet.py compare [--model MODEL]
    python benchmarks/fleet.py simulated [--boards 64] [--seconds 1.0] [--trials N]

`boards` measures the same candidates, built before, on 1, 2 and 4 emulated boards of this host.

`compare` tunes the whole space of a model twice from no records: on one board, and on four boards of two workers of
Dask. Every candidate must have the same outcome and the same cycles in both.

`simulated` has no boards: in place of each, a stub sleeps as long as a candidate takes over JTAG. Built candidates go
through a real scheduler to real workers of Dask all the same, so that the figure is what the scheduler and the network
let through of what so many boards could do. Nothing is built meanwhile: how many candidates a second the tuner's host
builds is another limit, printed by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import atexit
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.fleet.support import FleetProcesses  # noqa: E402

from utvm import api  # noqa: E402
from utvm.fleet import Fleet, fleet_rack  # noqa: E402
from utvm.model_tuning import model_tasks, tune  # noqa: E402
from utvm.tuning import (  # noqa: E402
    Built,
    Expectation,
    LocalRack,
    Outcome,
    Rack,
    RecordStore,
    Trial,
    build_candidate,
    expectation,
)

BOARD = "qemu-cortex-m7"
EXAMPLE = ROOT / "examples" / "cifar10" / "cifar10_cnn.tflite"
AHEAD = 2
HOSTS = 4

Work = tuple[Expectation, Built]
Found = tuple[Outcome, int | None]


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    actions = parser.add_subparsers(dest="action", required=True)
    boards = actions.add_parser("boards")
    boards.add_argument("--trials", type=int, default=40)
    boards.add_argument("--model", type=Path, default=EXAMPLE)
    compare = actions.add_parser("compare")
    compare.add_argument("--model", type=Path, default=EXAMPLE)
    simulated = actions.add_parser("simulated")
    simulated.add_argument("--boards", type=int, default=64)
    simulated.add_argument("--seconds", type=float, default=1.0)
    simulated.add_argument("--trials", type=int, default=1000)
    slots = actions.add_parser("slots")  # a host of the simulated fleet; started by `simulated`
    slots.add_argument("address")
    slots.add_argument("boards", type=int)
    slots.add_argument("seconds", type=float)
    arguments = parser.parse_args()
    if arguments.action == "slots":
        _serve_stubs(arguments.address, arguments.boards, arguments.seconds)
    elif arguments.action == "boards":
        _scaling(arguments.model, arguments.trials)
    elif arguments.action == "compare":
        _compare(arguments.model)
    else:
        _simulated(arguments.boards, arguments.seconds, arguments.trials)


def _scaling(model: Path, trials: int) -> None:
    works, rate = _built(model, trials)
    print(f"{len(works)} candidates, built one after the other at {rate:.1f} a second; load {os.getloadavg()[0]:.1f}\n")
    print("| boards | seconds | trials a second | against one |\n|--:|--:|--:|--:|")
    board, alone, cycles = api.as_board(BOARD), 0.0, []
    for count in (1, 2, 4):
        rack = LocalRack([(board, partial(api.connect, board))] * count)
        _measure(rack, works[:count])  # emulators start
        started = time.perf_counter()
        found = _measure(rack, works)
        seconds = time.perf_counter() - started
        rack.close()
        alone = alone or seconds
        cycles.append([trial.cycles for trial in found])
        print(f"| {count} | {seconds:.1f} | {len(works) / seconds:.1f} | {alone / seconds:.2f} |", flush=True)
    assert cycles[0] == cycles[1] == cycles[2]


def _compare(model: Path) -> None:
    with tempfile.TemporaryDirectory() as folder, FleetProcesses() as fleet:
        alone = _tuned(model, Path(folder) / "alone.sqlite", None)
        for _ in range(2):
            fleet.worker([BOARD, BOARD])
        four = _tuned(model, Path(folder) / "four.sqlite", fleet.fleet)
    for key in sorted(alone.keys() | four.keys()):
        if alone.get(key) != four.get(key):
            print(f"{key}: {alone.get(key)} on one, {four.get(key)} on four")
    same = sum(four.get(key) == found for key, found in alone.items())
    best = [{workload: _best(found, workload) for workload, _ in found} for found in (alone, four)]
    same_best = sum(best[0][workload] == best[1][workload] for workload in best[0])
    print(
        f"{model.stem}: {same} of {len(alone)} records of four boards of two workers are those of one, and the best "
        f"of {same_best} of {len(best[0])} workloads; load {os.getloadavg()[0]:.1f}"
    )
    assert alone == four


def _tuned(model: Path, database: Path, fleet: Fleet | None) -> dict[tuple[str, str], Found]:
    """Return what each candidate of each workload came to."""
    tune(model, BOARD, fleet=fleet, database=database, search="exhaustive", gain=0.0)
    with RecordStore(database) as store:
        return {(each.workload, each.candidate): (each.outcome, each.cycles) for each in store.records()}


def _best(found: dict[tuple[str, str], Found], wanted: str) -> str:
    costs = {key: cycles for (workload, key), (_, cycles) in found.items() if workload == wanted and cycles is not None}
    return min(costs, key=lambda key: (costs[key], key))


def _simulated(boards: int, seconds: float, trials: int) -> None:
    works, rate = _built(EXAMPLE, 24)
    image = works[0][1].image
    assert image is not None
    work = [works[number % len(works)] for number in range(trials)]
    with _simulated_fleet(boards, seconds) as address:
        rack = fleet_rack(Fleet(address=address), api.as_board(BOARD))
        while rack.boards < boards:
            time.sleep(0.1)
        _measure(rack, work[:boards])
        started = time.perf_counter()
        _measure(rack, work)
        spent = time.perf_counter() - started
        rack.close()
    ideal = -(-trials // boards) * seconds
    print(
        f"simulated: {boards} boards of {seconds} s a candidate in {HOSTS} processes, {trials} trials in {spent:.1f} "
        f"s, {trials / spent:.1f} a second; boards that never wait need {ideal:.1f} s: {100 * ideal / spent:.0f} %"
    )
    print(f"this host builds {rate:.1f} candidates a second on one core; load {os.getloadavg()[0]:.1f}")


def _built(model: Path, count: int) -> tuple[list[Work], float]:
    """Return candidates of a model's workloads that build, round robin, and how many a second were built."""
    board = api.as_board(BOARD)
    _, tasks = model_tasks(model, board)
    spaces = [[(task, candidate) for candidate in task.candidates] for task in tasks]
    wanted = [work for turn in zip_longest(*spaces) for work in turn if work is not None]
    expected = {task.workload: expectation(task) for task in tasks}
    # A cache of its own, or only the first run would build; images are read from it until the end.
    os.environ["UTVM_CACHE"] = tempfile.mkdtemp(prefix="utvm-bench-")
    atexit.register(shutil.rmtree, os.environ["UTVM_CACHE"])
    started, works = time.perf_counter(), []
    for task, candidate in wanted[:count]:
        built = build_candidate(task.op, board, candidate)
        if built.outcome is Outcome.OK:
            works.append((expected[task.workload], built))
    return works, min(count, len(wanted)) / (time.perf_counter() - started)


def _measure(rack: Rack, works: list[Work]) -> list[Trial]:
    """Measure all, as many in flight as the tuner has."""
    results: list[Future[Trial]] = []
    flights: set[Future[Any]] = set()
    for expected, built in works:
        while len(flights) >= rack.places + AHEAD:
            flights = wait(flights, return_when=FIRST_COMPLETED).not_done
        results.append(rack.submit(expected, built))
        flights.add(results[-1])
    found = [result.result() for result in results]
    assert all(trial.outcome is Outcome.OK for trial in found)
    return found


class SimulatedBoard:
    """A stub that sleeps: no program runs, and its cycles are none."""

    name = "simulated"

    def __init__(self, seconds: float) -> None:
        from utvm.fleet.worker import offered

        self.kind = offered(api.as_board(BOARD))
        self._seconds = seconds

    def open(self) -> None:
        """Be there."""

    def measure(self, expected: Expectation, built: Built, assume: str | None) -> Trial:
        """Take the time of a candidate."""
        assert built.image is not None
        time.sleep(self._seconds)
        return Trial(outcome=Outcome.OK, cycles_source="simulated", load_seconds=self._seconds)

    def close(self) -> None:
        """Hold nothing."""


def _serve_stubs(address: str, boards: int, seconds: float) -> None:
    from utvm.fleet.servers import hush
    from utvm.fleet.worker import serve_slots

    hush()
    stubs = [SimulatedBoard(seconds) for _ in range(boards)]
    asyncio.run(serve_slots(Fleet(address=address), stubs, say=lambda _: None))


@contextmanager
def _simulated_fleet(boards: int, seconds: float) -> Iterator[str]:
    scheduler = subprocess.Popen(
        [sys.executable, "-m", "utvm", "fleet", "scheduler", "--port", "0"], stderr=subprocess.PIPE, text=True
    )
    processes: list[subprocess.Popen[Any]] = [scheduler]
    try:
        assert scheduler.stderr is not None
        found = re.search(r"tcp://\S+", scheduler.stderr.readline())
        assert found is not None
        for number in range(HOSTS):
            share = boards // HOSTS + (number < boards % HOSTS)
            command = [sys.executable, __file__, "slots", found[0], str(share), str(seconds)]
            processes.append(subprocess.Popen(command))
        yield found[0]
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main()
