"""`utvm verify`: an exported library against the model it came from."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from utvm.cli.options import add_custom, add_trust, chosen_board, count

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_DIFFERS = 1


def add_parser(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "verify",
        help="check an exported library against its model, bit by bit, here and on the emulated board",
        description=(
            "Build the export in DIR for this machine (with sanitizers) and for the emulated board of its core, run "
            "inputs through it and compare with MODEL. Exits with 0 if all ran and is equal, with 1 if something is "
            "not equal, could not be built or run, or was changed since the export."
        ),
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="what `utvm export` wrote")
    parser.add_argument("--against", type=Path, required=True, metavar="MODEL", help="the model file")
    parser.add_argument("--inputs", type=count, default=16, metavar="N", help="how many inputs (default: 16)")
    parser.add_argument("--layers", action="store_true", help="compare every operator's result, not only the outputs")
    parser.add_argument("--board", metavar="BOARD", help="the board (default: the one it was exported for)")
    add_trust(parser)
    add_custom(parser)
    parser.add_argument(
        "--allow-changed", action="store_true", help="let files pass that were changed since the export, if equal"
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from utvm.deploy import verification_text, verify

    verification = verify(
        arguments.directory,
        arguments.against,
        inputs=arguments.inputs,
        layers=arguments.layers,
        board=None if arguments.board is None else chosen_board(arguments),
        allow_changed=arguments.allow_changed,
    )
    print(verification_text(verification))
    return 0 if verification.passed else _DIFFERS
