"""`utvm boards`: the boards that are described, one of them with everything, and new ones."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from utvm.cli import boards_add
from utvm.cli.options import add_trust

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add_parser(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "boards",
        help="list the boards, show all that is known of one, describe your own, check one that is connected",
        description="List the boards that µTVM knows, those in your own directory too: what they are, core, clock, "
        "memories, and how each is reached.",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list instead of a table")
    parser.set_defaults(run=_list)
    actions = parser.add_subparsers(metavar="ACTION")
    show = actions.add_parser(
        "show",
        help="print all that is known of a board: memories, images, links, clock, sources, what is unverified",
        description="Print all that the file of BOARD says.",
    )
    show.add_argument("board", metavar="BOARD", help="a board's name or the path of its TOML")
    show.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    show.set_defaults(run=_show)
    check = actions.add_parser(
        "check",
        help="compare a board's file with the connected board, only reading",
        description="Halt the core of the connected board and compare it with the file of BOARD. Nothing is written. "
        "With --pipeline short kernels run in RAM, and what they took is compared with the cycle model of the core; a "
        "[pipeline] that explains the difference can be kept in a file for --assume. Exits with 2 if they differ.",
    )
    check.add_argument("board", metavar="BOARD", help="a board's name or the path of its TOML")
    check.add_argument(
        "--pipeline",
        action="store_true",
        help="instead, run short kernels in RAM and compare their cycles with the table that models the core",
    )
    boards_add.add_link(check)
    add_trust(check)
    check.set_defaults(run=boards_add.check)
    boards_add.add_parser(actions)


def _list(arguments: argparse.Namespace) -> int:
    from utvm.boards import list_boards, user_boards
    from utvm.report import boards_json, boards_table, print_table

    boards = (*list_boards(), *user_boards())
    if arguments.json:
        print(json.dumps(boards_json(boards), indent=2))
    else:
        print_table(boards_table(boards))
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from utvm.boards import load_board
    from utvm.report import board_json, board_text

    board = load_board(arguments.board)
    print(json.dumps(board_json(board), indent=2) if arguments.json else board_text(board))
    return 0
