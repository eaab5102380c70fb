"""The boards of a fleet, to a tuner: candidates go out as built objects, trials come back."""

from __future__ import annotations

import threading
import time
import uuid
from concurrent.futures import Future
from dataclasses import dataclass

import distributed

from utvm.boards import Board
from utvm.errors import UtvmError
from utvm.fleet.address import Fleet, FleetError, security
from utvm.fleet.servers import hush
from utvm.fleet.shipment import Shipment
from utvm.fleet.worker import measure_here, offered
from utvm.tuning import BoardLostError, BuiltCandidate, Expectation, Rack, Trial
from utvm.tuning.rack import MOST_LOSSES, after_losses

_CONNECT_SECONDS = 10.0
_FIRST_BOARD_SECONDS = 15.0
_NO_BOARD_SECONDS = 60.0
_LOOK_SECONDS = 1.0


@dataclass(slots=True, eq=False)
class _Work:
    shipment: Shipment
    future: Future[Trial]
    losses: int = 0
    sent: distributed.Future[Trial] | None = None


class FleetRack(Rack):
    """Boards of one kind behind a scheduler.

    A worker or host that dies gives its trials to others, which Dask sees to; a board that a worker lost gives its
    trial back to us. A fleet without any board is waited for a minute.

    Args:
        fleet: where the scheduler is.
        board: the kind of board.
        assume: as in `utvm.connect`.

    Raises:
        FleetError: the scheduler can't be reached, or no worker has such a board.
    """

    def __init__(self, fleet: Fleet, board: Board, *, assume: str | None) -> None:
        hush()
        self._fleet = fleet
        self._kind = offered(board)
        self._assume = assume
        self._lock = threading.Lock()
        self._works: set[_Work] = set()
        self._closing = threading.Event()
        try:
            self._client = distributed.Client(
                fleet.address, security=security(fleet.tls), timeout=_CONNECT_SECONDS, set_as_default=False
            )
        except (OSError, TimeoutError) as error:
            raise FleetError(
                f"no scheduler answers at {fleet.address}: start it with `utvm fleet scheduler`, and workers with "
                "`utvm fleet worker`"
            ) from error
        hush()
        self._count = self._first_count(board)
        threading.Thread(target=self._watch, name="fleet", daemon=True).start()

    @property
    def boards(self) -> int:
        """Those that workers offer at present, one at least."""
        return max(1, self._count)

    @property
    def places(self) -> int:
        """One trial more for each board: its next is there when it ends one."""
        return 2 * self.boards

    def submit(self, expected: Expectation, built: BuiltCandidate) -> Future[Trial]:
        """Begin a trial on any free board.

        Raises:
            FleetError: the candidate's file is gone.
        """
        try:
            work = _Work(Shipment.pack(expected, built, self._assume), Future())
        except OSError as error:
            raise FleetError(f"the program of a candidate can't be read: {error}; tune again") from error
        with self._lock:
            self._works.add(work)
        self._send(work)
        return work.future

    def close(self) -> None:
        """Leave the fleet; it drops what was in flight."""
        self._closing.set()
        self._client.close(timeout=2)

    def _send(self, work: _Work) -> None:
        try:
            work.sent = self._client.submit(
                measure_here,
                work.shipment,
                key=f"utvm-trial-{uuid.uuid4().hex}",
                pure=False,
                resources={self._kind: 1},
            )
            work.sent.add_done_callback(lambda sent: self._done(work, sent))
        except Exception as error:
            self._end(work, FleetError(f"the scheduler at {self._fleet.address} is gone: {error}"))

    def _done(self, work: _Work, sent: distributed.Future[Trial]) -> None:
        if self._closing.is_set():
            return
        if sent.status == "finished":
            self._end(work, sent.result())
            return
        if sent.status in ("lost", "pending"):  # its host died with the result before it was asked for it
            self._send(work)
            return
        if sent.status != "error":
            self._end(work, FleetError(f"the scheduler at {self._fleet.address} is gone: tune again when it is back"))
            return
        error = sent.exception()
        if isinstance(error, distributed.KilledWorker):
            self._end(work, after_losses(MOST_LOSSES + 1, "its host's process died"))
        elif not isinstance(error, BoardLostError):
            self._end(work, error if isinstance(error, UtvmError) else FleetError(f"a worker of the fleet: {error}"))
        else:
            work.losses += 1
            if work.losses >= MOST_LOSSES:
                self._end(work, after_losses(work.losses, str(error)))
            else:
                self._send(work)

    def _end(self, work: _Work, outcome: Trial | BaseException) -> None:
        with self._lock:
            if work not in self._works:
                return
            self._works.remove(work)
        work.sent = None
        if isinstance(outcome, Trial):
            work.future.set_result(outcome)
        else:
            work.future.set_exception(outcome)

    def _first_count(self, board: Board) -> int:
        deadline = time.monotonic() + _FIRST_BOARD_SECONDS
        while True:
            workers = self._workers()
            count = self._offered(workers)
            if count:
                return count
            if time.monotonic() > deadline:
                self._client.close(timeout=2)
                there = ", ".join(sorted(str(worker["name"]).split(",")[0] for worker in workers)) or "nothing"
                raise FleetError(
                    f"no worker of the fleet at {self._fleet.address} has a board like '{board.name}' as this version "
                    f"of µTVM describes it; it has {there}"
                )
            time.sleep(_LOOK_SECONDS / 4)

    def _workers(self) -> list[dict[str, object]]:
        return list(self._client.scheduler_info()["workers"].values())

    def _offered(self, workers: list[dict[str, object]]) -> int:
        resources = [worker["resources"] for worker in workers]
        return sum(round(each.get(self._kind, 0)) for each in resources if isinstance(each, dict))

    def _watch(self) -> None:
        """Keep the count, and end what waits when no board has been there for long."""
        seen = time.monotonic()
        while not self._closing.wait(_LOOK_SECONDS):
            try:
                self._count = self._offered(self._workers())
            except Exception:
                self._count = 0
            now = time.monotonic()
            if self._count:
                seen = now
            elif now - seen > _NO_BOARD_SECONDS:
                for work in list(self._works):
                    self._end(work, FleetError(f"the fleet at {self._fleet.address} has had no board for a minute"))
