"""`utvm export`: a model becomes C for a program of your own, with its cost promised."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from utvm.cli.options import add_model, compile_options, nbytes

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add_parser(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "export",
        help="make a C library of a model: files, manifest, README, with RAM, flash and stack promised",
        description=(
            "Compile MODEL for BOARD's core into C11 that a program of yours links: no heap, no operating system, no "
            "runtime. RAM, flash and worst-case stack are counted, written into the files and, as budgets, enforced."
        ),
    )
    add_model(parser, dump=False)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="where the files go")
    parser.add_argument("--name", help="prefix of the C symbols and files (default: the model's name)")
    parser.add_argument("--stack", type=nbytes, metavar="BYTES", help="stack that a run may need, as 2K")
    parser.add_argument("--json", action="store_true", help="print the manifest instead of text")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from utvm.deploy import export, export_text

    exported = export(
        arguments.model, arguments.board, name=arguments.name, stack=arguments.stack, **compile_options(arguments)
    )
    paths = exported.write(arguments.output)
    print(exported.manifest.to_json() if arguments.json else export_text(exported.manifest, paths))
    return 0
