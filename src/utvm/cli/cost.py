"""`utvm cost`: what a model costs on a board, by estimate alone."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from utvm.cli.options import add_model, compile_options

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add_parser(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "cost",
        help="estimate cycles, RAM and flash of a model on a board, without a compiler or a run",
        description=(
            "Estimate what MODEL costs on BOARD: modelled cycles and milliseconds, arena, flash and their shares of "
            "the board's memories. Nothing is compiled or run, so no tool and no board is needed."
        ),
    )
    add_model(parser, dump=False)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from utvm import api
    from utvm.report import cost_json, cost_table, print_table

    report = api.cost(arguments.model, arguments.board, **compile_options(arguments))
    if arguments.json:
        print(json.dumps(cost_json(report), indent=2))
    else:
        print_table(cost_table(report))
    return 0
