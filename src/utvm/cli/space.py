"""`utvm space`: what tuning may choose from."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from utvm.cli.options import add_board, add_model_file

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add_parser(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "space",
        help="list the workloads of a model, the kernel families that compete for each, and how many configs there are",
        description="List each distinct workload of MODEL on BOARD, its kernel families and the size of its space.",
    )
    add_model_file(parser)
    add_board(parser)
    parser.add_argument("--json", action="store_true", help="print a JSON list with every candidate")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from utvm.model_tuning import model_tasks
    from utvm.report import print_table, space_json, space_table

    name, tasks = model_tasks(arguments.model, arguments.board)
    if arguments.json:
        print(json.dumps(space_json(tasks), indent=2))
    else:
        print_table(space_table(name, arguments.board, tasks))
    return 0
