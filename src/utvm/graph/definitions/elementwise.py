"""Elementwise operators, reductions and cumulative sums as computations."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from utvm.compute import Buffer, Compute, Const, Expr, Index, Load, Lookup, Reduced, as_expr, axis, number
from utvm.graph.arithmetic import requantization
from utvm.graph.definitions.definition import Definition, axes_of, broadcast_load, buffer_of
from utvm.graph.formulas import centered, requantized, stored
from utvm.graph.general import CumulativeSum, Elementwise, Reduction

NOTHING = Const(value=0)


def elementwise(op: Elementwise) -> Definition:
    """Return y = f(xs) point by point; functions of one int8 by a table of all 256."""
    axes = axes_of(op.y.shape)
    loads = [broadcast_load(f"x{i}", t, list(axes), op.y.shape) for i, t in enumerate(op.xs)]
    constants = {}
    if op.function.expression is not None:
        value = as_expr(op.function.expression(op, loads))
    else:
        table = Buffer(name="table", c_type=op.y.dtype.c_type, shape=(256,))
        constants["table"] = _table(op)
        value = Lookup(buffer=table, place=loads[0] + 128)
    return Definition(
        stages=(pointwise(axes, value, buffer_of("y", op.y)),),
        inputs={f"x{i}": t for i, t in enumerate(op.xs)},
        constants=constants,
    )


def pointwise(axes: dict[str, int], value: Expr, output: Buffer) -> Compute:
    """Return a computation without a sum that writes each point of `axes` at its place."""
    return Compute(
        space=axes,
        reduce={},
        init=NOTHING,
        term=NOTHING,
        epilogue=value,
        output=output,
        index=tuple(axis(name) for name in axes),
    )


def _table(op: Elementwise) -> NDArray[np.int8]:
    """Return the result of each int8, from -128 on."""
    (x,) = op.xs
    values = np.arange(-128, 128, dtype=np.int64)
    if op.function.stored is not None:
        found = op.function.stored(op, values)
    else:
        assert op.function.real is not None
        real = op.function.real(np.float32(x.scale) * (values - x.zero_point).astype(np.float32))
        steps = (
            np.broadcast_to(np.asarray(real, np.float32), values.shape) * (np.float32(1) / np.float32(op.y.scale))
        ).astype(np.float64)
        # Halves away from zero; what is no number or beyond int32 saturates.
        rounded = np.copysign(np.floor(np.abs(np.nan_to_num(steps)) + 0.5), steps)
        found = np.clip(rounded, -(2**31), 2**31 - 1) + op.y.zero_point
    table: NDArray[np.int8] = np.clip(found, *op.clamp).astype(np.int8)
    return table


def reduction(op: Reduction) -> Definition:
    """Return the combination over `axes`, with an axis r for each."""
    shape = op.x.shape
    kept = {f"d{d}": size for d, size in enumerate(shape) if d not in op.axes}
    summed = {f"r{d}": shape[d] for d in op.axes}
    index = tuple(axis(f"r{d}" if d in op.axes else f"d{d}") for d in range(len(shape)))
    position = number(0)
    for d in op.axes:
        position = position * shape[d] + axis(f"r{d}")
    load = Load(buffer=buffer_of("x", op.x), index=index)
    reducer = op.reducer
    compute = Compute(
        space=kept,
        reduce=summed,
        combine=reducer.combine,
        init=Const(value=reducer.init),
        term=as_expr(reducer.term(op, load, Index(value=position))),
        epilogue=as_expr(reducer.result(op, Reduced())),
        output=buffer_of("y", op.y, tuple(kept.values())),
        index=tuple(axis(name) for name in kept),
    )
    return Definition(stages=(compute,), inputs={"x": op.x})


def cumulative_sum(op: CumulativeSum) -> Definition:
    """Return each sum by itself: what is before the first element or behind the last adds nothing."""
    shape, axes = op.x.shape, axes_of(op.x.shape)
    length = shape[op.axis]
    step = axis("r") + (1 if op.exclusive else 0)
    read = axis(f"d{op.axis}") + (step if op.reverse else step * -1)
    index = tuple(read if d == op.axis else axis(f"d{d}") for d in range(len(shape)))
    load = Load(buffer=buffer_of("x", op.x), index=index, outside=op.x.zero_point)
    half = requantization(0.5)
    # tflite-micro starts its sum from what it takes for zero: an element of the value 0, not of the zero point.
    zero = centered(op.x, NOTHING) * (1 << 20)
    start = requantized(zero, half)
    scaled = requantized(centered(op.x, load) * (1 << 20), half)
    factor = requantization(2.0 * op.x.scale / ((1 << 20) * op.y.scale))
    value = stored(op, requantized(start + Reduced(), factor))
    compute = Compute(
        space=axes,
        reduce={"r": length},
        init=NOTHING,
        term=scaled,
        epilogue=value,
        output=buffer_of("y", op.y),
        index=tuple(axis(name) for name in axes),
        # Sixteen elements and more may leave int32, and tflite-micro's sum wraps.
        c_type="uint32_t",
    )
    return Definition(stages=(compute,), inputs={"x": op.x})
