"""Networks in int8, int16 and float32 on one board, beside CMSIS-NN's layers of int16 and float32.

    python benchmarks/typed_networks.py --models DIR --cmsis-nn DIR [--boards A,B] [--networks A,B] [--write]

The int16 network is the int8 file's with activations 256 times as fine; the float32 one is a file of its own. CMSIS-NN
(a checkout of ARM-software/CMSIS-NN) computes Conv2D, DepthwiseConv2D and FullyConnected; ours beside it are these
layers alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from cmsis_nn_typed import Weighted, measure_layer
from tables import DOCS, write_table
from typed_layers import wide

from utvm import api
from utvm.frontends import load
from utvm.graph import Graph
from utvm.graph.cost import macs
from utvm.graph.reference import evaluate
from utvm.graph.samples import random_input
from utvm.profiling import profile

NETWORKS = {
    "kws": "kws_dscnn",
    "ic": "ic_resnet8",
    "vww": "vww_mobilenetv1_025_96",
    "ad": "ad_autoencoder",
}
_KINDS = ("Conv2D", "DepthwiseConv2D", "FullyConnected")


def main() -> int:
    """Print a row for each board, network and type; 1 if an output of ours is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--models", type=Path, required=True, metavar="DIR")
    parser.add_argument("--cmsis-nn", type=Path, required=True, metavar="DIR")
    parser.add_argument("--boards", default="qemu-cortex-m7")
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--write", action="store_true", help="replace the table in docs/benchmarks.md")
    arguments = parser.parse_args()
    lines = [
        "| board | network | type | million cycles | cycles a MAC | arena, KB | constants, KB | layers with weights "
        "| CMSIS-NN | its outputs |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    print("\n".join(lines))
    fine = True
    for board in arguments.boards.split(","):
        for network in arguments.networks.split(","):
            for dtype, graph in _graphs(arguments.models, NETWORKS[network]):
                line, exact = _row(board, network, dtype, graph, arguments.cmsis_nn.resolve())
                lines.append(line)
                print(line, flush=True)
                fine = fine and exact
    if arguments.write:
        write_table(DOCS / "benchmarks.md", "typed-networks", lines)
    return 0 if fine else 1


def _graphs(models: Path, name: str) -> Iterator[tuple[str, Graph]]:
    (int8,) = models.rglob(f"{name}_int8.tflite")
    (real,) = models.rglob(f"{name}_float.tflite")
    yield "int8", load(int8)
    yield "int16", wide(load(int8))
    yield "float32", load(real)


def _row(board: str, network: str, dtype: str, graph: Graph, checkout: Path) -> tuple[str, bool]:
    inputs = {tensor.name: random_input(tensor, 0) for tensor in graph.inputs}
    expected = evaluate(graph, inputs, keep=True)
    with api.connect(board) as session:
        compiled = api.compile(graph, board)
        ran = api.Model(session, compiled).run(inputs)
        exact = all((ran.outputs[t.name].view("u1") == expected[t.name].view("u1")).all() for t in graph.outputs)
        theirs, off = 0, 0.0
        if dtype != "int8":
            for op in graph.operators:
                if isinstance(op, Weighted):
                    found = measure_layer(session, checkout, op, expected[op.x.name], expected[op.y.name])
                    theirs, off = theirs + found[0], max(off, found[1])
    report, _ = profile(graph, board)
    ours = sum(each.cycles or 0 for each in report.operators if each.kind in _KINDS)
    assert ran.measurement.cycles is not None
    cycles = ran.measurement.cycles
    program = compiled.program
    peer, said = "", ""
    if theirs:
        peer = f"{theirs / 1e6:.3f} ({theirs / ours:.1f}x)"
        said = "same" if not off else f"up to {off:.1g} off"
    cells = [
        *(f"{cycles / 1e6:.3f}", f"{cycles / macs(graph):.3f}", f"{program.arena_bytes / 1024:.1f}"),
        *(f"{program.constant_bytes / 1024:.1f}", f"{ours / 1e6:.3f}", peer, said if exact else "OURS WRONG"),
    ]
    return f"| {board} | {network} | {dtype} | {' | '.join(cells)} |", exact


if __name__ == "__main__":
    sys.exit(main())
