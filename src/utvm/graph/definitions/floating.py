"""What operators compute between float32 tensors: sums term by term in their order, one IEEE operation after another.

A fused clamp is never used: an activation is an operator of its own. Where tflite-micro calls a mathematical library,
results differ from its by the errors that `utvm.numerics.floating` states.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.compute import (
    Buffer,
    Call,
    Compute,
    Const,
    Expr,
    Index,
    Load,
    Lookup,
    Reduced,
    as_expr,
    axis,
    cast,
    equal,
    larger,
    number,
    smaller,
    where,
)
from utvm.compute.expressions import Combine
from utvm.graph.definitions.definition import Definition, axes_of, broadcast_load, buffer_of
from utvm.graph.definitions.elementwise import NOTHING
from utvm.graph.definitions.products import matrix
from utvm.graph.definitions.weighted import terms_of
from utvm.graph.formulas import EXP, LOGISTIC, TANH
from utvm.graph.general import BatchMatMul, CumulativeSum, Elementwise, Reduction
from utvm.graph.operators import (
    Add,
    AveragePool2D,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    LeakyRelu,
    Logistic,
    MaxPool2D,
    Mean,
    Mul,
    Operator,
    Relu,
    Relu6,
    ResizeBilinear,
    Softmax,
    Sub,
    Tanh,
)

FLOAT = "float"
LOWEST = float(np.finfo(np.float32).min)
ZERO = Const(value=0.0)


def weighted(op: Conv2D | DepthwiseConv2D | FullyConnected) -> Definition:
    """Return the sum of products, and the bias added to it at the end, as tflite-micro adds it."""
    terms = terms_of(op)
    channels = op.y.shape[-1] if not isinstance(op, FullyConnected) else op.weights.shape[0]
    inputs = {"x": op.x, "weights": op.weights}
    value: Expr = Reduced()
    if op.bias is not None:
        inputs["bias"] = op.bias
        value = value + Load(buffer=buffer_of("bias", op.bias, (channels,)), index=(terms.channel,))
    compute = Compute(
        space=terms.space,
        reduce=terms.reduce,
        init=ZERO,
        term=terms.x * terms.weights(op),
        epilogue=value,
        output=terms.output(op),
        index=terms.index,
        c_type=FLOAT,
    )
    return Definition(stages=(compute,), inputs=inputs)


def pointwise(space: Mapping[str, int], value: Expr, output: Buffer, c_type: str = FLOAT) -> Compute:
    """Return a computation of each point for itself."""
    return Compute(
        space=space,
        reduce={},
        init=NOTHING,
        term=NOTHING,
        epilogue=value,
        output=output,
        index=tuple(axis(name) for name in space),
        c_type=c_type,
    )


def _binary(combine: Callable[[Expr, Expr], Expr]) -> Callable[[Add | Sub | Mul], Definition]:
    def define(op: Add | Sub | Mul) -> Definition:
        axes = axes_of(op.y.shape)
        a, b = (broadcast_load(n, t, list(axes), op.y.shape) for n, t in (("a", op.a), ("b", op.b)))
        return Definition(stages=(pointwise(axes, combine(a, b), buffer_of("y", op.y)),), inputs={"a": op.a, "b": op.b})

    return define


def _unary(function: Callable[[Any, Expr], Expr]) -> Callable[[Any], Definition]:
    def define(op: Any) -> Definition:
        axes = axes_of((op.y.elements,))
        x = Load(buffer=buffer_of("x", op.x, (op.x.elements,)), index=(axis("d0"),))
        output = buffer_of("y", op.y, (op.y.elements,))
        return Definition(stages=(pointwise(axes, function(op, x), output),), inputs={"x": op.x})

    return define


def _max_pool(op: MaxPool2D) -> Definition:
    return Definition(stages=(_pooled(op, "max", LOWEST, Reduced()),), inputs={"x": op.x})


def _average_pool(op: AveragePool2D) -> Definition:
    """Return the sum over how many pixels lie inside: the product of so many rows and so many columns."""
    counts = {"rows": _inside(op, 0), "columns": _inside(op, 1)}
    loads = [
        Load(buffer=Buffer(name=name, c_type=FLOAT, shape=values.shape), index=(axis(place),))
        for (name, values), place in zip(counts.items(), ("oy", "ox"), strict=True)
    ]
    constants: dict[str, Any] = {}
    divisor: Expr
    if all((values == values[0]).all() for values in counts.values()):
        divisor = Const(value=float(counts["rows"][0] * counts["columns"][0]))
    else:
        divisor, constants = loads[0] * loads[1], counts
    return Definition(stages=(_pooled(op, "sum", 0.0, Reduced() / divisor),), inputs={"x": op.x}, constants=constants)


def _pooled(op: MaxPool2D | AveragePool2D, combine: Combine, outside: float, value: Expr) -> Compute:
    batch, rows, columns, channels = op.y.shape
    y = axis("oy") * op.stride[0] + axis("ky") + -op.padding.top
    x = axis("ox") * op.stride[1] + axis("kx") + -op.padding.left
    load = Load(buffer=buffer_of("x", op.x), index=(axis("n"), y, x, axis("c")), outside=outside)
    space = {"n": batch, "oy": rows, "ox": columns, "c": channels}
    return Compute(
        space=space,
        reduce={"ky": op.filter[0], "kx": op.filter[1]},
        combine=combine,
        init=Const(value=outside),
        term=load,
        epilogue=value,
        output=buffer_of("y", op.y),
        index=tuple(axis(name) for name in space),
        c_type=FLOAT,
    )


def _inside(op: AveragePool2D, dimension: int) -> NDArray[np.float32]:
    """Return how many rows or columns of each window are inside the input."""
    before = (op.padding.top, op.padding.left)[dimension]
    first = np.arange(op.y.shape[1 + dimension]) * op.stride[dimension] - before
    last = np.minimum(first + op.filter[dimension], op.x.shape[1 + dimension])
    counts: NDArray[np.float32] = (last - np.maximum(first, 0)).astype(np.float32)
    return counts


def reduced(op: Any, axes: Sequence[int], combine: Combine, init: float, **parts: Any) -> Compute:
    """Return a combination over `axes`, with an axis r for each; `parts` are `term` and `result`, functions."""
    shape = op.x.shape
    kept = {f"d{d}": size for d, size in enumerate(shape) if d not in axes}
    index = tuple(axis(f"r{d}" if d in axes else f"d{d}") for d in range(len(shape)))
    load = Load(buffer=buffer_of("x", op.x), index=index)
    return Compute(
        space=kept,
        reduce={f"r{d}": shape[d] for d in axes},
        combine=combine,
        init=Const(value=init),
        term=parts.get("term", lambda x: x)(load),
        epilogue=parts.get("result", lambda x: x)(Reduced()),
        output=parts.get("output", buffer_of("y", op.y, tuple(kept.values()))),
        index=tuple(axis(name) for name in kept),
        c_type=FLOAT,
    )


def _mean(op: Mean) -> Definition:
    count = float(prod(op.x.shape[d] for d in op.axes))
    stage = reduced(op, op.axes, "sum", 0.0, result=lambda total: total / count)
    return Definition(stages=(stage,), inputs={"x": op.x})


def _softmax(op: Softmax) -> Definition:
    """Return four stages: the largest of a row, exponentials, their sum, quotients."""
    size = op.x.shape[-1] if op.x.shape else 1
    rows = op.x.elements // size
    axes = {"d0": rows, "d1": size}
    most, wide, total = (
        Buffer(name=name, c_type=FLOAT, shape=shape)
        for name, shape in (("most", (rows,)), ("powers", (rows, size)), ("total", (rows,)))
    )

    def at(buffer: Buffer, *names: str) -> Load:
        return Load(buffer=buffer, index=tuple(axis(n) for n in names))

    def over(combine: Combine, init: float, term: Expr, output: Buffer) -> Compute:
        return Compute(
            space={"d0": rows},
            reduce={"d1": size},
            combine=combine,
            init=Const(value=init),
            term=term,
            epilogue=Reduced(),
            output=output,
            index=(axis("d0"),),
            c_type=FLOAT,
        )

    x = at(buffer_of("x", op.x, (rows, size)), "d0", "d1")
    power = Call(helper=EXP, arguments=((x - at(most, "d0")) * float(np.float32(op.beta)),))
    return Definition(
        stages=(
            over("max", LOWEST, x, most),
            pointwise(axes, power, wide),
            over("sum", 0.0, at(wide, "d0", "d1"), total),
            pointwise(axes, at(wide, "d0", "d1") / at(total, "d0"), buffer_of("y", op.y, (rows, size))),
        ),
        inputs={"x": op.x},
    )


def _resize_bilinear(op: ResizeBilinear) -> Definition:
    """Return four products (TFLite's ComputeInterpolationValues): pixels, times shares of height and of width."""
    images, height, width, channels = op.x.shape
    _, out_height, out_width, _ = op.y.shape
    constants: dict[str, Any] = {}
    space = {"n": images, "oy": out_height, "ox": out_width, "c": channels}
    loads: dict[str, Load] = {}
    for name, place, dimension in (("row", "oy", 1), ("column", "ox", 2)):
        found = _positions(op, dimension)
        for what, values in zip(("first", "second", "share", "rest"), found, strict=True):
            key = f"{what}_{name}"
            constants[key] = values
            c_type = "int32_t" if values.dtype == np.int32 else FLOAT
            loads[key] = Load(buffer=Buffer(name=key, c_type=c_type, shape=values.shape), index=(axis(place),))
    buffer = buffer_of("x", op.x)

    def pixel(row: str, column: str) -> Expr:
        at = (Index(value=axis("n") * height) + cast(loads[f"{row}_row"], "int32_t")) * width
        return Lookup(
            buffer=buffer, place=(at + cast(loads[f"{column}_column"], "int32_t")) * channels + Index(value=axis("c"))
        )

    down, right = loads["share_row"], loads["share_column"]
    up, left = loads["rest_row"], loads["rest_column"]
    value = pixel("first", "first") * up * left + pixel("second", "first") * down * left
    value = value + pixel("first", "second") * up * right + pixel("second", "second") * down * right
    # Indices are integers, which arithmetic in float would not hold: all is converted where it is read.
    stage = pointwise(space, value, buffer_of("y", op.y), "int32_t")
    return Definition(stages=(stage,), inputs={"x": op.x}, constants=constants)


def _positions(op: ResizeBilinear, dimension: int) -> tuple[Any, Any, Any, Any]:
    """Return the two pixels beside each position, its share of the second, and what is left for the first."""
    size, target = op.x.shape[dimension], op.y.shape[dimension]
    one = np.float32(1)
    step = np.float32(size) / np.float32(target)
    if op.align_corners and target > 1:
        step = np.float32(size - 1) / np.float32(target - 1)
    position = np.arange(target, dtype=np.float32) * step
    if op.half_pixel_centers:
        half = np.float32(0.5)
        position = (np.arange(target, dtype=np.float32) + half) * step - half
    first = np.maximum(np.floor(position), 0).astype(np.int32)
    second = np.minimum(np.ceil(position), size - 1).astype(np.int32)
    share = (position - first.astype(np.float32)).astype(np.float32)
    return np.minimum(first, size - 1), second, share, (one - share).astype(np.float32)


def _elementwise(op: Elementwise) -> Definition:
    assert op.function.floating is not None
    axes = axes_of(op.y.shape)
    loads = [broadcast_load(f"x{i}", t, list(axes), op.y.shape) for i, t in enumerate(op.xs)]
    value = as_expr(op.function.floating(op, loads))
    return Definition(
        stages=(pointwise(axes, value, buffer_of("y", op.y)),), inputs={f"x{i}": t for i, t in enumerate(op.xs)}
    )


def _reduction(op: Reduction) -> Definition:
    name = op.reducer.name
    if name in ("ArgMax", "ArgMin"):
        return _place(op, "max" if name == "ArgMax" else "min")
    combine, init = {"Sum": ("sum", 0.0), "ReduceMax": ("max", LOWEST), "ReduceMin": ("min", -LOWEST)}[name]
    return Definition(stages=(reduced(op, op.axes, combine, init),), inputs={"x": op.x})  # type: ignore[arg-type]


def _place(op: Reduction, combine: Combine) -> Definition:
    """Return two stages: the largest or smallest, and the first place where it is."""
    shape = op.x.shape
    kept = tuple(size for d, size in enumerate(shape) if d not in op.axes)
    best = Buffer(name="best", c_type=FLOAT, shape=kept)
    first = reduced(op, op.axes, combine, LOWEST if combine == "max" else -LOWEST, output=best)
    at = number(0)
    for d in op.axes:
        at = at * shape[d] + axis(f"r{d}")
    found = Load(buffer=best, index=first.index)

    def term(x: Expr) -> Expr:
        return where(equal(x, found), Index(value=at), Const(value=op.count - 1))

    second = replace(reduced(op, op.axes, "min", 0.0, term=term), init=Const(value=op.count - 1), c_type="int32_t")
    return Definition(stages=(first, second), inputs={"x": op.x})


def _batch_matmul(op: BatchMatMul) -> Definition:
    *batches, rows, columns = op.y.shape
    a = matrix("a", op.a, batches, ("k", "m") if op.turned_a else ("m", "k"))
    b = matrix("b", op.b, batches, ("n", "k") if op.turned_b else ("k", "n"))
    space = {**axes_of(batches), "m": rows, "n": columns}
    compute = Compute(
        space=space,
        reduce={"k": op.a.shape[-2 if op.turned_a else -1]},
        init=ZERO,
        term=a * b,
        epilogue=Reduced(),
        output=buffer_of("y", op.y),
        index=tuple(axis(name) for name in space),
        c_type=FLOAT,
    )
    return Definition(stages=(compute,), inputs={"a": op.a, "b": op.b})


def _cumulative_sum(op: CumulativeSum) -> Definition:
    """Return each sum by itself, from the end that tflite-micro starts at."""
    shape, axes = op.x.shape, axes_of(op.x.shape)
    length = shape[op.axis]
    # Term r of point d is element r where that comes before d, or else nothing.
    read = axis("r") * (-1 if op.reverse else 1) + (length - 1 if op.reverse else 0)
    behind = axis(f"d{op.axis}") + axis("r") * -1
    if op.reverse:
        behind = axis(f"d{op.axis}") * -1 + axis("r") * -1 + (length - 1)
    index = tuple(read if d == op.axis else axis(f"d{d}") for d in range(len(shape)))
    load = Load(buffer=buffer_of("x", op.x), index=index)
    counts = Index(value=behind) >= (1 if op.exclusive else 0)
    compute = Compute(
        space=axes,
        reduce={"r": length},
        init=ZERO,
        term=where(counts, load, ZERO),
        epilogue=Reduced(),
        output=buffer_of("y", op.y),
        index=tuple(axis(name) for name in axes),
        c_type=FLOAT,
    )
    return Definition(stages=(compute,), inputs={"x": op.x})


FLOATING: Mapping[type[Operator], Callable[[Any], Definition]] = {
    Conv2D: weighted,
    DepthwiseConv2D: weighted,
    FullyConnected: weighted,
    Add: _binary(lambda a, b: a + b),
    Sub: _binary(lambda a, b: a - b),
    Mul: _binary(lambda a, b: a * b),
    MaxPool2D: _max_pool,
    AveragePool2D: _average_pool,
    Mean: _mean,
    Softmax: _softmax,
    Logistic: _unary(lambda _, x: Call(helper=LOGISTIC, arguments=(x,))),
    Tanh: _unary(lambda _, x: Call(helper=TANH, arguments=(x,))),
    Relu: _unary(lambda _, x: larger(x, 0.0)),
    Relu6: _unary(lambda _, x: smaller(larger(x, 0.0), 6.0)),
    LeakyRelu: _unary(lambda op, x: where(x > 0.0, x, x * float(np.float32(op.alpha)))),
    ResizeBilinear: _resize_bilinear,
    Elementwise: _elementwise,
    Reduction: _reduction,
    BatchMatMul: _batch_matmul,
    CumulativeSum: _cumulative_sum,
}
"""What each operator computes where an input or its output is float32."""
