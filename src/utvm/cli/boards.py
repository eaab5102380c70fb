"""`utvm boards`: the boards that are described, and how each is reached."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add_parser(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "boards",
        help="list the boards with core, clock, memories and how they are reached",
        description="List the boards that µTVM knows: core, clock, memories, and how each is reached.",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list instead of a table")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from utvm.boards import list_boards
    from utvm.report import boards_json, boards_table, print_table

    boards = list_boards()
    if arguments.json:
        print(json.dumps(boards_json(boards), indent=2))
    else:
        print_table(boards_table(boards))
    return 0
