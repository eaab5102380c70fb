"""Boards of several hosts for one tuner: Dask's scheduler and workers, on loopback or through TLS."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from utvm.boards import Board, require_trust
from utvm.fleet.address import DEFAULT_PORT, Fleet, FleetError, Tls, check_listener
from utvm.prerequisites import how_to_add
from utvm.tuning import Rack

__all__ = ["DEFAULT_PORT", "Fleet", "FleetError", "Tls", "fleet_rack", "run_scheduler", "run_worker"]

Say = Callable[[str], None]


def fleet_rack(fleet: Fleet, board: Board, *, assume: str | None = None) -> Rack:
    """Return the boards of a fleet that are of the kind of `board`.

    Raises:
        FleetError: the scheduler can't be reached, no worker has such a board, or a package is missing.
    """
    _require_distributed()
    from utvm.fleet.rack import FleetRack

    return FleetRack(fleet, board, assume=assume)


def run_worker(fleet: Fleet, boards: Sequence[Board], *, say: Say) -> None:
    """Offer boards of this host to a fleet until SIGINT or SIGTERM.

    Raises:
        FleetError: a package is missing.
        BoardError: a board's file names programs, and nobody trusted it.
    """
    _require_distributed()
    for board in boards:
        require_trust(board)
    from utvm.fleet.worker import serve

    serve(fleet, boards, say=say)


def run_scheduler(host: str, port: int, tls: Tls | None, *, say: Say) -> None:
    """Run the scheduler of a fleet until SIGINT or SIGTERM.

    Raises:
        FleetError: it would listen on a network without TLS, can't listen there, or a package is missing.
    """
    check_listener(host, tls)
    _require_distributed()
    from utvm.fleet.scheduler import serve

    serve(host, port, tls, say=say)


def _require_distributed() -> None:
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise FleetError(f"fleets need {error.name}: `{how_to_add('fleet')}`") from error
