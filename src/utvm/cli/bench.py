"""`utvm bench`: the talk's evaluation, MLPerf Tiny and single layers, beside other people's kernels."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from utvm.cli.options import add_board, add_trust, chosen_board

if TYPE_CHECKING:
    from argparse import _SubParsersAction
    from collections.abc import Iterator

    from utvm.bench import NoRow, Row


def add_parser(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "bench",
        help="measure networks and layers beside CMSIS-NN and BakeNN",
        description=(
            "Measure on BOARD: the CIFAR-10 network of the talk and its convolutions (talk), MLPerf Tiny's networks "
            "(mlperf-tiny), or single layers (layers). Instructions are exact, cycles modelled. CMSIS-NN 4.0.0 and, "
            "for networks, BakeNN are built, checked and counted in the same run if utvm[bench] is installed; figures "
            "named recorded are constants. docs/benchmarks.md has the results."
        ),
    )
    parser.add_argument("what", choices=("talk", "mlperf-tiny", "layers"), help="what to measure")
    add_board(parser)
    add_trust(parser)
    parser.add_argument("--models", type=Path, metavar="DIR", help="where the network files are (.tflite, q7 .npz)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows as a JSON list")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="also draw a chart (.svg or .png)")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from utvm.bench import (
        NoRow,
        bench_layers,
        bench_mlperf_tiny,
        bench_talk,
        check_chart,
        rows_json,
        rows_table,
        write_chart,
    )
    from utvm.demo import EXAMPLE
    from utvm.errors import UtvmError
    from utvm.progress import end
    from utvm.report import print_table, write_text

    if arguments.chart is not None:
        check_chart(arguments.chart)
    board = chosen_board(arguments)
    rows: Iterator[Row | NoRow]
    if arguments.what == "talk":
        rows = bench_talk(
            board,
            arguments.models,
            example=EXAMPLE if EXAMPLE.is_file() else None,
            assume=arguments.assume,
        )
    elif arguments.what == "layers":
        rows = bench_layers(board, assume=arguments.assume)
    elif arguments.models is None:
        raise UtvmError("MLPerf Tiny's networks do not come with µTVM: give their directory with --models")
    else:
        rows = bench_mlperf_tiny(board, arguments.models, assume=arguments.assume)
    done = []
    for row in rows:
        end()
        if isinstance(row, NoRow):
            print(f"{row.name}, {row.plan}: not possible: {row.reason}", file=sys.stderr, flush=True)
            continue
        print(f"{row.name}, {row.plan}: measured", file=sys.stderr, flush=True)
        done.append(row)
    if arguments.json is not None:
        write_text(arguments.json, json.dumps(rows_json(done), indent=2) + "\n")
    if arguments.chart is not None:
        write_chart(done, arguments.chart)
    print_table(rows_table(done))
    return 0
