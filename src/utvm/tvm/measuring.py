"""MetaSchedule's builder and runner over boards: one, several at once, or a fleet."""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import tvm
from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule

from utvm import api
from utvm.boards import Board, require_trust
from utvm.errors import UtvmError
from utvm.fleet import Fleet, fleet_rack
from utvm.model_tuning import boards_of_one_kind
from utvm.tuning import BuiltCandidate, Expectation, LocalRack, Outcome, Rack, Trial
from utvm.tvm.candidate import build_code, references, signature
from utvm.tvm.code import TirCode, operands_of, tir_code
from utvm.tvm.printer import TvmCodeError

_numbers = itertools.count()
_artifacts: dict[str, tuple[Expectation, BuiltCandidate]] = {}
"""What was built and not yet run, by the name of its file: MetaSchedule hands on paths alone."""


@dataclass(slots=True)
class Boards:
    """Boards of one kind for MetaSchedule; close them, or use a `with` statement.

    Args:
        boards: a board's name, path or `Board`, or several that take trials at the same time.
        fleet: takes trials on all such boards of a fleet instead; `boards` names one.
        assume: as in `utvm.connect`.

    Attributes:
        trials: what the boards said of each candidate, in the order in which they ended.
        lost: why the last trial was not made, None if it was: no board could be reached.

    Raises:
        UtvmError: a board is not known, the boards are not of one kind, or they are several beside a fleet.

    Example:
        with Boards("qemu-cortex-m7") as boards:
            meta_schedule.tune_tir(module, builder=boards.builder(module), runner=boards.runner(), ...)
    """

    boards: str | Path | Board | Sequence[str | Path | Board]
    fleet: Fleet | None = None
    assume: str | None = None
    trials: list[Trial] = field(default_factory=list, init=False)
    lost: UtvmError | None = field(default=None, init=False)
    _every: list[Board] = field(init=False)
    _rack: Rack | None = field(default=None, init=False)
    _folder: tempfile.TemporaryDirectory[str] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if not isinstance(self.boards, str | Path | Board | Sequence) or not self.boards:
            raise UtvmError(f"{self.boards!r} is no board: give a name, the path of a TOML file, a Board, or several")
        if not isinstance(self.fleet, Fleet | None):
            raise UtvmError(f"{self.fleet!r} is no fleet: give utvm.Fleet(address=...)")
        given = [self.boards] if isinstance(self.boards, str | Path | Board) else list(self.boards)
        self._every = boards_of_one_kind(given)
        if self.fleet is not None and len(self._every) > 1:
            raise UtvmError("several boards are of this host; with a fleet, name one: all of its kind there are used")
        for board in self._every:
            require_trust(board)

    def __repr__(self) -> str:
        """One line, without the trials."""
        where = "" if self.fleet is None else f" of {self.fleet.address}"
        return f"Boards({', '.join(board.name for board in self._every)}{where}, {len(self.trials)} trials)"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def board(self) -> Board:
        """The first."""
        return self._every[0]

    def close(self) -> None:
        """Give the boards back and remove the builders' files; never fails."""
        if self._rack is not None:
            self._rack.close()
            self._rack = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def builder(self, module: Any) -> Any:
        """Return MetaSchedule's builder for the candidates of a module's TIR functions.

        Args:
            module: the functions as they are before scheduling: the host says what they compute.

        Raises:
            TvmCodeError: two of them have the same operands, or one can't be run on the host.
        """
        return _Builder(self, functions_of(module))

    def runner(self) -> Any:
        """Return MetaSchedule's runner on the boards."""
        return _Runner(self)

    def folder(self) -> str:
        """Return the directory of the builders' files; it is there until the boards are closed."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="utvm-tvm-", ignore_cleanup_errors=True)
        return self._folder.name

    def submit(self, expected: Expectation, built: BuiltCandidate) -> Future[Trial]:
        """Begin a trial on a board that is free."""
        if self._rack is None:
            self._rack = self._connected()
        future = self._rack.submit(expected, built)
        future.add_done_callback(self._ended)
        return future

    def _ended(self, future: Future[Trial]) -> None:
        if future.cancelled():
            return
        error = future.exception()
        self.lost = error if isinstance(error, UtvmError) else None
        if error is None:
            self.trials.append(future.result())

    def _connected(self) -> Rack:
        if self.fleet is not None:
            return fleet_rack(self.fleet, self.board, assume=self.assume)
        return LocalRack([(each, partial(api.connect, each, assume=self.assume)) for each in self._every])


def seconds_of(trial: Trial, board: Board) -> float | None:
    """Return the seconds at the board's clock, of instructions where no cycles are counted; None if it failed."""
    if trial.outcome is not Outcome.OK:
        return None
    count = trial.cycles if trial.cycles is not None else trial.instructions
    return None if count is None else count / board.clock_hz


