"""Cycles of whole networks, tuned against the analytic default, on emulated boards.

    python benchmarks/tuning.py [--boards B,B,...] [--db FILE] [--gain PERCENT] [--write] MODEL ...

Tunes each model on each board with the default search (records in FILE are reused), compiles the fastest program with
and without the records, runs both, compares all outputs with the reference, and prints a table in Markdown; --write
puts it into docs/tuning.md.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from tables import DOCS, write_table

from utvm import api
from utvm.frontends import load
from utvm.graph import Graph
from utvm.graph.reference import evaluate
from utvm.graph.samples import random_input
from utvm.model_tuning import tune
from utvm.tuning import NO_RECORDS

_NO_LIMIT = 16 << 20
"""Flash for whatever is the fastest: without a budget something smaller is taken that is nearly as fast."""


def main() -> None:
    """Print one row a model and board."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL")
    parser.add_argument("--boards", default="qemu-cortex-m7,qemu-cortex-m4,qemu-cortex-m33,qemu-riscv32")
    parser.add_argument("--db", type=Path, default=Path("tuning.sqlite"), metavar="FILE")
    parser.add_argument("--gain", type=float, default=0.05, metavar="PERCENT")
    parser.add_argument("--write", action="store_true", help="replace the table in docs/tuning.md")
    arguments = parser.parse_args()
    lines = [
        "| network | board | default | tuned | gain | flash, default | flash, tuned | trials | seconds |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    print("\n".join(lines), flush=True)
    for model in arguments.models:
        graph = load(model)
        for board in arguments.boards.split(","):
            started = time.perf_counter()
            done = tune(graph, board, database=arguments.db, gain=arguments.gain / 100).report
            seconds = time.perf_counter() - started
            trials = sum(layer.trials + layer.reused for layer in done.layers)
            (default, before), (tuned, after) = (_cost(graph, board, records) for records in (NO_RECORDS, arguments.db))
            gain = f"{100 * (1 - tuned / default):.2f} %"
            cells = [f"{default:,}", f"{tuned:,}", gain, f"{before:,}", f"{after:,}", str(trials), f"{seconds:.0f}"]
            lines.append(f"| {' | '.join([graph.name, api.as_board(board).name, *cells])} |")
            print(lines[-1], flush=True)
    if arguments.write:
        write_table(DOCS / "tuning.md", "tuned", lines)


def _cost(graph: Graph, board: str, records: str | Path) -> tuple[int, int]:
    """Return the cycles of a run (instructions where the board knows none), whose outputs must be exact, and flash."""
    compiled = api.compile(graph, board, records=records, flash=_NO_LIMIT)
    inputs = {tensor.name: random_input(tensor, index) for index, tensor in enumerate(graph.inputs)}
    with api.connect(board) as session:
        result = api.Model(session, compiled).run(inputs)
    wanted = evaluate(graph, inputs)
    assert all((result.outputs[tensor.name] == wanted[tensor.name]).all() for tensor in graph.outputs)
    measured = result.measurement
    cost = measured.instructions if measured.cycles is None else measured.cycles
    assert cost is not None
    return cost, compiled.image.flash_bytes


if __name__ == "__main__":
    main()
