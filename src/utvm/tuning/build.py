"""From a candidate to an image: generated, compiled and linked in worker processes, as many as there are cores."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import types
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

from utvm.boards import Board
from utvm.codegen import RUN_SYMBOL, CPort, entry_source, function_names
from utvm.cores.microkernel import ScheduleError
from utvm.device import build_image
from utvm.errors import UtvmError
from utvm.graph import Operator
from utvm.kernels import code_digest, content_digest
from utvm.lowering import LoweringError, Options, Program, lower
from utvm.toolchain import Image, MemoryOverflowError, Source
from utvm.tuning.record import Outcome
from utvm.tuning.space import FamilyConfig, Task, estimate, family_of, single

_ATTEMPTS = 2
_RESTART_SECONDS = 0.1
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BuiltCandidate:
    """A candidate that was built, or why not.

    `code` and `content` are the kernel's digests (without and with constants), `ports` where its inputs and outputs are
    in the arena.
    """

    outcome: Outcome
    message: str = ""
    code: str = ""
    content: str = ""
    image: Image | None = None
    inputs: tuple[CPort, ...] = ()
    outputs: tuple[CPort, ...] = ()
    scratch_bytes: int = 0
    flash_bytes: int = 0
    seconds: float = 0.0


def build_candidate(op: Operator, board: Board, candidate: FamilyConfig, known: str = "") -> BuiltCandidate:
    """Build the program of one operator under one config for a board's RAM, unless its code is what is `known`.

    Nothing that goes wrong is raised: a candidate that can't be built is a result.
    """
    started = time.perf_counter()
    family = family_of(candidate.family, op, board.core)
    if family is None:
        return BuiltCandidate(
            outcome=Outcome.NOT_BUILT, message=f"family '{candidate.family}' does not compute this operator"
        )
    try:
        program = lower(single(op), board.core, Options(choices={op.name: (family, candidate.config)}))
    except (LoweringError, ScheduleError) as error:
        return BuiltCandidate(outcome=Outcome.NO_SCHEDULE, message=str(error), seconds=time.perf_counter() - started)
    (call,) = program.calls
    code, outcome, message, image = code_digest(call.kernel), Outcome.OK, "", None
    try:
        if code != known:
            image = build_image(board, _sources(program), entries=[RUN_SYMBOL])
    except MemoryOverflowError as error:
        outcome, message = Outcome.TOO_LARGE, str(error)
    except UtvmError as error:
        outcome, message = Outcome.NOT_BUILT, str(error)
    model = program.c_model()
    flash = call.kernel.flash_bytes
    if image is not None:
        function = call.kernel.function
        names = {function_names(model.calls)[function], *(part.name for part in function.support)}
        flash = call.kernel.constant_bytes + sum(image.function_bytes(name) for name in names)
    return BuiltCandidate(
        outcome=outcome,
        message=message,
        code=code,
        content=content_digest(call.kernel),
        image=image,
        inputs=model.inputs,
        outputs=model.outputs,
        scratch_bytes=call.kernel.scratch_bytes,
        flash_bytes=flash,
        seconds=time.perf_counter() - started,
    )


def _sources(program: Program) -> list[Source]:
    files = {**program.render(), f"{program.name}_entry.c": entry_source(program.name)}
    return [Source(name=name, text=text) for name, text in files.items()]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BuiltFile:
    """What a worker process says of a candidate: all but the image, and where its ELF file is.

    A result is so short that it goes through the pool's pipe in one piece: of one that is cut off by a worker's death,
    the pool would wait for the rest for ever.
    """

    built: BuiltCandidate
    path: Path | None


class Builder:
    """Worker processes that build candidates of given tasks for a board; close it.

    Workers ignore Ctrl-C, which is the tuner's, and die with it. One that dies itself is replaced, and what it was
    building is built again.
    """

    def __init__(self, board: Board, tasks: Sequence[Task], *, workers: int | None = None) -> None:
        self.workers = workers or os.cpu_count() or 1
        self._setup = (board, {task.workload: task.op for task in tasks})
        self._pool = self._start()

    def submit(self, workload: str, candidate: FamilyConfig, known: str = "") -> Future[BuiltFile]:
        """Begin to build a candidate of a task; without an image if its code is what is `known` already."""
        return self._submit(partial(_build, workload, candidate, known))

    def estimates(self, task: Task) -> dict[str, float]:
        """Return the cycles that families model for the candidates of a task, by their keys, computed in parallel."""
        parts = [task.candidates[start :: self.workers] for start in range(self.workers)]
        futures = [self._submit(partial(_estimate, task.workload, part)) for part in parts if part]
        found: dict[str, float] = {}
        for future in futures:
            found.update(future.result())
        return found

    def result(self, workload: str, candidate: FamilyConfig, future: Future[BuiltFile]) -> BuiltCandidate:
        """Return what a future that `submit` gave holds; builds again what a dead worker left."""
        board, _ = self._setup
        for attempt in range(_ATTEMPTS):
            try:
                found = future.result()
                image = None if found.path is None else Image.read(found.path, tool_prefix=board.core.tool_prefix)
                return replace(found.built, image=image)
            except BrokenExecutor:
                if attempt + 1 < _ATTEMPTS:
                    future = self.submit(workload, candidate)
        return BuiltCandidate(
            outcome=Outcome.NOT_BUILT, message="the process that built it died twice: is memory short?"
        )

    def close(self) -> None:
        """End the workers."""
        processes = list((getattr(self._pool, "_processes", None) or {}).values())
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(timeout=5)

    def _submit(self, call: Callable[[], _Result]) -> Future[_Result]:
        while True:
            try:
                return self._pool.submit(call)
            except BrokenExecutor:
                self._pool = self._start()
            except (ConnectionError, EOFError):  # of a fork server that is being killed; the next one is started
                time.sleep(_RESTART_SECONDS)
                self._pool = self._start()

    def _start(self) -> ProcessPoolExecutor | ThreadPoolExecutor:
        if not _can_be_sent(self._setup):
            # A user's own operator may be a lambda, which no other process can be given.
            return ThreadPoolExecutor(self.workers, initializer=_note, initargs=self._setup)
        # Not forked from here: a worker must not hold the board's link or the emulator's pipes.
        context = _Context()
        context.set_forkserver_preload([__name__])
        return ProcessPoolExecutor(self.workers, mp_context=context, initializer=_set_up, initargs=self._setup)


class _Process(ForkServerProcess):
    """A worker that does not import the user's script, which would tune once more in it."""

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> Any:  # noqa: N802 (multiprocessing's name)
        own = sys.modules["__main__"]
        sys.modules["__main__"] = types.ModuleType("__main__")
        try:
            return ForkServerProcess._Popen(process_obj)
        finally:
            sys.modules["__main__"] = own


