"""`utvm profile`: where a network's time and memory go on a board."""

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
        "profile",
        help="show what each operator of a model costs on a board",
        description=(
            "Compile MODEL, run it on BOARD as a whole and operator by operator, and show instructions, cycles, "
            "cycles a MAC, scratch, flash and the kernel of each. On emulated boards instructions are exact and "
            "cycles modelled."
        ),
    )
    add_model(parser, dump=False)
    add_trust(parser)
    parser.add_argument("--input", type=Path, metavar="FILE", help="the input (default: seeded random values)")
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write a page with bars and the arena over time")
    parser.add_argument("--timeout", type=amount, metavar="SECONDS", help="how long the target may take for a call")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from utvm.profiling import profile
    from utvm.report import plan_svg, print_table, profile_html, profile_json, profile_table, write_text

    report, compiled = profile(
        arguments.model,
        chosen_board(arguments),
        input_file=arguments.input,
        **compile_options(arguments),
        timeout=arguments.timeout,
    )
    if arguments.html is not None:
        write_text(arguments.html, profile_html(report, plan_svg(compiled.program)))
    if arguments.json:
        print(json.dumps(profile_json(report), indent=2))
    else:
        print_table(profile_table(report))
    return 0
