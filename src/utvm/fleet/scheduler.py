"""The scheduler of a fleet: tuners give it trials, workers offer it boards."""

from __future__ import annotations

import asyncio

from utvm.fleet import Say
from utvm.fleet.address import FleetError, Tls, security
from utvm.fleet.servers import WITHOUT_TLS, QuietScheduler, hush, stop_on_signals


def serve(host: str, port: int, tls: Tls | None, *, say: Say) -> None:
    """Run until SIGINT or SIGTERM.

    Raises:
        FleetError: it can't listen there.
    """
    hush()
    try:
        asyncio.run(_serve(host, port, tls, say))
    except OSError as error:
        raise FleetError(f"the scheduler can't listen on {host}:{port}: {error.strerror or error}") from error


async def _serve(host: str, port: int, tls: Tls | None, say: Say) -> None:
    stop = stop_on_signals()
    protocol = "tcp" if tls is None else "tls"
    scheduler = QuietScheduler(host=host, port=port, protocol=protocol, dashboard=False, security=security(tls))
    async with scheduler:
        say(f"scheduler at {scheduler.address}")
        if tls is None:
            say(WITHOUT_TLS)
        await stop.wait()
