"""`utvm run`: compile a model, load it into a board's RAM over the debug link, run it on an input."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from utvm.cli.options import add_model, add_trust, amount, chosen_board, compile_options

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add_parser(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "run",
        help="run a model on a board and print its outputs and cost",
        description=(
            "Compile MODEL, load it into the RAM of BOARD over the debug link, run it once on an input and print the "
            "outputs, the instructions executed, RAM, flash, and where the time of the command went."
        ),
    )
    add_model(parser)
    add_trust(parser)
    parser.add_argument(
        "--input",
        type=Path,
        required=True,
        metavar="FILE",
        help="the input: .npy, .npz (one array for each input name), or a picture (.png, .jpg)",
    )
    parser.add_argument(
        "--link",
        choices=("gdb", "openocd", "pyocd"),
        help="which of the board's debug links to use; default: as its TOML says",
    )
    parser.add_argument("--labels", type=Path, metavar="FILE", help="class names, one a line, to name the scores")
    parser.add_argument("--timeout", type=amount, metavar="SECONDS", help="how long the target may take for the run")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from utvm import api
    from utvm.report import read_labels, run_json, run_text

    labels = read_labels(arguments.labels)
    report = api.run_once(
        arguments.model,
        chosen_board(arguments),
        arguments.input,
        **compile_options(arguments),
        link=arguments.link,
        dump=arguments.dump,
        timeout=arguments.timeout,
    )
    print(json.dumps(run_json(report)) if arguments.json else run_text(report, labels))
    return 0
