"""Layers in int16x8 and float32 beside the same layers in int8, with and without Winograd, modelled cycles of runs.

    python benchmarks/typed_layers.py [--boards A,B] [--kinds conv,depthwise] [--every N] [--seed N] [--write]

Every output is compared with the reference. --write puts the summary into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tables import DOCS, write_table

from utvm import api
from utvm.bench.drawn import DrawnLayer, drawn_layers
from utvm.device import Session
from utvm.graph import FULL_INT8, DType, Graph, Operator, Quantization, Rounding, Softmax, Tensor
from utvm.graph.cost import macs
from utvm.graph.reference import evaluate
from utvm.graph.samples import random_input
from utvm.tuning import NO_RECORDS

KINDS = ("pointwise", "wide", "conv", "groups", "depthwise", "connected")
BOARDS = "qemu-cortex-m7,qemu-cortex-m4,qemu-cortex-m33"
_FINER = 256
"""Steps of int16 in one of int8."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One layer on one board. Cycles are modelled.

    Attributes:
        board, kind, name, macs: which.
        int8: of the default plan; direct: of the plan without Winograd.
        int16, float32: of the same layer in these types, by `family` and `real_family`.
        exact: whether outputs were those of the reference.
    """

    board: str
    kind: str
    name: str
    macs: int
    int8: int
    direct: int
    int16: int
    family: str
    float32: int
    real_family: str
    exact: bool

    @property
    def ratio(self) -> float:
        """How many times the cycles of int8 without Winograd."""
        return self.int16 / self.direct

    @property
    def line(self) -> str:
        """The row for a person."""
        figures = f"{self.ratio:6.2f} {self.int16 / self.int8:6.2f} {self.int16 / self.macs:7.3f} {self.family:13}"
        real = f"{self.float32 / self.macs:7.3f} {self.real_family:9}"
        return f"{self.board[5:]:10} {figures} {real} {self.name}{'' if self.exact else '  WRONG'}"


def main() -> int:
    """Measure, print every row, then the summary; 1 if a byte is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--boards", default=BOARDS)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--every", type=int, default=1, help="every so many of a kind's layers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="write the summary into docs/benchmarks.md")
    arguments = parser.parse_args()
    kinds = arguments.kinds.split(",")
    every = [layer for layer in drawn_layers(arguments.seed) if layer.kind in kinds]
    layers = [layer for kind in kinds for layer in [each for each in every if each.kind == kind][:: arguments.every]]
    rows = []
    for board in arguments.boards.split(","):
        with api.connect(board) as session:
            for layer in layers:
                row = _measure(session, layer)
                rows.append(row)
                print(row.line, flush=True)
    lines = list(_summary(rows))
    print("\n".join(lines))
    if arguments.write:
        write_table(DOCS / "benchmarks.md", "int16-layers", lines)
    return 0 if all(row.exact for row in rows) else 1


def wide(graph: Graph) -> Graph:
    """Return an int8 graph with int16 activations: the same weights, values 256 times as fine."""
    known: dict[Tensor, Tensor] = {}

    def finer(op: Operator, tensor: Tensor) -> Tensor:
        if tensor is getattr(op, "bias", None):
            sums = _without_zero_point(op, tensor) * _FINER
            return dataclasses.replace(tensor, dtype=DType.INT64, data=sums, quant=None)
        if tensor.is_constant or tensor.dtype is not DType.INT8:
            return tensor
        scale = 1 / 32768 if isinstance(op, Softmax) and tensor is op.y else tensor.scale / _FINER
        made = dataclasses.replace(tensor, dtype=DType.INT16, quant=Quantization.per_tensor(scale))
        return known.setdefault(tensor, made)

    operators = []
    for op in graph.operators:
        tensors = dict.fromkeys((*op.inputs, *op.outputs))
        changed = op.with_tensors({tensor: finer(op, tensor) for tensor in tensors})
        limits: dict[str, Any] = {}
        if hasattr(op, "clamp"):
            limits["clamp"] = _finer_clamp(op.clamp, op.outputs[0].zero_point)
        if isinstance(getattr(op, "rounding", None), Rounding):
            limits["rounding"] = Rounding.DOUBLE
        operators.append(dataclasses.replace(changed, **limits))
    inputs, outputs = (tuple(known.get(t, t) for t in ends) for ends in (graph.inputs, graph.outputs))
    return Graph(name=graph.name, inputs=inputs, outputs=outputs, operators=tuple(operators))


