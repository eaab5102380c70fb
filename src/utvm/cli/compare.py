"""`utvm compare`: one table of a model on many boards."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from utvm.cli.options import add_model_file, names

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add_parser(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "compare",
        help="estimate what a model costs on all boards, and say where it does not fit",
        description="Estimate what MODEL costs on each board, as `utvm cost` does for one, in one table.",
    )
    add_model_file(parser)
    parser.add_argument(
        "--boards", type=names, metavar="A,B,...", help="names of boards or paths of their TOMLs (default: all)"
    )
    parser.add_argument(
        "--small",
        action="store_true",
        help="leave out kernels that buy speed with several times the flash and tens of KB of RAM",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list instead of a table")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from utvm import api
    from utvm.boards import list_boards
    from utvm.report import comparison_json, comparison_table, print_table

    boards = arguments.boards or list_boards()
    reports = api.compare(arguments.model, boards, small=arguments.small)
    if arguments.json:
        print(json.dumps(comparison_json(reports), indent=2))
    else:
        print_table(comparison_table(reports))
    return 0
