"""What operators compute on int8 and int16 alike, by TFLite's fixed point: sums of two tensors, pools, means."""

from __future__ import annotations

from collections.abc import Sequence

from utvm.compute import Const, Expr, Load, Reduced, call, where
from utvm.graph.arithmetic import (
    Requantization,
    addition_parameters,
    integer_range,
    mean_parameters,
    multiplication_parameters,
)
from utvm.graph.definitions.definition import Definition
from utvm.graph.definitions.frames import broadcast, over_dimensions, pixels_inside, pooled
from utvm.graph.formulas import CLAMP, REQUANTIZE, centered, limits, requantized, rescaled, stored
from utvm.graph.operators import Add, AveragePool2D, AverageRounding, MaxPool2D, Mean, Mul, Sub
from utvm.graph.tensor import DType


def binary(op: Add | Sub | Mul) -> Definition:
    """Return a product, or the sum of both inputs at a common scale, finer than twice the larger one; scaled to y's."""

    def value(loads: Sequence[Load]) -> Expr:
        a, b = (centered(tensor, load) for tensor, load in zip((op.a, op.b), loads, strict=True))
        if isinstance(op, Mul):
            return stored(op, requantized(a * b, multiplication_parameters(op)))
        parameters = addition_parameters(op)
        one = 1 << parameters.left_shift
        left, right = requantized(a * one, parameters.a), requantized(b * one, parameters.b)
        return stored(op, requantized(left - right if isinstance(op, Sub) else left + right, parameters.y))

    return broadcast({"a": op.a, "b": op.b}, op.y, value)


def mean(op: Mean) -> Definition:
    """Return the sum over `op.axes`, which wraps, requantised; the count is part of the multiplier."""
    parameters = mean_parameters(op)
    value: Expr = call(REQUANTIZE, Reduced(), parameters.multiplier, parameters.shift)
    if op.x.dtype is DType.INT16:
        low, high = (parameters.count * (end - op.x.zero_point) for end in integer_range(op.x.dtype))
        factor = Requantization(multiplier=parameters.multiplier, shift=parameters.shift)
        value = rescaled(Reduced(), factor, (low, high))
    stage = over_dimensions(
        op, "sum", 0, term=lambda x, _: centered(op.x, x), result=stored(op, value), c_type="uint32_t"
    )
    return Definition(stages=(stage,), inputs={"x": op.x})


def max_pool(op: MaxPool2D) -> Definition:
    """Return the largest pixel of each window; what is outside of x never wins."""
    value = call(CLAMP, Reduced(), *limits(op))
    return Definition(stages=(pooled(op, "max", integer_range(op.x.dtype)[0], value),), inputs={"x": op.x})


def average_pool(op: AveragePool2D) -> Definition:
    """Return the sum of a window over how many of its pixels lie inside; zero points stay in what is averaged."""
    count, constants = pixels_inside(op)
    total = Reduced()
    half = Const(value=count.value // 2) if isinstance(count, Const) else count // 2
    value: Expr = total // count
    if op.rounding is AverageRounding.HALF_AWAY:
        value = where(total > 0, (total + half) // count, (total - half) // count)
    elif op.rounding is AverageRounding.HALF_UP:
        # Nothing is negative before the quotient, which is cut toward zero.
        value = (total + half + count * 128) // count - 128
    stage = pooled(op, "sum", 0, call(CLAMP, value, *limits(op)))
    return Definition(stages=(stage,), inputs={"x": op.x}, constants=constants)
