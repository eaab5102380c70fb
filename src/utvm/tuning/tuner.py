"""The loop: ask a search, build, measure, record, learn. The next candidates are built while the board measures."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from utvm import __version__
from utvm.boards import Board
from utvm.device import Session
from utvm.toolchain import compiler_version
from utvm.tuning.build import Builder, Built
from utvm.tuning.measure import Measurer, Trial
from utvm.tuning.record import Conditions, Record
from utvm.tuning.search import Search
from utvm.tuning.space import Candidate, Task
from utvm.tuning.store import RecordStore

_AHEAD = 2

MakeSearch = Callable[[Task, Mapping[str, float]], Search]
"""Makes the search of a task from what its families estimate (cycles, by key of candidate)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When to stop; None is no limit.

    Attributes:
        trials: measured candidates of this run.
        seconds: of this run.
        gain: the part of the network's cycles that one more trial must be expected to save.
    """

    trials: int | None = None
    seconds: float | None = None
    gain: float = 0.0


@dataclass(slots=True, eq=False)
class Job:
    """A task and how far its search is. `trials` are those of this run, `known` what records already told."""

    task: Task
    search: Search
    trials: int = 0
    known: int = 0

    @property
    def weight(self) -> int:
        """How often a run of the network does this work."""
        return self.task.count

    def expected_gain(self) -> float:
        """Return the cycles of a run of the network that the next trial is expected to save."""
        return self.weight * self.search.expected_gain()


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One trial has ended: its record, and where the whole run is. Cycles are those of a run of the network."""

    record: Record
    task: Task
    trials: int
    started: float
    default_cycles: float | None
    best_cycles: float | None
    expected_gain: float
    left: int


@dataclass(slots=True, eq=False)
class _Flight:
    """A candidate that is being built."""

    job: Job
    candidate: Candidate
    future: Future[Built]


