"""One candidate on a board: loaded alone into RAM, run on seeded inputs, compared bit by bit, timed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.boards import Board
from utvm.cache import digest
from utvm.codegen import ARENA_SYMBOL, RUN_SYMBOL, CPort
from utvm.device import (
    CallInterruptedError,
    CallTimeoutError,
    DeviceError,
    LinkLostError,
    LinkTimeoutError,
    Measurement,
    Session,
)
from utvm.errors import UtvmError
from utvm.graph.reference import differing, evaluate
from utvm.graph.samples import random_input
from utvm.tuning.build import BuiltCandidate
from utvm.tuning.record import Outcome, RecordError
from utvm.tuning.space import Task, single

_FIRST_SECONDS = 60.0
_FIRST_EMULATED_SECONDS = 300.0  # a core in RTL runs at two million cycles a second, if the host is idle
_LEAST_SECONDS = 10.0
_SLOWER = 20
_ATTEMPTS = 2
_HARDWARE_RUNS = 7

Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What a board said of a candidate. Values as in `Record`; seconds are the host's."""

    outcome: Outcome
    message: str = ""
    cycles: int | None = None
    cold_cycles: int | None = None
    instructions: int | None = None
    cycles_source: str | None = None
    spread: float = 0.0
    load_seconds: float = 0.0
    run_seconds: float = 0.0


