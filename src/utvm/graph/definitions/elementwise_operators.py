"""Elementwise operators, reductions and cumulative sums as computations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from utvm.compute import Buffer, Compute, Index, Load, Lookup, Reduced, as_expr, axis
from utvm.graph.arithmetic import integer_range, requantization
from utvm.graph.definitions.definition import Definition, axes_of, buffer_of
from utvm.graph.definitions.frames import NOTHING, broadcast, over_dimensions
from utvm.graph.formulas import centered, requantized, stored
from utvm.graph.general import CumulativeSum, Elementwise, Reduction
from utvm.graph.tensor import DType


def elementwise(op: Elementwise) -> Definition:
    """Return y = f(xs) point by point; functions of one int8 by a table of all 256."""
    operands = {f"x{i}": t for i, t in enumerate(op.xs)}
    expression = op.function.expression
    tabled = op.function.stored is not None and op.xs[0].dtype is DType.INT8
    if expression is not None and not tabled:
        return broadcast(operands, op.y, lambda loads: as_expr(expression(op, loads)))
    table = Buffer(name="table", c_type=op.y.dtype.c_type, shape=(256,))
    found = broadcast(operands, op.y, lambda loads: Lookup(buffer=table, place=loads[0] + 128))
    return replace(found, constants={"table": _table(op)})


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
    reducer = op.reducer
    init = reducer.init
    if op.x.dtype is DType.INT16 and reducer.combine != "sum":
        init = integer_range(op.x.dtype)[0 if reducer.combine == "max" else 1]
    stage = over_dimensions(
        op,
        reducer.combine,
        init,
        term=lambda x, place: as_expr(reducer.term(op, x, Index(value=place))),
        result=as_expr(reducer.result(op, Reduced())),
    )
    return Definition(stages=(stage,), inputs={"x": op.x})


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
