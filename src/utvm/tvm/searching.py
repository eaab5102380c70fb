"""Tune TIR functions on boards by MetaSchedule, in one call."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvm.s_tir import meta_schedule
from tvm.s_tir.schedule import Schedule, ScheduleError

from utvm.arguments import checked_arguments
from utvm.errors import UtvmError, warn
from utvm.tuning import Outcome, Trial
from utvm.tvm.candidate import build, expected
from utvm.tvm.code import as_module, c_target
from utvm.tvm.measuring import Boards
from utvm.tvm.printer import TvmCodeError

_LOGGER = "tvm.s_tir.meta_schedule"
_POPULATION = 32
_GENERATIONS = 1
"""TVM's own, 512 and 4, take 13 s of the host for each round of trials."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TunedFunction:
    """A TIR function that was tuned.

    Attributes:
        function: with the best schedule; the one that was given where nothing was faster.
        untuned: the trial of the function as it was given.
        best: the trial of `function`.
        trials: all trials of candidates, failed ones too.
    """

    function: Any
    untuned: Trial
    best: Trial
    trials: tuple[Trial, ...]

    @property
    def gain(self) -> float | None:
        """How many times fewer cycles (instructions where no cycles are counted) the best takes."""
        before, after = _count(self.untuned), _count(self.best)
        return None if before is None or after is None else before / after

    def __repr__(self) -> str:
        """One line, without the function."""
        failed = sum(trial.outcome is not Outcome.OK for trial in self.trials)
        return (
            f"TunedFunction({_count(self.untuned)} to {_count(self.best)} cycles ({self.best.cycles_source}), "
            f"{len(self.trials)} trials, {failed} failed)"
        )


def default_space() -> Any:
    """Return MetaSchedule's default design space for CPUs, without threads and vectors.

    Example:
        space = utvm.tvm.default_space()
    """
    rule, post, mutator = meta_schedule.schedule_rule, meta_schedule.postproc, meta_schedule.mutator
    return meta_schedule.space_generator.PostOrderApply(
        sch_rules=[
            rule.ApplyCustomRule(),
            rule.InlineConstantScalars(),
            rule.AutoInline(
                into_producer=False,
                into_consumer=True,
                inline_const_tensor=True,
                disallow_if_then_else=True,
                require_injective=True,
                require_ordered=True,
                disallow_op=["tirx.exp"],
            ),
            rule.MultiLevelTiling(
                structure="SSRSRS",
                max_innermost_factor=64,
                reuse_write=rule.ReuseType(req="may", levels=[1, 2], scope="global"),
            ),
            rule.ParallelizeVectorizeUnroll(
                max_jobs_per_core=-1, max_vectorize_extent=-1, unroll_max_steps=[0, 16, 64], unroll_explicit=True
            ),
            rule.RandomComputeLocation(),
        ],
        postprocs=[post.DisallowDynamicLoop(), post.RewriteParallelVectorizeUnroll(), post.RewriteReductionBlock()],
        mutator_probs={
            mutator.MutateTileSize(): 0.9,
            mutator.MutateComputeLocation(): 0.05,
            mutator.MutateUnroll(): 0.05,
        },
    )