@derived_object
class _Builder(meta_schedule.builder.PyBuilder):  # type: ignore[misc]
    """From candidates to images; the compiler runs on all of the host's cores."""

    def __init__(self, boards: Boards, functions: dict[str, Any]) -> None:
        super().__init__()
        self.boards = boards
        self.expected = references(functions)

    def build(self, build_inputs: Sequence[Any]) -> list[Any]:
        """Return an artifact for each candidate, or why there is none."""
        codes = [self.code(each.mod) for each in build_inputs]
        # Made before the threads ask for it: each of them would make one, and the last one counts.
        folder = self.boards.folder()
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            results: list[Any] = list(pool.map(partial(self.built, folder), codes))
        return [meta_schedule.builder.BuilderResult(path, message) for path, message in results]

    def code(self, module: Any) -> tuple[Expectation, TirCode, float] | str:
        """Return the C of a candidate and what must come out of it, or what is wrong."""
        started = time.perf_counter()
        try:
            ((_, function),) = functions_of(module).items()
            code = tir_code(function, stem="kernel", comment="A candidate of TVM")
        except TvmCodeError as error:
            return str(error)
        expected = self.expected.get(signature(operands_of(function)))
        if expected is None:
            return "the candidate has other operands than the functions that the builder was made for"
        return renamed(expected, code), code, started

    def built(self, among: str, found: tuple[Expectation, TirCode, float] | str) -> tuple[str | None, str | None]:
        """Return the path of an artifact among those of a directory, or a message."""
        if isinstance(found, str):
            return None, found
        expected, code, started = found
        built = build_code(code, self.boards.board, started)
        if built.image is None:
            return None, f"{built.outcome}: {built.message}"
        # MetaSchedule removes an artifact together with its folder.
        folder = Path(tempfile.mkdtemp(dir=among))
        path = folder / f"{next(_numbers)}.candidate"
        path.touch()
        _artifacts[path.name] = (expected, built)
        return str(path), None


@derived_object
class _Runner(meta_schedule.runner.PyRunner):  # type: ignore[misc]
    """Trials on boards: seconds are cycles at the board's clock."""

    def __init__(self, boards: Boards) -> None:
        super().__init__()
        self.boards = boards

    def run(self, runner_inputs: Sequence[Any]) -> list[Any]:
        """Begin the trials of artifacts."""
        return [self.future(Path(str(each.artifact_path)).name) for each in runner_inputs]

    def future(self, name: str) -> Any:
        """Return MetaSchedule's future of a trial."""
        expected, built = _artifacts.pop(name)
        trial = self.boards.submit(expected, built)
        board = self.boards.board

        def result() -> Any:
            try:
                ended = trial.result()
            except Exception as error:
                return meta_schedule.runner.RunnerResult(None, f"no board: {error}")
            seconds = seconds_of(ended, board)
            if seconds is None:
                return meta_schedule.runner.RunnerResult(None, f"{ended.outcome}: {ended.message}")
            return meta_schedule.runner.RunnerResult([seconds], None)

        done: Callable[[], bool] = trial.done
        return meta_schedule.runner.RunnerFuture(f_done=done, f_result=result)


def renamed(expected: Expectation, code: TirCode) -> Expectation:
    """Return an expectation by the names that a candidate has for its operands."""
    names = [o.name for o in code.operands if not o.is_output], [o.name for o in code.operands if o.is_output]
    return Expectation(
        key=expected.key,
        inputs=dict(zip(names[0], expected.inputs.values(), strict=True)),
        outputs=dict(zip(names[1], expected.outputs.values(), strict=True)),
        tolerance=expected.tolerance,
    )


def functions_of(module: Any) -> dict[str, Any]:
    """Return the TIR functions of a module, or one as `main`.

    Raises:
        TvmCodeError: there is none.
    """
    if isinstance(module, tvm.tirx.PrimFunc):
        return {"main": module}
    if not isinstance(module, tvm.IRModule):
        raise TvmCodeError(f"a {type(module).__name__} is no module of TVM: give an IRModule or a PrimFunc")
    found = {v.name_hint: f for v, f in module.functions_items() if isinstance(f, tvm.tirx.PrimFunc)}
    if not found:
        raise TvmCodeError("the module has no TIR function: legalise it before (relax.transform.LegalizeOps)")
    return found
