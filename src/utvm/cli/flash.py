"""`utvm flash`: a firmware into a board, through its debug link."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from utvm.cli.options import add_trust, chosen_board

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from utvm.deploy import Programming


def add_parser(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "flash",
        help="program a firmware into a board through its debug link, and start it",
        description="Program FIRMWARE into BOARD through its debug link, read it back, reset the board and let it run. "
        "Flash of a physical board is programmed by OpenOCD or pyOCD, which erase whole sectors: what will be "
        "overwritten is shown, and asked for.",
    )
    parser.add_argument("firmware", type=Path, metavar="FIRMWARE", help="an .elf that `utvm export` made")
    parser.add_argument("--board", required=True, metavar="BOARD", help="a board's name or the path of its TOML")
    add_trust(parser)
    parser.add_argument("--link", help="which of the board's debug links to use: gdb, openocd or pyocd")
    parser.add_argument("--yes", action="store_true", help="do not ask before the flash of a board is overwritten")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from utvm.deploy import flash, plan_flash

    plan = plan_flash(arguments.firmware, chosen_board(arguments), link=arguments.link)
    if plan.board.kind == "physical":
        _confirm(plan, yes=arguments.yes)
    done = flash(arguments.firmware, plan.board)
    print(f"{done.board.name}: {', '.join(done.described)}: programmed, read back, started")
    return 0


def _confirm(plan: Programming, *, yes: bool) -> None:
    """Show what will be lost; return if it may be.

    Raises:
        UtvmError: it may not.
    """
    from utvm.errors import UtvmError

    print(f"{plan.board.name}: erases the sectors under {', '.join(plan.described)}, and what else they hold")
    if yes:
        return
    if not sys.stdin.isatty():
        raise UtvmError("nothing was programmed: say --yes to overwrite this")
    try:
        answer = input("Go on? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise UtvmError("nothing was programmed")
