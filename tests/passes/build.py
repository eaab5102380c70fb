"""Small graphs for the tests of passes: one method an operator, tensors of few channels, weights full of zeros."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from utvm.graph import (
    Add,
    AveragePool2D,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    DType,
    FullyConnected,
    Graph,
    MaxPool2D,
    Operator,
    Pad,
    Padding,
    Quantization,
    Reshape,
    Tensor,
)
from utvm.graph.reference import evaluate
from utvm.passes import PASSES

UNITS = Quantization.per_tensor(0.05, -3)


def assert_same(before: Graph, after: Graph, seed: int = 0, runs: int = 3) -> None:
    """Both graphs have the same interface and give the same bits."""
    assert [(t.name, t.shape, t.dtype) for t in before.inputs] == [(t.name, t.shape, t.dtype) for t in after.inputs]
    assert [(t.name, t.shape, t.dtype, t.quant) for t in before.outputs] == [
        (t.name, t.shape, t.dtype, t.quant) for t in after.outputs
    ]
    rng = np.random.default_rng(seed)
    for _ in range(runs):
        inputs = [rng.integers(-128, 128, t.shape).astype(t.dtype.value) for t in before.inputs]
        wanted, got = evaluate(before, inputs), evaluate(after, inputs)
        for name, value in wanted.items():
            np.testing.assert_array_equal(got[name], value, err_msg=f"{name}\n{before}\n{after}")


def kinds(graph: Graph) -> list[str]:
    """The operators' types, in order."""
    return [op.kind for op in graph.operators]


def only(graph: Graph, kind: type[Operator]) -> Any:
    """The graph's single operator of a kind."""
    (found,) = [op for op in graph.operators if isinstance(op, kind)]
    return found


