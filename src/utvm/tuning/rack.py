"""Boards of one kind that take trials at the same time: one queue, a thread and a session for each board."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, fields

from utvm.boards import Board
from utvm.cache import digest
from utvm.device import Session
from utvm.tuning.build import BuiltCandidate
from utvm.tuning.measure import BoardLostError, Expectation, Measurer, Trial
from utvm.tuning.record import Outcome

MOST_LOSSES = 3
"""A candidate during which so many boards were lost has crashed them."""

_RETRY_SECONDS = 5.0
_CLOSE_SECONDS = 5.0
_OWN = frozenset({"name", "description", "link", "silicon", "unverified", "sources", "untrusted"})

Connect = Callable[[], Session]


class Rack(ABC):
    """Where candidates are measured; close it."""

    @property
    @abstractmethod
    def boards(self) -> int:
        """How many trials it can make at once now."""

    @property
    def places(self) -> int:
        """How many trials should be in flight, so that no board waits for its next."""
        return self.boards

    @abstractmethod
    def submit(self, expected: Expectation, built: BuiltCandidate) -> Future[Trial]:
        """Begin a trial. The future raises `UtvmError` if no board is left."""

    @abstractmethod
    def close(self) -> None:
        """Give the boards back; trials in flight are dropped. Never fails."""


def board_kind(board: Board) -> str:
    """Return what is equal for boards whose trials can be compared: all but their names and links."""
    return digest(f"{field.name}={getattr(board, field.name)!r}" for field in fields(board) if field.name not in _OWN)


def after_losses(losses: int, why: str) -> Trial:
    """Return the trial of a candidate that always took its board with it."""
    return Trial(outcome=Outcome.CRASHED, message=f"{losses} boards were lost while they measured it; the last: {why}")


@dataclass(slots=True, eq=False)
class _Work:
    expected: Expectation
    built: BuiltCandidate
    future: Future[Trial]
    losses: int = 0


class LocalRack(Rack):
    """Boards of this host.

    A board that can't be reached gives its trial to the others, and is tried again every few seconds. When all are
    away, everything that waits fails with what the last one said.

    Args:
        boards: each board and what opens a session with it.
    """

    def __init__(self, boards: Sequence[tuple[Board, Connect]]) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[_Work] = deque()
        self._away: set[int] = set()
        self._closing = False
        self._measurers = [Measurer(board=board, connect=connect) for board, connect in boards]
        self._threads = [
            threading.Thread(target=self._serve, args=(number,), name=f"board {number}", daemon=True)
            for number in range(len(boards))
        ]
        for thread in self._threads:
            thread.start()

    @property
    def boards(self) -> int:
        """Those that are not away, one at least."""
        return max(1, len(self._measurers) - len(self._away))

    def submit(self, expected: Expectation, built: BuiltCandidate) -> Future[Trial]:
        """Begin a trial on the first board that is free."""
        work = _Work(expected, built, Future())
        with self._changed:
            self._waiting.append(work)
            self._changed.notify()
        return work.future

    def close(self) -> None:
        """End all trials, which leaves the cores halted, and all sessions."""
        with self._changed:
            self._closing = True
            self._waiting.clear()
            self._changed.notify_all()
        for measurer in self._measurers:
            measurer.interrupt()
        deadline = time.monotonic() + _CLOSE_SECONDS
        for thread, measurer in zip(self._threads, self._measurers, strict=True):
            thread.join(max(deadline - time.monotonic(), 0))
            measurer.close()  # that of a board that does not answer
            thread.join(_CLOSE_SECONDS)

    def _serve(self, number: int) -> None:
        """Measure on one board until the rack closes."""
        measurer = self._measurers[number]
        while (work := self._take(number)) is not None:
            try:
                trial = measurer.measure(work.expected, work.built)
            except BoardLostError as error:
                self._lost(number, work, error)
            except BaseException as error:
                work.future.set_exception(error)
            else:
                with self._changed:
                    self._away.discard(number)
                work.future.set_result(trial)
        measurer.close()

    def _take(self, number: int) -> _Work | None:
        """Return what is next, or None when the rack closes. A board that is away lets the others go first."""
        with self._changed:
            if number in self._away:
                self._changed.wait_for(lambda: self._closing, _RETRY_SECONDS)
            self._changed.wait_for(lambda: self._closing or self._waiting)
            return None if self._closing else self._waiting.popleft()

    def _lost(self, number: int, work: _Work, error: BoardLostError) -> None:
        with self._changed:
            if number not in self._away:
                self._away.add(number)
                work.losses += 1
            if self._closing:
                return
            if len(self._away) == len(self._measurers):
                for each in (work, *self._waiting):
                    each.future.set_exception(error)
                self._waiting.clear()
            elif work.losses >= MOST_LOSSES:
                work.future.set_result(after_losses(work.losses, str(error)))
            else:
                self._waiting.appendleft(work)
                self._changed.notify()