class BoardLostError(UtvmError):
    """A board can't be reached: no fault of what was to be measured there."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Expectation:
    """What candidates of a workload run on and what must come out, by tensors' names; `key` tells it from others.

    Floats may differ by `tolerance` of the largest value, where candidates add in another order.
    """

    key: str
    inputs: Arrays
    outputs: Arrays
    tolerance: float = 0.0


def expectation(task: Task) -> Expectation:
    """Return seeded inputs of a task and what the reference makes of them."""
    graph = single(task.op)
    inputs = {tensor.name: random_input(tensor, index) for index, tensor in enumerate(graph.inputs)}
    outputs = evaluate(graph, inputs)
    arrays = [*inputs.values(), *outputs.values()]
    key = digest([task.workload, *(np.ascontiguousarray(array).tobytes() for array in arrays)])
    return Expectation(key=key, inputs=inputs, outputs=outputs)


@dataclass(slots=True)
class Measurer:
    """Measures candidates on one board, which it connects to when it is first needed and after it was lost; close it.

    An emulator's model counts the same every time and is asked once. A physical board runs warm seven times: the median
    counts, and how far the slowest is from it is kept.

    Args:
        board: the board.
        connect: opens a session with it.
    """

    board: Board
    connect: Callable[[], Session]
    _session: Session | None = None
    _interrupted: bool = False
    _deadlines: dict[str, float] = field(default_factory=dict)

    def open(self) -> Session:
        """Return the session with the board, a new one if there is none.

        Raises:
            BoardLostError: the board can't be reached.
        """
        if self._session is None and not self._interrupted:
            try:
                self._session = self.connect()
            except UtvmError as error:
                raise BoardLostError(str(error)) from error
        if self._session is None or self._interrupted:  # perhaps while it was opened
            self.close()
            raise BoardLostError(f"board '{self.board.name}' is given back")
        return self._session

    def interrupt(self) -> None:
        """From another thread: end the trial that runs soon, the core halted, and refuse all others; close it next."""
        self._interrupted = True
        session = self._session
        if session is not None:
            session.interrupt()

    def close(self) -> None:
        """End the session; never fails."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def measure(self, expected: Expectation, built: BuiltCandidate) -> Trial:
        """Return what a candidate costs, or how it failed; it takes its deadline at most.

        A link that is lost is no fault of the candidate at first: the trial is made again on the board started anew.

        Raises:
            BoardLostError: the board can't be reached.
            RecordError: it counts nothing.
        """
        if built.image is None:
            return Trial(outcome=built.outcome, message=built.message)
        for attempt in range(_ATTEMPTS):
            try:
                return self._measure(expected, built)
            except (LinkLostError, LinkTimeoutError) as error:
                self.close()
                if attempt + 1 == _ATTEMPTS:
                    return Trial(outcome=Outcome.CRASHED, message=str(error))
            except CallInterruptedError as error:
                raise BoardLostError(str(error)) from error
            except DeviceError as error:
                # The next candidate starts on a board that nothing is left on.
                self.close()
                hung = isinstance(error, CallTimeoutError)
                return Trial(outcome=Outcome.HUNG if hung else Outcome.CRASHED, message=str(error))
        raise RecordError("a trial ended without an outcome")  # pragma: no cover - the loop returns

    def _measure(self, expected: Expectation, built: BuiltCandidate) -> Trial:
        assert built.image is not None
        session = self.open()
        first = _FIRST_SECONDS if self.board.emulator is None else _FIRST_EMULATED_SECONDS
        deadline = self._deadlines.get(expected.key, first)
        started = time.perf_counter()
        session.load(built.image)
        loaded = time.perf_counter()
        runs: list[Measurement] = []
        for _ in range(1 if self.board.emulator is not None else 1 + _HARDWARE_RUNS):
            self._write(session, built.inputs, expected.inputs)
            runs.append(session.call(RUN_SYMBOL, timeout=deadline))
            wrong = self._difference(session, built.outputs, expected)
            if wrong:
                return Trial(outcome=Outcome.WRONG, message=wrong)
        if runs[-1].cycles is None and runs[-1].instructions is None:
            raise RecordError(
                f"board '{self.board.name}' counts neither cycles nor instructions: name its cycle_counter in its TOML"
            )
        ended = time.perf_counter()
        longest = max(run.seconds for run in runs)
        self._deadlines[expected.key] = min(deadline, max(_LEAST_SECONDS, _SLOWER * longest))
        cycles, spread = _typical([run.cycles for run in runs[1:]] or [runs[0].cycles])
        return Trial(
            outcome=Outcome.OK,
            cycles=cycles,
            cold_cycles=runs[0].cycles if len(runs) > 1 else None,
            instructions=runs[-1].instructions,
            cycles_source=runs[-1].cycles_source,
            spread=spread,
            load_seconds=loaded - started,
            run_seconds=ended - loaded,
        )

    def _write(self, session: Session, ports: tuple[CPort, ...], values: Arrays) -> None:
        for port in ports:
            session.write(ARENA_SYMBOL, values[port.tensor.name].tobytes(), offset=port.offset)

    def _difference(self, session: Session, ports: tuple[CPort, ...], expected: Expectation) -> str:
        """Return where the outputs are not what the reference says, or nothing."""
        for port in ports:
            held = session.read(ARENA_SYMBOL, port.tensor.nbytes, offset=port.offset)
            wanted = np.ascontiguousarray(expected.outputs[port.tensor.name])
            found = np.frombuffer(held, dtype=wanted.dtype).reshape(wanted.shape)
            unequal = _unequal(found, wanted, expected.tolerance)
            if unequal.any():
                different = int(unequal.sum())
                place = tuple(int(axis[0]) for axis in np.nonzero(unequal))
                return (
                    f"{different:,} of {wanted.size:,} values differ from the reference, the first at {place}: "
                    f"{found[place]} instead of {wanted[place]}"
                )
        return ""


def _unequal(found: NDArray[Any], wanted: NDArray[Any], tolerance: float) -> NDArray[np.bool_]:
    """Return where values differ, bit by bit without a tolerance. All NaN are one; infinities have no neighbours."""
    if tolerance and wanted.dtype.kind == "f":
        finite = np.isfinite(wanted)
        bound = tolerance * np.abs(wanted[finite]).max(initial=0)
        near = np.isclose(found, wanted, rtol=tolerance, atol=bound, equal_nan=True)
        return np.array(~near | (finite & ~np.isfinite(found)), np.bool_)
    return differing(found, wanted)


def _typical(cycles: list[int | None]) -> tuple[int | None, float]:
    """Return the median, and the slowest over it, less one."""
    known = [value for value in cycles if value is not None]
    if len(known) < len(cycles):
        return None, 0.0
    middle = round(statistics.median(known))
    return middle, (max(known) / middle - 1 if middle else 0.0)
