"""`utvm plan`: the memory plan of a model, or all that it can cost."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from utvm.cli.options import add_model, compile_options, count

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add_parser(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "plan",
        help="show the memory plan of a model, or which cycles, RAM and flash it can have",
        description=(
            "Show where activations of MODEL lie in the arena on BOARD. With --pareto: the combinations of kernels "
            "that no other beats in cycles, RAM and flash together, each compiled."
        ),
    )
    add_model(parser, dump=False)
    parser.add_argument("--pareto", action="store_true", help="show the frontier of cycles, RAM and flash")
    parser.add_argument("--points", type=count, default=12, metavar="N", help="of the frontier, at most (default: 12)")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="also draw it")
    parser.add_argument("--json", action="store_true", help="print one JSON object (with --pareto)")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from utvm import api
    from utvm.plan_frontier import frontier
    from utvm.report import frontier_json, frontier_svg, frontier_table, plan_svg, plan_table, print_table, write_text

    options = compile_options(arguments)
    if not arguments.pareto:
        program = api.compile(arguments.model, arguments.board, **options).program
        if arguments.svg is not None:
            write_text(arguments.svg, plan_svg(program))
        print_table(plan_table(program))
        return 0
    chosen = {name: options[name] for name in ("small", "assume", "records")}
    report = frontier(arguments.model, arguments.board, points=arguments.points, **chosen)
    if arguments.svg is not None:
        write_text(arguments.svg, frontier_svg(report))
    if arguments.json:
        print(json.dumps(frontier_json(report), indent=2))
    else:
        print_table(frontier_table(report))
    return 0
