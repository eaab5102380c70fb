"""A thread that does one thing after the other, so that a call into somebody else's library can have a deadline."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

_Result = TypeVar("_Result")


class Worker:
    """A thread that never keeps Python from ending. What it was given is done in order, also after a time-out."""

    def __init__(self, name: str) -> None:
        self._tasks: queue.SimpleQueue[tuple[Future[object], Callable[[], object]] | None] = queue.SimpleQueue()
        threading.Thread(target=self._serve, name=name, daemon=True).start()

    def run(self, task: Callable[[], _Result], timeout: float) -> _Result:
        """Return what `task` returns, or raise what it raises.

        Raises:
            TimeoutError: it is not done after `timeout` seconds; it goes on all the same.
        """
        done: Future[_Result] = Future()
        self._tasks.put((done, task))  # type: ignore[arg-type]
        return done.result(timeout)

    def stop(self) -> None:
        """End the thread after what it was given."""
        self._tasks.put(None)

    def _serve(self) -> None:
        while (item := self._tasks.get()) is not None:
            done, task = item
            try:
                done.set_result(task())
            except BaseException as error:
                done.set_exception(error)