class Tuner:
    """Tunes tasks on one board. Every trial is in the store before the next is measured.

    Args:
        board: the board.
        connect: opens a session with it.
        store: where records are read and added.
        assume: what the cycle model assumes, empty for nothing.
        workers: processes that build; one a core of this host if None.

    `jobs` holds how far each task is, by workload.
    """

    def __init__(
        self,
        board: Board,
        connect: Callable[[], Session],
        store: RecordStore,
        *,
        assume: str = "",
        workers: int | None = None,
    ) -> None:
        self.board = board
        self.store = store
        self.conditions = conditions_of(board, assume)
        self._measurer = Measurer(board=board, connect=connect)
        self._workers = workers
        self._measured: dict[tuple[str, str], Trial] = {}
        self._last = 0
        self.jobs: dict[str, Job] = {}

    def tune(self, tasks: Sequence[Task], make_search: MakeSearch, limits: Limits) -> Generator[Progress, None, None]:
        """Yield after every trial; end when a limit is met or no search has anything left.

        The job whose next trial is expected to save most of the network's cycles is next. What the store already
        holds of this board, compiler and code is not measured again. Closing the iterator ends everything; of what was
        in flight nothing is kept.

        Raises:
            UtvmError: the board, the compiler or the store is gone.
        """
        builder = Builder(self.board, tasks, workers=self._workers)
        try:
            self.jobs = {task.workload: Job(task, make_search(task, builder.estimates(task))) for task in tasks}
            yield from self._tune(self.jobs, builder, limits)
        finally:
            builder.close()
            self._measurer.close()

    def _tune(self, jobs: Mapping[str, Job], builder: Builder, limits: Limits) -> Generator[Progress, None, None]:
        started, trials = time.time(), 0
        flights: list[_Flight] = []
        held = self._held(jobs)
        while True:
            while len(flights) < builder.workers + _AHEAD - 1 and _may_go_on(limits, started, trials + len(flights)):
                job = self._next_job(jobs, limits)
                candidate = None if job is None else job.search.ask()
                if job is None or candidate is None:
                    break
                record = held.get((job.task.workload, candidate.key))
                future = builder.submit(job.task.workload, candidate, "" if record is None else record.code)
                flights.append(_Flight(job, candidate, future))
            if not flights:
                return
            flight = next((each for each in flights if each.future.done()), flights[0])
            flights.remove(flight)
            job, task = flight.job, flight.job.task
            built = builder.result(task.workload, flight.candidate, flight.future)
            known = held.get((task.workload, flight.candidate.key))
            if known is not None and known.code == built.code:
                job.known += 1
                job.search.tell(flight.candidate, known.cost)
                continue
            record = self._record(task, flight.candidate, built, self._measure(task, built))
            self.store.add([record])
            held |= self._held(jobs)
            job.trials += 1
            job.search.tell(flight.candidate, record.cost)
            trials += 1
            yield self._progress(jobs, record, task, trials, started)
            if not _may_go_on(limits, started, trials):
                return

    def _next_job(self, jobs: Mapping[str, Job], limits: Limits) -> Job | None:
        """Return the job with most to gain, or None if none is expected to gain enough."""
        total = _total(jobs, lambda search: search.best)
        waiting = [(job.expected_gain(), job) for job in jobs.values() if job.search.left]
        if not waiting:
            return None
        gain, job = max(waiting, key=lambda entry: entry[0])
        return job if total is None or gain > limits.gain * total else None

    def _held(self, jobs: Mapping[str, Job]) -> dict[tuple[str, str], Record]:
        """Return what came into the store since the last look, from this tuner or another."""
        last = self.store.last
        if last == self._last:
            return {}
        records = self.store.records(conditions=self.conditions, workloads=list(jobs), after=self._last)
        self._last = last
        return {(record.workload, record.candidate): record for record in records}

    def _measure(self, task: Task, built: Built) -> Trial:
        """Measure, once for all candidates that became the same program."""
        key = task.workload, built.content
        if built.image is None or key not in self._measured:
            self._measured[key] = self._measurer.measure(task, built)
        return self._measured[key]

    def _record(self, task: Task, candidate: Candidate, built: Built, trial: Trial) -> Record:
        return Record(
            workload=task.workload,
            family=candidate.family,
            config=dict(candidate.config),
            code=built.code,
            conditions=self.conditions,
            generator=__version__,
            outcome=trial.outcome,
            message=trial.message,
            cycles=trial.cycles,
            cold_cycles=trial.cold_cycles,
            instructions=trial.instructions,
            cycles_source=trial.cycles_source,
            spread=trial.spread,
            scratch_bytes=built.scratch_bytes,
            flash_bytes=built.flash_bytes,
            time=round(time.time(), 3),
            build_seconds=round(built.seconds, 4),
            load_seconds=round(trial.load_seconds, 4),
            run_seconds=round(trial.run_seconds, 4),
        )

    def _progress(self, jobs: Mapping[str, Job], record: Record, task: Task, trials: int, started: float) -> Progress:
        return Progress(
            record=record,
            task=task,
            trials=trials,
            started=started,
            default_cycles=_total(jobs, lambda search: search.default_cost),
            best_cycles=_total(jobs, lambda search: search.best),
            expected_gain=max((job.expected_gain() for job in jobs.values()), default=0.0),
            left=sum(len(job.search.left) for job in jobs.values()),
        )


def conditions_of(board: Board, assume: str = "") -> Conditions:
    """Return the conditions under which a board measures on this host.

    Raises:
        ToolchainError: its compiler is not installed.
    """
    core = board.core
    return Conditions(board=board.name, core=core.name, assume=assume, compiler=compiler_version(core.tool_prefix))


def _may_go_on(limits: Limits, started: float, trials: int) -> bool:
    spent = time.time() - started
    return (limits.trials is None or trials < limits.trials) and (limits.seconds is None or spent < limits.seconds)


def _total(jobs: Mapping[str, Job], cost: Callable[[Search], float | None]) -> float | None:
    """Return the cycles of a run of the network, None while a workload has no figure."""
    costs = [(job.weight, cost(job.search)) for job in jobs.values()]
    known = [weight * value for weight, value in costs if value is not None]
    return sum(known) if len(known) == len(costs) and not any(map(math.isinf, known)) else None
