"""Dask's servers as a fleet runs them: no pages over HTTP and no other port than their own, and quiet."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Coroutine
from typing import Any

import dask
import distributed

# A result is fetched from the host that has it; of one that has just died all others would wait half a minute.
dask.config.set({"distributed.comm.timeouts.connect": "10s"})


WITHOUT_TLS = (
    "without TLS: whoever reaches this port or a worker's, as every user of this machine does, can run code as "
    "this user; with --tls-ca-file, --tls-cert and --tls-key only who has a certificate can"
)


class QuietScheduler(distributed.Scheduler):
    """A scheduler without pages."""

    def start_http_server(self, *_: Any, **__: Any) -> None:
        """Open no port."""


class QuietWorker(distributed.Worker):
    """A worker without pages."""

    def start_http_server(self, *_: Any, **__: Any) -> None:
        """Open no port."""


def hush() -> None:
    """Leave what is said to us: connections that end are no news."""
    for name in list(logging.root.manager.loggerDict):
        if name.split(".")[0] in ("distributed", "tornado"):
            logging.getLogger(name).setLevel(logging.CRITICAL)


def stop_on_signals() -> asyncio.Event:
    """Return what is set by SIGINT or SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def first_of(*events: Coroutine[Any, Any, Any], seconds: float | None = None) -> None:
    """Wait for the first of several, at most so long."""
    tasks = [asyncio.ensure_future(event) for event in events]
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
