"""The loop: ask a search, build, measure, record, learn. The next candidates are built while boards measure."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Any

from utvm import __version__
from utvm.boards import Board
from utvm.toolchain import compiler_version
from utvm.tuning.build import Builder, BuiltCandidate, BuiltFile
from utvm.tuning.measure import Expectation, Trial, expectation
from utvm.tuning.rack import Rack
from utvm.tuning.record import Conditions, Record
from utvm.tuning.search import Search
from utvm.tuning.space import FamilyConfig, Task
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
    """A candidate that is being built, and then measured: `built` says which."""

    job: Job
    candidate: FamilyConfig
    building: Future[BuiltFile]
    built: BuiltCandidate | None = None
    measuring: Future[Trial] | None = None

    @property
    def future(self) -> Future[BuiltFile] | Future[Trial]:
        """What it waits for."""
        return self.building if self.measuring is None else self.measuring


class Tuner:
    """Tunes tasks on boards of one kind. Every trial is in the store before anything is told of it.

    Args:
        board: the board that candidates are built for, and under whose name records are.
        rack: measures them; closed with the iterator of `tune`.
        store: where records are read and added.
        assume: what the cycle model assumes, empty for nothing.
        timing: the table that models the board's cycles, if one does; what other tables modelled is measured anew.
        workers: processes that build; one a core of this host if None.

    `jobs` holds how far each task is, by workload; `ended` says why `tune` ended by itself, for people.
    """

    def __init__(
        self,
        board: Board,
        rack: Rack,
        store: RecordStore,
        *,
        assume: str = "",
        timing: str | None = None,
        workers: int | None = None,
    ) -> None:
        self.board = board
        self.store = store
        self.conditions = conditions_of(board, assume)
        self._rack = rack
        self._timing = timing
        self._workers = workers
        self._measured: dict[tuple[str, str], Future[Trial]] = {}
        self._expected: dict[str, Expectation] = {}
        self._last = 0
        self.jobs: dict[str, Job] = {}
        self.ended = ""

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
            self._rack.close()

    def _tune(self, jobs: Mapping[str, Job], builder: Builder, limits: Limits) -> Generator[Progress, None, None]:
        started, trials = time.time(), 0
        held = self._held(jobs)
        flights = [*self._given(jobs, held, builder), *self._best_held(jobs, held, builder)]
        while True:
            most = builder.workers + self._rack.places + _AHEAD - 2
            while len(flights) < most and _may_go_on(limits, started, trials + len(flights)):
                job = self._next_job(jobs, limits)
                candidate = None if job is None else job.search.ask()
                if job is None or candidate is None:
                    break
                record = held.get((job.task.workload, candidate.key))
                building = builder.submit(job.task.workload, candidate, "" if record is None else record.code)
                flights.append(_Flight(job, candidate, building))
            if not flights:
                self.ended = _reason(jobs, limits, started, trials)
                return
            futures: list[Future[Any]] = [each.future for each in flights]
            wait(futures, return_when=FIRST_COMPLETED)
            flight = next(each for each in flights if each.future.done())
            job, task = flight.job, flight.job.task
            if flight.built is None:
                built = flight.built = builder.result(task.workload, flight.candidate, flight.building)
                known = held.get((task.workload, flight.candidate.key))
                if known is not None and known.code == built.code:
                    flights.remove(flight)
                    job.known += 1
                    job.search.tell(flight.candidate, known.cost)
                else:
                    flight.measuring = self._measure(task, built)
                continue
            assert flight.measuring is not None
            flights.remove(flight)
            record = self._record(task, flight.candidate, flight.built, flight.measuring.result())
            self.store.add([record])
            held |= self._held(jobs)
            job.trials += 1
            job.search.tell(flight.candidate, record.cost)
            trials += 1
            yield self._progress(jobs, record, task, trials, started)
            if not _may_go_on(limits, started, trials):
                self.ended = _reason(jobs, limits, started, trials)
                return

    def _next_job(self, jobs: Mapping[str, Job], limits: Limits) -> Job | None:
        """Return the job with most to gain, or None if none is expected to gain enough."""
        total = _total(jobs, lambda search: search.best)
        waiting = [(job.expected_gain(), job) for job in jobs.values() if job.search.left]
        if not waiting:
            return None
        gain, job = max(waiting, key=lambda entry: entry[0])
        return job if total is None or gain >= limits.gain * total else None

    def _held(self, jobs: Mapping[str, Job]) -> dict[tuple[str, str], Record]:
        """Return what came into the store since the last look, from this tuner or another."""
        last = self.store.last
        if last == self._last:
            return {}
        records = self.store.records(conditions=self.conditions, workloads=list(jobs), after=self._last)
        self._last = last
        return {(record.workload, record.candidate): record for record in records if self._comparable(record)}

    def _comparable(self, record: Record) -> bool:
        """Return whether a record's cycles are those of the board, not of a table that no longer models it."""
        source = record.cycles_source or ""
        return self._timing is None or not source.startswith("model: ") or source.split(", ")[0] == self._timing

    def _given(
        self, jobs: Mapping[str, Job], held: Mapping[tuple[str, str], Record], builder: Builder
    ) -> list[_Flight]:
        """Begin with what a user gave and the default beside it: a record counts only where both are measured."""
        flights = []
        for job in jobs.values():
            for candidate in (job.search.take(job.task.default.key), *job.task.given) if job.task.given else ():
                if candidate is not None:
                    record = held.get((job.task.workload, candidate.key))
                    building = builder.submit(job.task.workload, candidate, "" if record is None else record.code)
                    flights.append(_Flight(job, candidate, building))
        return flights

    def _best_held(
        self, jobs: Mapping[str, Job], held: Mapping[tuple[str, str], Record], builder: Builder
    ) -> list[_Flight]:
        """Begin with the best record of each job, which the search might not come to."""
        flights = []
        for job in jobs.values():
            good = [record for (workload, _), record in held.items() if workload == job.task.workload and record.cost]
            best = min(good, key=lambda record: record.cost or 0, default=None)
            candidate = None if best is None else job.search.take(best.candidate)
            if best is not None and candidate is not None:
                flights.append(_Flight(job, candidate, builder.submit(best.workload, candidate, best.code)))
        return flights

    def _measure(self, task: Task, built: BuiltCandidate) -> Future[Trial]:
        """Begin to measure, once for all candidates that became the same program."""
        if built.image is None:
            failed: Future[Trial] = Future()
            failed.set_result(Trial(outcome=built.outcome, message=built.message))
            return failed
        if task.workload not in self._expected:
            self._expected[task.workload] = expectation(task)
        key = task.workload, built.content
        if key not in self._measured:
            self._measured[key] = self._rack.submit(self._expected[task.workload], built)
        return self._measured[key]

    def _record(self, task: Task, candidate: FamilyConfig, built: BuiltCandidate, trial: Trial) -> Record:
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


def _reason(jobs: Mapping[str, Job], limits: Limits, started: float, trials: int) -> str:
    """Return why no more is measured."""
    left = sum(len(job.search.left) for job in jobs.values())
    if not left:
        return "every candidate is measured"
    if not _may_go_on(limits, started, trials):
        return "that was the limit"
    return f"none of the {left} left is expected to save {limits.gain:.2%} of the cycles"


def _may_go_on(limits: Limits, started: float, trials: int) -> bool:
    spent = time.time() - started
    return (limits.trials is None or trials < limits.trials) and (limits.seconds is None or spent < limits.seconds)


def _total(jobs: Mapping[str, Job], cost: Callable[[Search], float | None]) -> float | None:
    """Return the cycles of a run of the network, None while a workload has no figure."""
    costs = [(job.weight, cost(job.search)) for job in jobs.values()]
    known = [weight * value for weight, value in costs if value is not None]
    return sum(known) if len(known) == len(costs) and not any(map(math.isinf, known)) else None
