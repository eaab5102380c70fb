"""Networks by RISC-V's vector extension, for registers of several sizes: the table of docs/riscv-vectors.md.

    python benchmarks/rvv.py --models DIR [--write]

One build of each network runs on emulated boards of all sizes. It fails where any output differs from the reference.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from pipelines import networks
from tables import DOCS, write_table

from utvm import api
from utvm.boards import Board, load_board
from utvm.frontends import load
from utvm.graph import Graph
from utvm.graph.reference import evaluate
from utvm.graph.samples import random_input

BOARD, WITHOUT_VECTORS = "qemu-riscv32v", "qemu-riscv32"
SIZES = (64, 128, 256, 512)


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--models", type=Path, metavar="DIR", required=True)
    parser.add_argument("--write", action="store_true", help="write the table into docs/riscv-vectors.md")
    arguments = parser.parse_args()
    lines = list(table(arguments.models))
    print("\n".join(lines))
    if arguments.write:
        write_table(DOCS / "riscv-vectors.md", "rvv-networks", lines)


def table(models: Path) -> Iterator[str]:
    """Yield a row a network: instructions without vectors, and with registers of each size."""
    yield "| network | without vectors | " + " | ".join(f"{bits} bits" for bits in SIZES) + " | times at 128 |"
    yield "|---|" + "--:|" * (len(SIZES) + 2)
    for name, path in networks(models).items():
        graph = load(path)
        plain = instructions(graph, load_board(WITHOUT_VECTORS))
        counts = [instructions(graph, board_of(bits)) for bits in SIZES]
        cells = [f"{count:,}" for count in (plain, *counts)]
        yield "| " + " | ".join([name, *cells, f"{plain / counts[SIZES.index(128)]:.1f}"]) + " |"


def board_of(bits: int) -> Board:
    """Return the emulated board with vector registers of so many bits."""
    board = load_board(BOARD)
    assert board.emulator is not None
    arguments = tuple(argument.replace("vlen=128", f"vlen={bits}") for argument in board.emulator.arguments)
    return replace(board, emulator=replace(board.emulator, arguments=arguments))


def instructions(graph: Graph, board: Board) -> int:
    """Return the instructions of a network on a board; its outputs are the reference's."""
    inputs = {t.name: random_input(t, i) for i, t in enumerate(graph.inputs)}
    wanted = evaluate(graph, list(inputs.values()))
    with api.connect(board) as session:
        result = api.Model(session, api.compile(graph, board)).run(inputs)
    for name, value in result.outputs.items():
        np.testing.assert_array_equal(value, wanted[name])
    count = result.measurement.instructions
    assert count is not None
    return count


if __name__ == "__main__":
    main()
