"""A host of a fleet: each of its boards is a worker of Dask that takes one trial at a time."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import distributed

from utvm import __version__, api
from utvm.boards import Board
from utvm.cache import digest
from utvm.errors import UtvmError
from utvm.fleet import Say
from utvm.fleet.address import Fleet, security
from utvm.fleet.servers import WITHOUT_TLS, QuietWorker, first_of, hush, stop_on_signals
from utvm.fleet.shipment import Shipment
from utvm.tuning import BoardLostError, BuiltCandidate, Expectation, Measurer, Trial, board_kind

_RETRY_SECONDS = 3.0
_JOIN_SECONDS = "20s"
_TELL_SECONDS = 0.5
_CLOSE_SECONDS = 5.0


class Slot(Protocol):
    """What measures behind one worker of Dask."""

    name: str
    kind: str

    def open(self) -> None:
        """See that it is there; raises `UtvmError` if not."""

    def measure(self, expected: Expectation, built: BuiltCandidate, assume: str | None) -> Trial:
        """Make a trial; raises `BoardLostError`."""

    def close(self) -> None:
        """Give it back; a trial in it ends soon."""


class BoardSlot:
    """One board and its session."""

    def __init__(self, board: Board) -> None:
        self.name = board.name
        self.kind = offered(board)
        self._board = board
        self._closing = False
        self._measuring = threading.Lock()
        self._take(None)

    def open(self) -> None:
        """Connect."""
        self._measurer.open()

    def measure(self, expected: Expectation, built: BuiltCandidate, assume: str | None) -> Trial:
        """Make a trial under what the tuner's cycle model assumes."""
        with self._measuring:
            if assume != self._assume and not self._closing:
                self._measurer.close()
                self._take(assume)
            return self._measurer.measure(expected, built)

    def close(self) -> None:
        """End the trial that runs, which leaves the core halted, and the session."""
        self._closing = True
        self._measurer.interrupt()
        ended = self._measuring.acquire(timeout=_CLOSE_SECONDS)
        self._measurer.close()
        if ended:
            self._measuring.release()

    def _take(self, assume: str | None) -> None:
        board = replace(self._board, core=api.assumed_core(self._board, assume))
        self._assume = assume
        self._measurer = Measurer(board=board, connect=lambda: api.connect(board, assume=assume))


class BoardWorker(QuietWorker):
    """A worker of Dask with a slot. `lost` is set when the slot's board went away."""

    def __init__(self, fleet: Fleet, slot: Slot, directory: str) -> None:
        self.slot = slot
        self.lost = threading.Event()
        self.left = asyncio.Event()
        super().__init__(
            fleet.address,
            name=f"{slot.name} of {socket.gethostname()}, {os.getpid()}.{id(self):x}",
            nthreads=1,
            resources={slot.kind: 1},
            host="127.0.0.1" if fleet.is_loopback else None,
            dashboard=False,
            memory_limit=0,
            death_timeout=_JOIN_SECONDS,
            local_directory=directory,
            security=security(fleet.tls),
        )


def offered(board: Board) -> str:
    """Return the resource that stands for boards of this kind, as this version of µTVM measures them."""
    return f"utvm-board-{digest([__version__, board_kind(board)])[:16]}"


def measure_here(shipment: Shipment) -> Trial:
    """On a worker: make a trial on its board.

    Raises:
        BoardLostError: the board is away; the worker leaves the fleet until it is back.
    """
    worker = distributed.get_worker()
    assert isinstance(worker, BoardWorker)
    if worker.lost.is_set():  # it is leaving: what came meanwhile goes elsewhere
        time.sleep(_TELL_SECONDS)
        raise distributed.Reschedule
    try:
        with shipment.unpacked(Path(worker.local_directory)) as built:
            return worker.slot.measure(shipment.expected, built, shipment.assume)
    except BoardLostError:
        worker.lost.set()
        worker.loop.add_callback(worker.left.set)
        raise


def serve(fleet: Fleet, boards: Sequence[Board], *, say: Say) -> None:
    """Offer boards until SIGINT or SIGTERM."""
    hush()
    asyncio.run(serve_slots(fleet, [BoardSlot(board) for board in boards], say=say))


async def serve_slots(fleet: Fleet, slots: Sequence[Slot], *, say: Say) -> None:
    """Offer slots until SIGINT or SIGTERM; each comes and goes for itself."""
    stop = stop_on_signals()
    if fleet.tls is None:
        say(WITHOUT_TLS)
    with tempfile.TemporaryDirectory(prefix="utvm-fleet-") as directory:
        await asyncio.gather(*(_offer(fleet, slot, directory, stop, say) for slot in slots))


async def _closed(worker: BoardWorker) -> None:
    """Wait until Dask has closed a worker, as it does when the scheduler goes away."""
    while worker.status is not distributed.Status.closed:
        await asyncio.sleep(_TELL_SECONDS)


async def _offer(fleet: Fleet, slot: Slot, directory: str, stop: asyncio.Event, say: Say) -> None:
    """Join whenever both the board and the scheduler are there; say each change once."""
    said = ""

    def tell(what: str) -> None:
        nonlocal said
        if what != said:
            said = what
            say(f"{slot.name}: {what}")

    while not stop.is_set():
        try:
            await asyncio.to_thread(slot.open)
        except UtvmError as error:
            tell(f"away: {error}")
        else:
            try:
                worker = BoardWorker(fleet, slot, directory)
                async with worker:
                    tell(f"offered to {fleet.address}")
                    await first_of(stop.wait(), worker.left.wait(), _closed(worker))
                    if worker.left.is_set():
                        await asyncio.sleep(_TELL_SECONDS)  # the tuner hears of the loss from the trial itself
                    if stop.is_set():
                        await asyncio.to_thread(slot.close)
            except (OSError, TimeoutError) as error:
                tell(f"no scheduler at {fleet.address}: {error}")
        await first_of(stop.wait(), seconds=_RETRY_SECONDS)
    await asyncio.to_thread(slot.close)