@checked_arguments
def tune(
    function: Any,
    boards: Boards,
    *,
    trials: int,
    space: Any = None,
    seed: int = 1,
    work_directory: str | Path | None = None,
) -> TunedFunction:
    """Tune a TIR function on boards by MetaSchedule; every candidate's output is compared with the host's.

    Args:
        function: a `tirx.PrimFunc` without a schedule.
        boards: where.
        trials: the most candidates that are measured.
        space: a function that applies a schedule with sampled decisions, or a `SpaceGenerator`; TVM's default if None.
        seed: of the search.
        work_directory: where MetaSchedule keeps its database and logs; nowhere if None.

    Boards that are lost on the way end nothing: candidates fail until one is back. If none comes back, the best of the
    trials that were made counts, and a warning says so.

    Raises:
        TvmCodeError: the function can't be run on the host or the board, or the space does not fit it.
        UtvmError: the boards can't be reached, or were lost before any candidate ran.

    Example:
        with utvm.tvm.Boards("qemu-cortex-m7") as boards:
            print(utvm.tvm.tune(function, boards, trials=32))
    """
    module = as_module(function)
    if trials < 1:
        raise UtvmError(f"{trials} trials measure nothing: give 1 or more")
    if not (space is None or callable(space) or isinstance(space, meta_schedule.SpaceGenerator)):
        raise UtvmError(f"a {type(space).__name__} is no design space: give a function of a schedule, or none")
    function = module["main"]
    begun = len(boards.trials)
    untuned = boards.submit(expected(function), build(function, boards.board)).result()
    if untuned.outcome is not Outcome.OK:
        raise TvmCodeError(f"the function as it is fails on {boards.board.name}: {untuned.outcome}: {untuned.message}")
    default, failures = space is None, list[Exception]()
    with tempfile.TemporaryDirectory(prefix="utvm-tvm-") as scratch, _hushed():
        try:
            database = meta_schedule.tune_tir(
                module,
                target=c_target(),
                work_dir=str(work_directory or scratch),
                max_trials_global=trials,
                num_trials_per_iter=min(trials, 16),
                builder=boards.builder(function),
                runner=boards.runner(),
                cost_model="random",
                num_tuning_cores=1,
                seed=seed,
                space=default_space() if default else _watched(space, failures),
                strategy=_evolution() if default else "replay-trace",
            )
        except ScheduleError as error:
            told = str(error).strip().splitlines()
            raise TvmCodeError(f"the space does not fit the function: {told[0]} {told[-1]}"[:400]) from error
        except Exception as error:
            if not failures:
                raise
            # On its way through TVM an exception loses its type.
            told = [type(failures[0]).__name__, *str(failures[0]).split()]
            raise TvmCodeError(f"the space fails: {' '.join(told)}"[:400]) from error
        schedule = meta_schedule.tir_integration.compile_tir(database, module, c_target())
    ended = tuple(boards.trials[begun + 1 :])
    good = [trial for trial in ended if trial.outcome is Outcome.OK]
    if boards.lost is not None and not good:
        raise boards.lost
    if schedule is None:
        return TunedFunction(function=function, untuned=untuned, best=untuned, trials=ended)
    found = schedule.mod["main"]
    try:
        best = boards.submit(expected(function), build(found, boards.board)).result()
    except UtvmError as error:
        best = min(good, key=lambda trial: _count(trial) or 0)
        warn(f"the best of {len(good)} trials counts, then no board was left: {error}")
    if best.outcome is not Outcome.OK or (_count(best) or 0) >= (_count(untuned) or 0):
        found, best = function, untuned
    return TunedFunction(function=found, untuned=untuned, best=best, trials=ended)


def _evolution() -> Any:
    return meta_schedule.search_strategy.EvolutionarySearch(
        population_size=_POPULATION, genetic_num_iters=_GENERATIONS, init_min_unmeasured=16
    )


def _watched(space: Any, failures: list[Exception]) -> Any:
    """Return a design space that keeps what it raises, where it is a function."""
    if isinstance(space, meta_schedule.SpaceGenerator):
        return space

    def applied(schedule: Any) -> Any:
        try:
            made = space(schedule)
            if not isinstance(made, Schedule | list | tuple | None):
                raise TypeError(f"it returns a {type(made).__name__}: return a schedule, several, or nothing")
            return made
        except Exception as error:
            failures.append(error)
            raise

    return applied


@contextmanager
def _hushed() -> Iterator[None]:
    """Keep TVM's progress off the terminal: it is in the logs of the work directory, which are closed at the end."""
    logger = logging.getLogger(_LOGGER)
    logger.setLevel(logging.WARNING)
    for handler in list(logger.handlers):  # TVM sets up its own anew, and fails over those without a name
        logger.removeHandler(handler)
    try:
        yield
    finally:
        for name in [name for name in logging.root.manager.loggerDict if name.startswith(_LOGGER)]:
            for handler in list(logging.getLogger(name).handlers):
                logging.getLogger(name).removeHandler(handler)
                handler.close()


def _count(trial: Trial) -> int | None:
    return trial.cycles if trial.cycles is not None else trial.instructions
