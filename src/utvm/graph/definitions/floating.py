"""What operators compute between float32 tensors: sums term by term in their order, one IEEE operation after another.

A fused clamp is never used: an activation is an operator of its own. Where tflite-micro calls a mathematical library,
results differ from its by the errors that `utvm.numerics.floating` states.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import numpy as np

from utvm.compute import (
    Buffer,
    Compute,
    Const,
    Expr,
    Index,
    Load,
    Lookup,
    Reduced,
    as_expr,
    axis,
    call,
    cast,
    equal,
    larger,
    smaller,
    where,
)
from utvm.compute.expressions import Combine
from utvm.graph.definitions.definition import Definition, axes_of, buffer_of
from utvm.graph.definitions.frames import (
    FLOAT,
    INTEGER,
    broadcast,
    of_each,
    over_dimensions,
    pixels_inside,
    pointwise,
    pooled,
    softmax,
)
from utvm.graph.definitions.products import column_bias, matrix, operands
from utvm.graph.definitions.recurrent import real_svdf_feature, real_svdf_time
from utvm.graph.definitions.weighted_operators import terms_of
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
    Weighted,
)
from utvm.graph.recurrent import SvdfFeature, SvdfTime

LOWEST = float(np.finfo(np.float32).min)
ZERO = Const(value=0.0)
_COMBINATIONS: Mapping[str, tuple[Combine, float]] = {
    "Sum": ("sum", 0.0),
    "ReduceMax": ("max", LOWEST),
    "ReduceMin": ("min", -LOWEST),
}
"""Reducer → how it combines, and from what."""


def weighted(op: Weighted) -> Definition:
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


def _of_each(function: Callable[[Any, Expr], Expr]) -> Callable[[Any], Definition]:
    return of_each(function, FLOAT)


def _binary(combine: Callable[[Expr, Expr], Expr]) -> Callable[[Add | Sub | Mul], Definition]:
    def define(op: Add | Sub | Mul) -> Definition:
        return broadcast({"a": op.a, "b": op.b}, op.y, lambda loads: combine(*loads), FLOAT)

    return define


def _max_pool(op: MaxPool2D) -> Definition:
    return Definition(stages=(pooled(op, "max", LOWEST, Reduced(), FLOAT),), inputs={"x": op.x})


def _average_pool(op: AveragePool2D) -> Definition:
    """Return the sum over how many pixels lie inside: the product of so many rows and so many columns."""
    count, constants = pixels_inside(op, FLOAT)
    stage = pooled(op, "sum", 0.0, Reduced() / count, FLOAT)
    return Definition(stages=(stage,), inputs={"x": op.x}, constants=constants)


def _mean(op: Mean) -> Definition:
    count = float(prod(op.x.shape[d] for d in op.axes))
    stage = over_dimensions(op, "sum", 0.0, result=Reduced() / count, c_type=FLOAT)
    return Definition(stages=(stage,), inputs={"x": op.x})


def _softmax(op: Softmax) -> Definition:
    return softmax(
        op,
        LOWEST,
        power=lambda difference: call(EXP, difference * float(np.float32(op.beta))),
        share=lambda power, total: power / total,
        powers_type=FLOAT,
        c_type=FLOAT,
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
            c_type = INTEGER if values.dtype == np.int32 else FLOAT
            loads[key] = Load(buffer=Buffer(name=key, c_type=c_type, shape=values.shape), index=(axis(place),))
    buffer = buffer_of("x", op.x)

    def pixel(row: str, column: str) -> Expr:
        at = (Index(value=axis("n") * height) + cast(loads[f"{row}_row"], INTEGER)) * width
        return Lookup(
            buffer=buffer, place=(at + cast(loads[f"{column}_column"], INTEGER)) * channels + Index(value=axis("c"))
        )

    down, right = loads["share_row"], loads["share_column"]
    up, left = loads["rest_row"], loads["rest_column"]
    value = pixel("first", "first") * up * left + pixel("second", "first") * down * left
    value = value + pixel("first", "second") * up * right + pixel("second", "second") * down * right
    # Indices are integers, which arithmetic in float would not hold: all is converted where it is read.
    stage = pointwise(space, value, buffer_of("y", op.y))
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
    function = op.function.floating
    assert function is not None
    operands = {f"x{i}": t for i, t in enumerate(op.xs)}
    return broadcast(operands, op.y, lambda loads: as_expr(function(op, loads)), FLOAT)


def _reduction(op: Reduction) -> Definition:
    name = op.reducer.name
    if name in ("ArgMax", "ArgMin"):
        return _place(op, "max" if name == "ArgMax" else "min")
    combine, init = _COMBINATIONS[name]
    return Definition(stages=(over_dimensions(op, combine, init, c_type=FLOAT),), inputs={"x": op.x})


def _place(op: Reduction, combine: Combine) -> Definition:
    """Return two stages: the largest or smallest, and the first place where it is."""
    best = Buffer(name="best", c_type=FLOAT, shape=tuple(size for d, size in enumerate(op.x.shape) if d not in op.axes))
    first = over_dimensions(op, combine, LOWEST if combine == "max" else -LOWEST, output=best, c_type=FLOAT)
    found = Load(buffer=best, index=first.index)
    second = over_dimensions(
        op,
        "min",
        op.count - 1,
        term=lambda x, place: where(equal(x, found), Index(value=place), Const(value=op.count - 1)),
    )
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
        epilogue=Reduced() if op.bias is None else Reduced() + column_bias(op),
        output=buffer_of("y", op.y),
        index=tuple(axis(name) for name in space),
        c_type=FLOAT,
    )
    return Definition(stages=(compute,), inputs=operands(op))


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
    Logistic: _of_each(lambda _, x: call(LOGISTIC, x)),
    Tanh: _of_each(lambda _, x: call(TANH, x)),
    Relu: _of_each(lambda _, x: larger(x, 0.0)),
    Relu6: _of_each(lambda _, x: smaller(larger(x, 0.0), 6.0)),
    LeakyRelu: _of_each(lambda op, x: where(x > 0.0, x, x * float(np.float32(op.alpha)))),
    ResizeBilinear: _resize_bilinear,
    Elementwise: _elementwise,
    Reduction: _reduction,
    BatchMatMul: _batch_matmul,
    CumulativeSum: _cumulative_sum,
    SvdfFeature: real_svdf_feature,
    SvdfTime: real_svdf_time,
}
"""What each operator computes where an input or its output is float32."""