def _finer_clamp(clamp: tuple[int, int], zero: int) -> tuple[int, int]:
    low, high = clamp
    return (
        -32768 if low == FULL_INT8[0] < zero else (low - zero) * _FINER,
        32767 if high == FULL_INT8[1] else min((high - zero) * _FINER, 32767),
    )


def real(graph: Graph) -> Graph:
    """Return the graph of one int8 layer in float32: the same weights, as reals."""
    (op,) = graph.operators
    found = in_reals(op, {})
    return Graph(name="layer", inputs=found.activations, outputs=found.outputs, operators=(found,))


def in_reals(op: Operator, known: dict[Tensor, Tensor]) -> Operator:
    """Return an int8 operator in float32, without a clamp. `known` holds the float32 tensor of each int8 one."""

    def changed(tensor: Tensor) -> Tensor:
        data = None if tensor.data is None else (tensor.values * np.float32(0.01)).astype(np.float32)
        made = dataclasses.replace(tensor, dtype=DType.FLOAT32, quant=None, data=data)
        return known.setdefault(tensor, made)

    found = op.with_tensors({t: changed(t) for t in dict.fromkeys((*op.inputs, *op.outputs))})
    return dataclasses.replace(found, clamp=FULL_INT8) if hasattr(op, "clamp") else found


def _without_zero_point(op: object, bias: Tensor) -> np.ndarray:
    weights = op.weights.values.astype(np.int64)  # type: ignore[attr-defined]
    axes = (0, 1, 2) if weights.shape[0] == 1 and weights.ndim == 4 and weights.shape[3] == bias.elements else None
    sums = weights.sum(axis=axes) if axes else weights.reshape(bias.elements, -1).sum(axis=1)
    return bias.values.astype(np.int64) - op.inputs[0].zero_point * sums  # type: ignore


def _measure(session: Session, layer: DrawnLayer) -> Row:
    int8 = layer.graph
    cycles, families, exact = [], [], True
    for graph, small in ((int8, False), (int8, True), (wide(int8), False), (real(int8), False)):
        inputs = {tensor.name: random_input(tensor, index) for index, tensor in enumerate(graph.inputs)}
        compiled = api.compile(graph, session.board, records=NO_RECORDS, small=small)
        ran = api.Model(session, compiled).run(inputs)
        expected = evaluate(graph, inputs)
        exact = exact and all((ran.outputs[t.name] == expected[t.name]).all() for t in graph.outputs)
        assert ran.measurement.cycles is not None
        cycles.append(ran.measurement.cycles)
        families.append("+".join(sorted({call.kernel.family for call in compiled.program.calls})))
    return Row(
        board=session.board.name,
        kind=layer.kind,
        name=layer.name,
        macs=macs(int8),
        int8=cycles[0],
        direct=cycles[1],
        int16=cycles[2],
        family=families[2],
        float32=cycles[3],
        real_family=families[3],
        exact=exact,
    )


def _summary(rows: Sequence[Row]) -> Iterator[str]:
    yield (
        "| board | kind | layers | int16 over int8 without Winograd: median | worst | over int8: median | worst "
        "| float32, cycles a MAC: median | worst |"
    )
    yield "|---|---|--:|--:|--:|--:|--:|--:|--:|"
    for board in dict.fromkeys(row.board for row in rows):
        for kind in dict.fromkeys(row.kind for row in rows):
            some = [row for row in rows if (row.board, row.kind) == (board, kind)]
            if not some:
                continue
            cells = []
            for ratios in (
                [row.ratio for row in some],
                [row.int16 / row.int8 for row in some],
                [row.float32 / row.macs for row in some],
            ):
                cells += [f"{statistics.median(ratios):.2f}", f"{max(ratios):.2f}"]
            yield f"| {board} | {kind} | {len(some)} | {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
