"""Tuning a network on a board: what `utvm tune` does, in one call, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from utvm import api
from utvm.api.quantized import QuantizedModel
from utvm.arguments import checked_arguments
from utvm.boards import Board, LinkKind, require_trust
from utvm.device import Session
from utvm.errors import UtvmError
from utvm.fleet import Fleet, fleet_rack
from utvm.graph import Graph, Operator
from utvm.interrupts import Interrupts
from utvm.loops import Schedule
from utvm.lowering import Options, lower
from utvm.notebook import html_table
from utvm.report import LayerTuning, TuningReport
from utvm.tuning import (
    DEFAULT_SEARCH,
    Job,
    Limits,
    LocalRack,
    Outcome,
    Progress,
    Rack,
    RecordStore,
    Task,
    Tuner,
    board_kind,
    default_database,
    family_of,
    search_maker,
)
from utvm.tuning.space import single, tasks_of

DEFAULT_GAIN = 0.0005
"""Tuning ends when one more trial is expected to save less than this part of the network's cycles."""

Observe = Callable[[Progress], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """What tuning found. `interrupted` is whether Ctrl-C ended it."""

    report: TuningReport
    interrupted: bool

    def _repr_html_(self) -> str:
        """The layers as a table, for notebooks."""
        return self.report._repr_html_()


def model_tasks(
    model: str | Path | Graph | QuantizedModel, board: str | Path | Board, operators: Sequence[str] = ()
) -> tuple[str, list[Task]]:
    """Return a model's name and the workloads of it that kernels compute on a board.

    Args:
        model: a model file, a graph, or what `utvm.quantize` made.
        board: a board's name, the path of its TOML, or the board.
        operators: names of operators: only their workloads; all if empty.

    Raises:
        UtvmError: the model or the board can't be read, or no operator has one of these names.
    """
    graph = api.prepared(model)
    tasks = tasks_of(graph, api.as_board(board).core)
    known = [name for task in tasks for name in task.names]
    unknown = [name for name in operators if name not in known]
    if unknown:
        raise UtvmError(f"{graph.name} has no operator {', '.join(unknown)}; it has {', '.join(known)}")
    return graph.name, [task for task in tasks if not operators or not set(operators).isdisjoint(task.names)]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TuningSpace:
    """What tuning may choose from.

    Attributes:
        model, board: names.
        tasks: the distinct workloads, each with its candidates.
    """

    model: str
    board: str
    tasks: tuple[Task, ...]

    def __repr__(self) -> str:
        """Two lines, without the candidates."""
        count = sum(len(task.candidates) for task in self.tasks)
        return f"TuningSpace('{self.model}' on {self.board},\n  {len(self.tasks)} workloads, {count:,} candidates)"

    def _repr_html_(self) -> str:
        """The workloads as a table, for notebooks."""
        rows = [
            (task.label, task.count, ", ".join(dict.fromkeys(c.family for c in task.candidates)), len(task.candidates))
            for task in self.tasks
        ]
        return html_table(f"{self.model} on {self.board}", ("workload", "times", "families", "candidates"), rows)


@checked_arguments
def space(model: str | Path | Graph | QuantizedModel, board: str | Path | Board) -> TuningSpace:
    """Return what `tune` may choose from: each distinct workload of a model with its families and configs.

    Args:
        model: a model file, a graph, or what `utvm.quantize` made.
        board: a board's name, the path of its TOML, or the board.

    Raises:
        UtvmError: the model or the board can't be read.

    Example:
        for task in utvm.space("model.tflite", "qemu-cortex-m7").tasks:
            print(task.label, len(task.candidates))
    """
    target = api.as_board(board)
    name, tasks = model_tasks(model, target)
    return TuningSpace(model=name, board=target.name, tasks=tuple(tasks))


def boards_of_one_kind(boards: Sequence[str | Path | Board]) -> list[Board]:
    """Return boards that differ in their names and links alone.

    Raises:
        UtvmError: one can't be read, is of another kind, or is the same physical board as another.
    """
    found = [api.as_board(board) for board in boards]
    for number, board in enumerate(found):
        if board_kind(board) != board_kind(found[0]):
            raise UtvmError(
                f"boards '{found[0].name}' and '{board.name}' are not of one kind, so that their cycles can't be "
                "compared: tune for each of them"
            )
        if board.emulator is None and any(board.link == other.link for other in found[:number]):
            raise UtvmError(f"board '{board.name}' is named twice by the same link: give each probe's serial number")
    return found


def _check_limits(limits: Mapping[str, tuple[float | None, float]]) -> None:
    for name, (value, least) in limits.items():
        if value is not None and value < least:
            raise UtvmError(f"tune: {name} is {value}; {least} is the least")


@checked_arguments
def tune(
    model: str | Path | Graph | QuantizedModel,
    board: str | Path | Board,
    *,
    operators: Sequence[str] = (),
    schedules: Mapping[str, Schedule] | None = None,
    others: Sequence[str | Path | Board] = (),
    fleet: Fleet | None = None,
    database: str | Path | None = None,
    trials: int | None = None,
    seconds: float | None = None,
    gain: float = DEFAULT_GAIN,
    search: str = DEFAULT_SEARCH,
    seed: int = 0,
    assume: str | None = None,
    link: LinkKind | None = None,
    workers: int | None = None,
    observe: Observe | None = None,
) -> Tuned:
    """Tune a model's workloads on a board and keep every trial in the record store.

    Args:
        model: a model file, a graph, or what `utvm.quantize` made.
        board: a board's name, the path of its TOML, or the board.
        operators: names of operators: only their workloads are tuned; all if empty.
        schedules: schedules of your own by names of operators (`utvm.schedule`), which are measured first.
        others: more boards of its kind on this host, which measure at the same time; an emulated one may be named
            again.
        fleet: measure on all boards of that kind of a fleet instead of on those of this host.
        database: an SQLite file or a URL; $UTVM_RECORDS if None, or records.sqlite below the user's data directory.
        trials, seconds: limits of this call; None is none.
        gain: the part of the network's cycles that one more trial must be expected to save.
        search: "estimate", "learned", "optuna", "random" or "exhaustive"; docs/tuning.md compares them.
        seed: of searches that draw.
        assume, link: as in `utvm.connect`; the links of a fleet's boards are its workers'.
        workers: processes that build; one a core of this host if None.
        observe: called after every trial.

    Returns:
        what was found; after Ctrl-C, what was found until then.

    Raises:
        UtvmError: the model, the board, the compiler or the store can't be used.

    Example:
        utvm.tune("model.tflite", "qemu-cortex-m7", trials=4)
        compiled = utvm.compile("model.tflite", "qemu-cortex-m7")  # chooses kernels by what was measured
    """
    if fleet is not None and others:
        raise UtvmError("several boards are of this host; with a fleet, name one: all of its kind there are used")
    _check_limits({"trials": (trials, 0), "seconds": (seconds, 0), "gain": (gain, 0), "workers": (workers, 1)})
    started = time.time()
    every = boards_of_one_kind([board, *others])
    for each in every if fleet is None else ():
        require_trust(each)
    target = every[0]
    core = api.assumed_core(target, assume)
    target = replace(target, core=core)
    name, tasks = model_tasks(model, target, operators)
    tasks = api.tasks_with_schedules(tasks, schedules or {}, target)
    interrupted = False

    def connect(to: Board) -> Session:
        return api.connect(replace(to, core=core), link=link, assume=assume)

    def make_rack() -> Rack:
        if fleet is None:
            return LocalRack([(each, partial(connect, each)) for each in every])
        return fleet_rack(fleet, every[0], assume=assume)

    with (
        Interrupts() as interrupts,
        RecordStore(database or default_database()) as store,
        closing(make_rack()) as rack,
    ):
        tuner = Tuner(target, rack, store, assume=assume or "", timing=api.timing_name(target, assume), workers=workers)
        steps = tuner.tune(
            tasks,
            search_maker(search, store, tuner.conditions, seed=seed),
            Limits(trials=trials, seconds=seconds, gain=gain),
        )
        try:
            for progress in steps:
                if observe is not None:
                    observe(progress)
                interrupts.check()
        except KeyboardInterrupt:
            interrupted = True
        finally:
            steps.close()
        ended = "interrupted: the same command goes on from here" if interrupted else tuner.ended
        report = TuningReport(
            model=name,
            board=target.name,
            core=target.core.name,
            assume=assume or "",
            search=search,
            seconds=time.time() - started,
            ended=ended,
            records=store.name,
            layers=tuple(_layer(job, store, tuner) for job in tuner.jobs.values()),
        )
    return Tuned(report=report, interrupted=interrupted)


def _layer(job: Job, store: RecordStore, tuner: Tuner) -> LayerTuning:
    task = job.task
    records = store.records(conditions=tuner.conditions, workloads=[task.workload])
    tried = {record.candidate: record for record in records if record.candidate in job.search.costs}
    good = [record for record in tried.values() if record.cost is not None]
    best = min(good, key=lambda record: record.cost or 0, default=None)
    default = tried.get(task.default.key)
    return LayerTuning(
        label=task.label,
        operators=task.names,
        macs=task.macs,
        space=len(task.candidates),
        trials=job.trials,
        reused=job.known,
        wrong=tuple(record.candidate for record in tried.values() if record.outcome is Outcome.WRONG),
        default=default,
        best=best,
        records=tuple(tried.values()),
        code="" if best is None else kernel_source(task.op, tuner.board, best.family, best.config),
    )


def kernel_source(op: Operator, board: Board, family: str, config: object) -> str:
    """Return the C of one operator under one config, without its constants."""
    chosen = family_of(family, op, board.core)
    assert chosen is not None
    assert isinstance(config, dict)
    program = lower(single(op), board.core, Options(choices={op.name: (chosen, config)}))
    return program.render()[f"{program.name}.c"]
