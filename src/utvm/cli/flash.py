"""`utvm flash`: a firmware into a board, through its debug link."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add_parser(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "flash",
        help="program a firmware into a board through its debug link, and start it",
        description="Write FIRMWARE into the memories of BOARD through its debug link, read it back, and start it.",
    )
    parser.add_argument("firmware", type=Path, metavar="FIRMWARE", help="an .elf that `utvm export` made")
    parser.add_argument("--board", required=True, metavar="BOARD", help="a board's name or the path of its TOML")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from utvm.deploy import flash

    done = flash(arguments.firmware, arguments.board)
    places = ", ".join(f"{len(segment.data):,} B at 0x{segment.address:08x}" for segment in done.segments)
    print(f"{done.board}: {places}: programmed, read back, started")
    return 0