class Net:
    """A graph in the making. Methods return the tensor that the new operator makes."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.inputs: list[Tensor] = []
        self.operators: list[Operator] = []
        self._number = 0

    def name(self, kind: str) -> str:
        self._number += 1
        return f"{kind}_{self._number}"

    def tensor(
        self, shape: Iterable[int], quant: Quantization | None = UNITS, dtype: DType = DType.INT8, kind: str = "t"
    ) -> Tensor:
        return Tensor(name=self.name(kind), shape=tuple(map(int, shape)), dtype=dtype, quant=quant)

    def constant(self, data: Any, quant: Quantization | None = UNITS, dtype: DType = DType.INT8) -> Tensor:
        array = np.asarray(data).astype(dtype.value)
        return Tensor(name=self.name("const"), shape=array.shape, dtype=dtype, quant=quant, data=array.copy())

    def input(self, *shape: int, quant: Quantization | None = UNITS, dtype: DType = DType.INT8) -> Tensor:
        self.inputs.append(self.tensor(shape, quant, dtype, "input"))
        return self.inputs[-1]

    def add_op(self, make: Callable[..., Operator], *, y: Tensor | None = None, **fields: Any) -> Tensor:
        """Append an operator; an elementwise one makes y like x."""
        y = y or self.tensor(fields["x"].shape, fields["x"].quant, fields["x"].dtype)
        self.operators.append(make(name=self.name(make.__name__), y=y, **fields))
        return y

    def graph(self, *outputs: Tensor) -> Graph:
        return Graph(name="net", operators=tuple(self.operators), inputs=tuple(self.inputs), outputs=outputs)

    def units(self) -> Quantization:
        return Quantization.per_tensor(self.rng.uniform(0.03, 0.08), int(self.rng.integers(-20, 20)))

    def weights(self, shape: tuple[int, ...], axis: int, dead: Iterable[int] = ()) -> Tensor:
        """Random weights with a scale per channel of `axis`; the channels of `dead` are zero."""
        data = self.rng.integers(-127, 128, shape)
        data[(slice(None),) * axis + (list(dead),)] = 0
        scales = tuple(float(np.float32(s)) for s in self.rng.uniform(0.001, 0.004, shape[axis]))
        return self.constant(data, Quantization(scale=scales, zero_point=(0,) * len(scales), axis=axis))

    def bias(self, values: Any) -> Tensor:
        return self.constant(values, None, DType.INT32)

    def conv(
        self,
        x: Tensor,
        channels: int,
        *,
        kernel: int = 1,
        pad: int = 0,
        dead: Iterable[int] = (),
        unread: Iterable[int] = (),
        bias: Any = 0,
        **fields: Any,
    ) -> Tensor:
        """`dead` output channels have zero weights, and so have the `unread` input channels; bias None is none."""
        weights = self.weights((channels, kernel, kernel, x.shape[3]), 0, dead)
        data = weights.values.copy()
        data[..., list(unread)] = 0
        weights = self.constant(data, weights.quant)
        stride = fields.get("stride", (1, 1))
        size = [(x.shape[i + 1] + 2 * pad - kernel) // stride[i] + 1 for i in (0, 1)]
        y = self.tensor((x.shape[0], *size, channels), fields.pop("quant", UNITS))
        bias = None if bias is None else self.bias(np.broadcast_to(np.asarray(bias), channels))
        return self.add_op(
            Conv2D,
            x=x,
            weights=weights,
            bias=bias,
            y=y,
            padding=Padding(top=pad, bottom=pad, left=pad, right=pad),
            **fields,
        )

    def depthwise(
        self,
        x: Tensor,
        *,
        kernel: int = 3,
        pad: int = 1,
        dead: Iterable[int] = (),
        bias: Any = 0,
        multiplier: int = 1,
        **fields: Any,
    ) -> Tensor:
        channels = x.shape[3] * multiplier
        size = [x.shape[i] + 2 * pad - kernel + 1 for i in (1, 2)]
        return self.add_op(
            DepthwiseConv2D,
            x=x,
            weights=self.weights((1, kernel, kernel, channels), 3, dead),
            bias=self.bias(np.broadcast_to(np.asarray(bias), channels)),
            y=self.tensor((x.shape[0], *size, channels), fields.pop("quant", UNITS)),
            padding=Padding(top=pad, bottom=pad, left=pad, right=pad),
            **fields,
        )

    def dense(self, x: Tensor, outputs: int, *, unread: Iterable[int] = (), dead: Iterable[int] = ()) -> Tensor:
        """A fully connected layer with one scale; `unread` are columns."""
        inputs = x.elements // x.shape[0]
        data = self.rng.integers(-127, 128, (outputs, inputs))
        data[:, list(unread)] = 0
        data[list(dead)] = 0
        return self.add_op(
            FullyConnected,
            x=x,
            weights=self.constant(data, Quantization.per_tensor(0.002)),
            bias=self.bias(self.rng.integers(-500, 500, outputs)),
            y=self.tensor((x.shape[0], outputs)),
        )

    def pool(self, make: type[MaxPool2D] | type[AveragePool2D], x: Tensor, size: int, **fields: Any) -> Tensor:
        extent = [(n - size) // size + 1 for n in x.shape[1:3]]
        y = self.tensor((x.shape[0], *extent, x.shape[3]), x.quant)
        return self.add_op(make, x=x, y=y, filter=(size, size), stride=(size, size), **fields)

    def pad(self, x: Tensor, *paddings: tuple[int, int], value: int | None = None) -> Tensor:
        shape = [n + sum(pair) for n, pair in zip(x.shape, paddings, strict=True)]
        y = self.tensor(shape, x.quant)
        return self.add_op(Pad, x=x, y=y, paddings=paddings, value=x.zero_point if value is None else value)

    def reshape(self, x: Tensor, *shape: int) -> Tensor:
        return self.add_op(Reshape, x=x, y=self.tensor(shape, x.quant, x.dtype))

    def sum(self, a: Tensor, b: Tensor, **fields: Any) -> Tensor:
        shape = np.broadcast_shapes(a.shape, b.shape)
        return self.add_op(Add, a=a, b=b, y=self.tensor(shape, fields.pop("quant", UNITS)), **fields)

    def join(self, *xs: Tensor, axis: int = 3) -> Tensor:
        shape = list(xs[0].shape)
        shape[axis] = sum(x.shape[axis] for x in xs)
        return self.add_op(Concatenation, xs=xs, y=self.tensor(shape, xs[0].quant), axis=axis)


def fired(graph: Graph) -> set[str]:
    """The names of the passes that change a graph."""
    return {apply.__name__ for apply in PASSES if apply(graph) is not graph}
