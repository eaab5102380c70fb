"""`utvm compile`: a model file becomes C, and its cost on a board is known."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from utvm.cli.options import add_model, compile_options

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add_parser(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "compile",
        help="compile a model for a board: C files, memory plan, RAM and flash",
        description="Compile MODEL for BOARD and write its C files into DIR.",
    )
    add_model(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="where the C files go")
    parser.add_argument("--name", help="prefix of the C symbols and files (default: the model's name)")
    parser.add_argument("--plan", action="store_true", help="print the memory plan, and write it as DIR/plan.svg")
    parser.add_argument(
        "--force", action="store_true", help="replace files in DIR that are not of an earlier compile, or were edited"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from utvm import api
    from utvm.deploy import write_beside
    from utvm.naming import renaming
    from utvm.report import compiled_json, compiled_text, plan_svg, plan_table, print_table

    compiled = api.compile(
        arguments.model,
        arguments.board,
        name=arguments.name,
        **compile_options(arguments),
        dump=arguments.dump,
    )
    contents = {name: text.encode() for name, text in compiled.files.items()}
    drawn = {"plan.svg": plan_svg(compiled.program).encode()} if arguments.plan else {}
    written = write_beside(arguments.output, {**contents, **drawn}, force=arguments.force)
    paths = written[: len(contents)]
    if arguments.json:
        print(json.dumps(compiled_json(compiled.report(), paths), indent=2))
        return 0
    if arguments.plan:
        print_table(plan_table(compiled.program))
    print(compiled_text(compiled.report(), paths))
    renamed = renaming(arguments.name or arguments.model.stem)
    if renamed is not None:
        print(f"  name   {renamed}")
    return 0
