"""Operators in int16 and float32 beside the same in int8: modelled cycles of an element of the larger side, run.

    python benchmarks/typed_operators.py [--board BOARD] [--shapes H,W,C ...] [--types A,B] [--write]

Convolutions have a list of their own (`typed_layers.py`). --write puts the table into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from tables import DOCS, write_table
from typed_layers import in_reals, wide

import utvm
from utvm.graph import (
    FULL_INT8,
    Add,
    AveragePool2D,
    BatchMatMul,
    DType,
    Graph,
    LeakyRelu,
    Logistic,
    MaxPool2D,
    Mean,
    Mul,
    Operator,
    Padding,
    Quantization,
    Relu,
    Softmax,
    Sub,
    Tanh,
    Tensor,
)
from utvm.graph.cost import macs_of
from utvm.tuning import NO_RECORDS

SHAPES = ("16,16,32", "9,7,15", "32,32,1")


class Operators:
    """Operators that read the same inputs, in int8."""

    def __init__(self, height: int, width: int, channels: int) -> None:
        self.size = height, width, channels
        self.count = 0
        self.x, self.z = (self._tensor((1, *self.size)) for _ in range(2))
        self.rows = [self._tensor((1, height, 2 * channels + 2)) for _ in range(2)]

    def every(self) -> list[Operator]:
        """Return all operators."""
        return [*self._of_elements(), *self._of_rows(), *self._windows()]

    def _tensor(self, shape: tuple[int, ...], scale: float = 0.05, zero: int = 3) -> Tensor:
        self.count += 1
        quant = Quantization.per_tensor(scale, zero)
        return Tensor(name=f"t{self.count}", shape=shape, dtype=DType.INT8, quant=quant)

    def _of_elements(self) -> Iterator[Operator]:
        shape, channels = self.x.shape, self.size[2]
        for kind in (Add, Sub, Mul):
            row = self._tensor((1, 1, 1, channels)) if channels > 1 else self.z
            for name, other in (("full", self.z), ("row", row)):
                yield kind(name=f"{kind.__name__} {name}", a=self.x, b=other, y=self._tensor(shape, 0.1))
        yield Logistic(name="Logistic", x=self.x, y=self._tensor(shape, 1 / 256, -128))
        yield Tanh(name="Tanh", x=self.x, y=self._tensor(shape, 1 / 128, 0))
        yield Relu(name="Relu", x=self.x, y=self._tensor(shape))
        yield LeakyRelu(name="LeakyRelu", x=self.x, y=self._tensor(shape), alpha=0.1)

    def _of_rows(self) -> Iterator[Operator]:
        height, _, channels = self.size
        a, b = self.rows
        yield Softmax(name="Softmax", x=a, y=self._tensor(a.shape, 1 / 256, -128))
        yield Mean(name="Mean pixels", x=self.x, y=self._tensor((1, 1, 1, channels)), axes=(1, 2))
        yield Mean(name="Mean channels", x=a, y=self._tensor((1, height, 1)), axes=(2,))
        y = self._tensor((1, height, height), 0.3)
        yield BatchMatMul(name="BatchMatMul turned", a=a, b=b, y=y, turned_a=False, turned_b=True)
        tall = self._tensor((1, a.shape[2], 24))
        y = self._tensor((1, height, 24), 0.3)
        yield BatchMatMul(name="BatchMatMul", a=a, b=tall, y=y, turned_a=False, turned_b=False)

    def _windows(self) -> Iterator[Operator]:
        height, width, channels = self.size
        for name, kind in (("Max", MaxPool2D), ("Average", AveragePool2D)):
            for size, stride, same in (
                (2, 2, False),
                (3, 1, True),
                (3, 2, True),
                (6, 6, False),
                (min(height, width), 1, False),
            ):
                before = size // 2 if same else 0
                padding = Padding(top=before, bottom=before, left=before, right=before)
                rows, columns = ((n + 2 * before - size) // stride + 1 for n in (height, width))
                y = self._tensor((1, rows, columns, channels))
                yield kind(
                    name=f"{name} {size}x{size}/{stride}", x=self.x, y=y,
                    filter=(size, size), stride=(stride, stride), padding=padding, clamp=FULL_INT8,
                )  # fmt: skip


def _graph(operators: list[Operator]) -> Graph:
    inputs = tuple(dict.fromkeys(t for op in operators for t in op.activations))
    outputs = tuple(y for op in operators for y in op.outputs)
    return Graph(name="every", operators=tuple(operators), inputs=inputs, outputs=outputs)


def main() -> int:
    """Print a row for each operator and shape."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--board", default="qemu-cortex-m7")
    parser.add_argument("--shapes", nargs="+", default=SHAPES)
    parser.add_argument("--types", default="int8,int16,float32")
    parser.add_argument("--write", action="store_true", help="replace the table in docs/benchmarks.md")
    arguments = parser.parse_args()
    types = arguments.types.split(",")
    lines = [f"| shape | operator | {' | '.join(types)} |", f"|---|---|{'--:|' * len(types)}"]
    for shape in arguments.shapes:
        operators = Operators(*(int(part) for part in shape.split(","))).every()
        found: dict[str, Mapping[str, Any]] = {}
        for dtype in types:
            graph = _graph(operators)
            if dtype == "int16":
                graph = wide(graph)
            elif dtype == "float32":
                known: dict[Tensor, Tensor] = {}
                graph = _graph([in_reals(op, known) for op in operators])
            report, _ = utvm.profile(graph, arguments.board, records=NO_RECORDS)
            found[dtype] = {op.name: op for op in report.operators}
        print(f"{shape}, modelled cycles an element (of input or output, or a tap), {arguments.board}")
        for op in operators:
            work = max(macs_of(op), op.outputs[0].elements, *(t.elements for t in op.activations))
            if isinstance(op, MaxPool2D | AveragePool2D):
                work = op.y.elements * op.filter[0] * op.filter[1]
            of_types = [found[dtype][op.name] for dtype in types]
            cells = [f"{each.cycles / work:.2f}" for each in of_types]
            lines.append(f"| {shape} | {op.name} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    if arguments.write:
        write_table(DOCS / "benchmarks.md", "typed-operators", lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