class _Context(ForkServerContext):
    Process = _Process


_board: Board
_operators: Mapping[str, Operator]


def _set_up(board: Board, operators: Mapping[str, Operator]) -> None:
    """In a worker: what is the same for all candidates, so that caches by identity work."""
    _note(board, operators)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _note(board: Board, operators: Mapping[str, Operator]) -> None:
    global _board, _operators
    _board, _operators = board, operators


def _can_be_sent(setup: object) -> bool:
    try:
        # What the user's script defines is not in a worker, which does not run the script.
        return b"__main__" not in pickle.dumps(setup)
    except (pickle.PicklingError, AttributeError, TypeError):
        return False


def _end_with_parent() -> None:
    """The parent that the kernel knows is the fork server, which lives as long as its workers: watch the tuner."""
    tuner = multiprocessing.parent_process()
    assert tuner is not None
    tuner.join()
    os._exit(1)


def _build(workload: str, candidate: FamilyConfig, known: str) -> BuiltFile:
    built = build_candidate(_operators[workload], _board, candidate, known)
    return BuiltFile(built=replace(built, image=None), path=None if built.image is None else built.image.path)


def _estimate(workload: str, candidates: Sequence[FamilyConfig]) -> dict[str, float]:
    found = {each.key: estimate(_operators[workload], _board.core, each) for each in candidates}
    return {key: cycles for key, cycles in found.items() if cycles is not None}
