"""How far `utvm cost` is off for operators that have no micro-kernels: each beside its emulated run.

python benchmarks/estimates.py [--board BOARD] [--type {int8,float32}] [--shape H,W,C]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np

import utvm
from utvm.graph import (
    Add,
    AveragePool2D,
    BatchMatMul,
    Concatenation,
    DType,
    Elementwise,
    Graph,
    Logistic,
    MaxPool2D,
    Mean,
    Mul,
    Operator,
    Pad,
    Padding,
    Quantization,
    Reduction,
    ResizeBilinear,
    ResizeNearestNeighbor,
    Softmax,
    Split,
    StridedSlice,
    Sub,
    Tanh,
    Tensor,
    Transpose,
)
from utvm.graph.functions import function, reducer
from utvm.tuning import NO_RECORDS

_ONE = ("HardSwish", "Abs", "Elu", "Gelu", "Exp", "Rsqrt")
_TWO = ("Maximum", "SquaredDifference", "Div")


class Every:
    """One network of many operators, all of which read the same inputs."""

    def __init__(self, dtype: DType, height: int, width: int, channels: int) -> None:
        self.dtype = dtype
        self.count = 0
        self.size = height, width, channels
        self.x, self.z = (self._tensor((1, *self.size)) for _ in range(2))
        self.rows = [self._tensor((1, height, 2 * channels)) for _ in range(2)]
        self.operators = [*self._of_elements(), *self._reductions(), *self._moves(), *self._windows()]

    def graph(self) -> Graph:
        """Return the network."""
        outputs = tuple(y for op in self.operators for y in op.outputs)
        inputs = (self.x, self.z, *self.rows)
        return Graph(name="every", operators=tuple(self.operators), inputs=inputs, outputs=outputs)

    def _tensor(self, shape: tuple[int, ...], scale: float = 0.05, zero: int = 3, dtype: DType | None = None) -> Tensor:
        self.count += 1
        dtype = dtype or self.dtype
        quant = Quantization.per_tensor(scale, zero) if dtype is DType.INT8 else None
        return Tensor(name=f"t{self.count}", shape=shape, dtype=dtype, quant=quant)

    def _constant(self, shape: tuple[int, ...]) -> Tensor:
        values = np.random.default_rng(0).integers(-100, 100, shape).astype(self.dtype.value)
        made = self._tensor(shape, 0.02, 0)
        return Tensor(name=made.name, shape=shape, dtype=made.dtype, quant=made.quant, data=values)

    def _of_elements(self) -> Iterator[Operator]:
        shape, channels = self.x.shape, self.size[2]
        for kind in (Add, Sub, Mul):
            for name, other in (
                ("full", self.z),
                ("number", self._constant((1,))),
                ("row", self._constant((channels,))),
            ):
                yield kind(name=f"{kind.__name__} {name}", a=self.x, b=other, y=self._tensor(shape, 0.1))
        yield Logistic(name="Logistic", x=self.x, y=self._tensor(shape, 1 / 256, -128))
        yield Tanh(name="Tanh", x=self.x, y=self._tensor(shape, 1 / 128, 0))
        for name in (*_ONE, *_TWO):
            xs = (self.x,) if name in _ONE else (self.x, self.z)
            y = self._tensor(shape, 0.5 if name == "SquaredDifference" else 0.05)
            yield Elementwise(name=name, function=function(name), xs=xs, y=y)
        less = self._tensor(shape, dtype=DType.BOOL)
        yield Elementwise(name="Less", function=function("Less"), xs=(self.x, self.z), y=less)
        slopes = self._constant((1, 1, channels))
        yield Elementwise(name="Prelu", function=function("Prelu"), xs=(self.x, slopes), y=self._tensor(shape))

    def _reductions(self) -> Iterator[Operator]:
        height, width, channels = self.size
        a, b = self.rows
        yield Softmax(name="Softmax", x=a, y=self._tensor(a.shape, 1 / 256, -128))
        yield Mean(name="Mean pixels", x=self.x, y=self._tensor((1, 1, 1, channels)), axes=(1, 2))
        yield Mean(name="Mean channels", x=self.x, y=self._tensor((1, height, width, 1)), axes=(3,))
        for name, scale in (("ReduceMax", 0.05), ("Sum", 5.0)):
            y = self._tensor((1, 1, 1, channels), scale)
            yield Reduction(name=name, reducer=reducer(name), x=self.x, y=y, axes=(1, 2))
        places = self._tensor((1, height, width), dtype=DType.INT32)
        yield Reduction(name="ArgMax", reducer=reducer("ArgMax"), x=self.x, y=places, axes=(3,))
        y = self._tensor((1, height, height), 0.3)
        yield BatchMatMul(name="BatchMatMul", a=a, b=b, y=y, turned_a=False, turned_b=True)

    def _moves(self) -> Iterator[Operator]:
        (height, width, channels), x = self.size, self.x
        zero = 3 if self.dtype is DType.INT8 else 0.0
        border = ((0, 0), (1, 1), (1, 1), (0, 0))
        yield Transpose(name="Transpose", x=x, y=self._tensor((1, channels, height, width)), perm=(0, 3, 1, 2))
        yield Pad(name="Pad", x=x, y=self._tensor((1, height + 2, width + 2, channels)), paddings=border, value=zero)
        yield Concatenation(name="Join", xs=(x, self.z), y=self._tensor((1, height, width, 2 * channels)), axis=3)
        parts = tuple(self._tensor((1, height, width, depth)) for depth in (1, channels - 1))
        yield Split(name="Split", x=x, ys=parts, axis=3)
        half = self._tensor((1, height // 2, width // 2, channels))
        yield StridedSlice(name="Every second", x=x, y=half, begin=(0, 0, 0, 0), strides=(1, 2, 2, 1))
        back = self._tensor(x.shape)
        yield StridedSlice(name="Reverse", x=x, y=back, begin=(0, 0, width - 1, 0), strides=(1, 1, -1, 1))
        for kind, centers in ((ResizeNearestNeighbor, False), (ResizeBilinear, True)):
            y = self._tensor((1, 2 * height, 2 * width, channels))
            yield kind(name=kind.__name__, x=x, y=y, align_corners=False, half_pixel_centers=centers)

    def _windows(self) -> Iterator[Operator]:
        height, width, channels = self.size
        y, around = self._tensor((1, height // 2, width // 2, channels)), Padding(top=1, bottom=1, left=1, right=1)
        full = (-128, 127)
        yield MaxPool2D(name="MaxPool 2x2", x=self.x, y=y, filter=(2, 2), stride=(2, 2), padding=Padding(), clamp=full)
        y = self._tensor(self.x.shape)
        yield AveragePool2D(
            name="AveragePool 3x3", x=self.x, y=y, filter=(3, 3), stride=(1, 1), padding=around, clamp=full
        )


def main() -> None:
    """Print both columns of every operator, and how many estimates are within a factor of two."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--board", default="qemu-cortex-m7")
    parser.add_argument("--type", default="int8", choices=("int8", "float32"))
    parser.add_argument("--shape", default="16,16,32", metavar="H,W,C")
    arguments = parser.parse_args()
    height, width, channels = (int(part) for part in arguments.shape.split(","))
    graph = Every(DType(arguments.type), height, width, channels).graph()
    estimates = {op.name: op.cycles for op in utvm.cost(graph, arguments.board, records=NO_RECORDS).operators}
    report, _ = utvm.profile(graph, arguments.board, records=NO_RECORDS)
    ratios = []
    print(f"{'operator':<24}{'estimate':>12}{'run':>12}  ratio   (modelled cycles, {arguments.board})")
    for op in report.operators:
        if estimates.get(op.name) is None or op.cycles is None:
            continue
        ratios.append(estimates[op.name] / op.cycles)
        print(f"{op.name:<24}{estimates[op.name]:>12,.0f}{op.cycles:>12,.0f}{ratios[-1]:>7.2f}")
    close = sum(0.5 <= ratio <= 2 for ratio in ratios)
    print(f"{close} of {len(ratios)} within a factor of two; least {min(ratios):.2f}, most {max(ratios):.2f}")


if __name__ == "__main__":
    main()
