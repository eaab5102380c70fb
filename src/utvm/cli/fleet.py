"""`utvm fleet`: boards of several hosts for one tuner."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from utvm.cli.options import add_tls, add_trust, names, tls_files

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add_parser(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "fleet",
        help="let `utvm tune --fleet` use boards of several hosts",
        description=(
            "One scheduler, and one worker on each host that has boards; `utvm tune --fleet ADDRESS` gives them work. "
            "Everything is on loopback unless TLS is set up: who can connect to a scheduler can run programs on its "
            "workers. Needs the extra: pip install 'utvm[fleet]'."
        ),
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    scheduler = actions.add_parser(
        "scheduler",
        help="run the scheduler",
        description="Run the scheduler until Ctrl-C. It opens one port and no page.",
    )
    scheduler.add_argument(
        "--host", default="127.0.0.1", help="where to listen (default: 127.0.0.1); any other address needs TLS"
    )
    scheduler.add_argument("--port", type=int, default=8786, help="default: 8786; 0 is any that is free")
    add_tls(scheduler)
    scheduler.set_defaults(run=_scheduler)
    worker = actions.add_parser(
        "worker",
        help="offer boards of this host",
        description=(
            "Offer boards of this host to a scheduler until Ctrl-C, one trial at a time on each. A board that can't be "
            "reached is withdrawn and tried every few seconds, and so is the scheduler."
        ),
    )
    worker.add_argument(
        "--scheduler", required=True, metavar="ADDRESS", help="tcp://127.0.0.1:8786, or tls://host:8786 with TLS"
    )
    worker.add_argument(
        "--boards",
        required=True,
        type=names,
        metavar="A,B,...",
        help="names or TOMLs of boards; an emulated board's name may be repeated",
    )
    add_trust(worker)
    add_tls(worker)
    worker.set_defaults(run=_worker)


def _scheduler(arguments: argparse.Namespace) -> int:
    from utvm.fleet import run_scheduler

    run_scheduler(arguments.host, arguments.port, tls_files(arguments), say=_say)
    return 0


def _worker(arguments: argparse.Namespace) -> int:
    from utvm.boards import load_board
    from utvm.fleet import Fleet, run_worker

    fleet = Fleet(address=arguments.scheduler, tls=tls_files(arguments))
    trust = arguments.trust_board
    boards = [load_board(Path(name) if "/" in name else name, trust=trust) for name in arguments.boards]
    run_worker(fleet, boards, say=_say)
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
