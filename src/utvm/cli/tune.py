"""`utvm tune`: measure kernels of a model on a board until more would not pay."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from utvm.cli.options import (
    add_board,
    add_database,
    add_model_file,
    add_tls,
    add_trust,
    amount,
    count,
    names,
    share,
    tls_files,
)

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add_parser(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "tune",
        help="measure kernels of a model on a board, and keep what is fastest for later compilations",
        description=(
            "Build candidates for each operator of MODEL, load each alone into the RAM of BOARD, check its results bit "
            "by bit, time it, and record it. Ends when one more trial is expected to gain too little. Ctrl-C loses "
            "nothing; a second start goes on where the first ended."
        ),
    )
    add_model_file(parser)
    add_board(parser, several=True)
    add_trust(parser)
    parser.add_argument(
        "--fleet", metavar="ADDRESS", help="measure on all boards of that kind behind this scheduler (see `utvm fleet`)"
    )
    add_tls(parser)
    parser.add_argument(
        "--operators",
        type=names,
        default=[],
        metavar="A,B,...",
        help="tune only these operators of the model, by the names that `utvm space` shows",
    )
    limit = parser.add_mutually_exclusive_group()
    limit.add_argument("--trials", type=count, metavar="N", help="measure at most so many candidates")
    limit.add_argument("--minutes", type=amount, metavar="M", help="tune at most so long")
    parser.add_argument(
        "--gain",
        type=share,
        metavar="PERCENT",
        help="end when a trial is expected to save less than this of the network's cycles (default: 0.05; 0: never)",
    )
    parser.add_argument("--search", metavar="NAME", help="estimate (default), learned, optuna, random or exhaustive")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of searches that draw (default: 0)")
    add_database(parser)
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write a page with curves and chosen kernels")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from utvm.boards import load_board
    from utvm.fleet import Fleet, FleetError
    from utvm.model_tuning import DEFAULT_GAIN, tune
    from utvm.report import TuningProgress, print_table, tuning_html, tuning_json, tuning_table, write_text
    from utvm.tuning import DEFAULT_SEARCH

    tls = tls_files(arguments)
    if tls is not None and arguments.fleet is None:
        raise FleetError("TLS is for the connection to a fleet: give --fleet tls://HOST:PORT")
    boards = [load_board(name, trust=arguments.trust_board) for name in arguments.boards or [arguments.board]]
    seconds = None if arguments.minutes is None else 60 * arguments.minutes
    with TuningProgress(trials=arguments.trials, seconds=seconds) as progress:
        tuned = tune(
            arguments.model,
            boards[0],
            operators=arguments.operators,
            others=boards[1:],
            fleet=None if arguments.fleet is None else Fleet(address=arguments.fleet, tls=tls),
            database=arguments.db,
            trials=arguments.trials,
            seconds=seconds,
            gain=DEFAULT_GAIN if arguments.gain is None else arguments.gain / 100,
            search=arguments.search or DEFAULT_SEARCH,
            seed=arguments.seed,
            assume=arguments.assume,
            observe=progress,
        )
    if arguments.html is not None:
        write_text(arguments.html, tuning_html(tuned.report))
    if arguments.json:
        print(json.dumps(tuning_json(tuned.report), indent=2))
    else:
        print_table(tuning_table(tuned.report))
    if tuned.interrupted:
        raise KeyboardInterrupt
    return 0
