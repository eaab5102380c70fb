"""TFLite operators that are a function or a reduction: a line each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tflite

from utvm.frontends.context import (
    OPERATOR_ADVICE,
    Context,
    expect_shape,
    reduced_axes,
    same_quantisation,
)
from utvm.frontends.refusal import RefusedError, broadcast_shape
from utvm.frontends.tflite_parts import Converted
from utvm.frontends.tflite_scales import check_ratio, check_scales
from utvm.frontends.tflite_types import QUANTISED
from utvm.graph import (
    FULL_INT8,
    BatchMatMul,
    CumulativeSum,
    DType,
    Elementwise,
    Operator,
    Reduction,
    Reshape,
)
from utvm.graph.functions import FUNCTIONS, function, reducer

_BOOL = (DType.BOOL,)
FLOAT_ALONE = (
    *("CEIL", "COS", "FLOOR", "FLOOR_DIV", "FLOOR_MOD"),
    *("NEG", "ROUND", "SIN", "SQUARE"),
)
"""What tflite-micro computes in float32 alone."""
_MOST_SUMMED = 1 << 16
"""Elements of int16 whose sum may leave 32 bits."""


def _elementwise(
    name: str,
    arity: int,
    *,
    y: tuple[DType, ...] | None = None,
    same: bool = False,
    activation: type[Any] | None = None,
    check: Callable[[Elementwise], None] | None = None,
) -> Callable[[Context], Operator]:
    """Convert an elementwise operator.

    Args:
        name: the function's name.
        arity: how many operands there are.
        y: types of the output; None means that of the first operand.
        same: whether int8 operands and output must share one quantisation.
        activation: the options that hold a fused activation.
        check: what else may be refused.
    """
    what = function(name)

    def convert(c: Context) -> Operator:
        c.arity((arity,))
        xs = tuple(c.element(i, what.inputs) for i in range(arity))
        result = c.made_of((xs[-1].dtype,) if y is None else y)
        if any(x.dtype is not xs[-1].dtype for x in xs):
            raise RefusedError("its operands are of different types")
        expect_shape(result, broadcast_shape(*(x.shape for x in xs)))
        for x in xs:
            if same:
                same_quantisation(x, result)
        clamp = FULL_INT8
        if activation is not None:
            clamp = c.clamp(c.options(activation).FusedActivationFunction(), result)
        op = Elementwise(name=c.name, function=what, xs=xs, y=result, clamp=clamp)
        if check is not None and xs[0].dtype in QUANTISED:
            check(op)
        return op

    return convert


def integers(c: Context, name: str, options: type[Any]) -> Operator:
    """Convert arithmetic on int32, such as that on places in an embedding."""
    if c.options(options).FusedActivationFunction() != tflite.ActivationFunctionType.NONE:
        raise RefusedError("a fused activation of int32 is not supported", OPERATOR_ADVICE)
    return _elementwise(name, 2)(c)


def _rescales(op: Elementwise) -> None:
    check_ratio(op.xs[0].scale / op.y.scale)


def _prelu(op: Elementwise) -> None:
    check_ratio(op.xs[0].scale / op.y.scale * max(1.0, op.xs[1].scale))


def _rsqrt(op: Elementwise) -> None:
    ratio = 1.0 / (math.sqrt(op.xs[0].scale) * op.y.scale)
    if op.y.dtype is DType.INT16 and not 2.0**-10 <= ratio < 2.0**30:
        raise RefusedError(f"its scales are too far apart: {ratio} does not fit 32 bits")


def _below_one(op: Elementwise) -> None:
    if op.xs[0].dtype is DType.INT8 and max(x.scale for x in op.xs) >= 1:
        raise RefusedError("a scale is 1 or more, which tflite-micro does not compare")


def _squares(op: Elementwise) -> None:
    twice = 2 * max(x.scale for x in op.xs)
    if op.y.dtype is DType.INT16:
        # Squares of int16 take 30 bits, which leaves none.
        if twice * twice >= op.y.scale:
            raise RefusedError("its output's scale is too small beside its inputs', whose squares do not fit 32 bits")
        return
    check_ratio(twice * twice / (1 << 14) / op.y.scale)


def _div(c: Context) -> Operator:
    if c.any_input(0).dtype is not DType.INT32:
        return _elementwise("Div", 2, activation=tflite.DivOptions, check=_divides)(c)
    divisor = c.element(1, (DType.INT32,))
    if divisor.is_constant and (divisor.values == 0).any():
        raise RefusedError("it divides by 0")
    return integers(c, "Div", tflite.DivOptions)


def _divides(op: Elementwise) -> None:
    check_ratio(op.xs[0].scale / op.xs[1].scale / op.y.scale)
    if op.xs[1].is_constant and (op.xs[1].values == op.xs[1].zero_point).any():
        raise RefusedError("it divides by 0")


def _hard_swish(op: Elementwise) -> None:
    if op.xs[0].scale / 128 >= op.y.scale:
        raise RefusedError("its input's scale is more than 128 times its output's, which tflite-micro does not take")


def _gelu(c: Context) -> Operator:
    approximate = bool(c.options(tflite.GeluOptions).Approximate())
    return _elementwise("GeluTanh" if approximate else "Gelu", 1)(c)


def _pow(c: Context) -> Operator:
    exponent = c.any_input(1)
    if not exponent.is_constant or exponent.dtype is not DType.FLOAT32 or np.unique(exponent.values).size != 1:
        raise RefusedError("its exponent is not one constant number of float32", OPERATOR_ADVICE)
    value = float(exponent.values.reshape(-1)[0])
    if not 0 < abs(value) < np.inf or (value < 0 and abs(value) not in (0.5, 1.0, 2.0, 3.0, 4.0)):
        raise RefusedError(f"the exponent {value} is not supported", OPERATOR_ADVICE)
    return _elementwise("Pow", 2)(c)


def _add_n(c: Context) -> Operator:
    xs, y = tuple(c.activation(i) for i in range(len(c.raw.inputs))), c.result()
    if len(xs) < 2 or len(c.raw.outputs) != 1:
        raise RefusedError(f"it has {len(xs)} inputs, at least 2 are expected, and one output")
    for x in xs:
        expect_shape(x, y.shape)
        same_quantisation(x, xs[0])
    if c.dtype in QUANTISED and xs[0].scale * 2 >= y.scale * (1 << 20):
        raise RefusedError("its output's scale is too small beside its inputs'")
    return Elementwise(name=c.name, function=function("AddN"), xs=xs, y=y)


def _select(c: Context) -> Operator:
    c.arity((3,))
    condition = c.element(0, _BOOL)
    a, b, y = c.activation(1), c.activation(2), c.result()
    if c.raw.kind == "SELECT" and condition.shape != y.shape and condition.shape not in ((), (1,)):
        raise RefusedError("it chooses whole rows, which is not supported", OPERATOR_ADVICE)
    expect_shape(y, broadcast_shape(condition.shape, a.shape, b.shape))
    same_quantisation(a, y)
    same_quantisation(b, y)
    return Elementwise(name=c.name, function=function("Select"), xs=(condition, a, b), y=y)


def _cast(c: Context) -> Operator:
    c.arity((1,))
    what = function("Cast")
    x, y = c.any_input(0), c.any_output()
    made = (DType.INT8, DType.INT16, DType.INT32, DType.FLOAT32, DType.BOOL)
    for tensor, types in ((x, what.inputs), (y, made)):
        if tensor.dtype not in types:
            raise RefusedError(f"tensor '{tensor.name}': a cast from or to {tensor.dtype} is not supported")
    expect_shape(y, x.shape)
    return Elementwise(name=c.name, function=what, xs=(x,), y=y)


def _broadcast_to(c: Context) -> Operator:
    c.arity((2,))
    what = function("BroadcastTo")
    x = c.element(0, what.inputs)
    y = c.made_of((x.dtype,))
    expect_shape(y, tuple(c.integers(1)))
    same_quantisation(x, y)
    if broadcast_shape(x.shape, y.shape) != y.shape:
        raise RefusedError(f"the shape {list(x.shape)} does not become {list(y.shape)}")
    return Elementwise(name=c.name, function=what, xs=(x,), y=y)


def _tile(c: Context) -> Converted:
    """Repeat whole dimensions: an axis of 1 before each that is repeated, broadcast, and both as one axis again."""
    c.arity((2,))
    what = function("BroadcastTo")
    x = c.element(0, what.inputs)
    y, times = c.made_of((x.dtype,)), c.integers(1)
    if len(times) != len(x.shape) or min(times, default=1) < 1:
        raise RefusedError(f"{list(times)} repetitions do not fit an input of shape {list(x.shape)}")
    expect_shape(y, tuple(size * n for size, n in zip(x.shape, times, strict=True)))
    same_quantisation(x, y)
    before: list[int] = []
    after: list[int] = []
    for size, n in zip(x.shape, times, strict=True):
        before += [1, size] if n > 1 and size > 1 else [size]
        after += [n, size] if n > 1 and size > 1 else [size * n]
    view = c.made("apart", x, tuple(before))
    wide = c.made("repeated", y, tuple(after))
    return (
        Reshape(name=f"{c.name}/apart", x=x, y=view),
        Elementwise(name=c.name, function=what, xs=(view,), y=wide),
        Reshape(name=f"{c.name}/joined", x=wide, y=y),
    )


def _reduction(name: str, *, same: bool = False) -> Callable[[Context], Operator]:
    what = reducer(name)

    def convert(c: Context) -> Operator:
        c.arity((2,))
        x = c.element(0, what.inputs)
        y = c.made_of((x.dtype,))
        axes = reduced_axes(c, len(x.shape))
        keeps = bool(c.options(tflite.ReducerOptions).KeepDims())
        expect_shape(y, _reduced_shape(x.shape, axes, keeps))
        if same:
            same_quantisation(x, y)
        elif x.dtype in QUANTISED:
            check_ratio(x.scale / y.scale)
            if x.elements // max(1, y.elements) >= _MOST_SUMMED:
                raise RefusedError(f"a sum of {_MOST_SUMMED} elements and more may leave 32 bits")
        return Reduction(name=c.name, reducer=what, x=x, y=y, axes=axes)

    return convert


def _reduced_shape(shape: Sequence[int], axes: Sequence[int], keeps: bool) -> tuple[int, ...]:
    return tuple(1 if d in axes else size for d, size in enumerate(shape) if keeps or d not in axes)


def _arg(name: str, options: type[Any]) -> Callable[[Context], Operator]:
    def convert(c: Context) -> Operator:
        c.arity((2,))
        x, y = c.activation(0), c.made_of((DType.INT32, DType.INT64))
        axes = reduced_axes(c, len(x.shape))
        if len(axes) != 1:
            raise RefusedError(f"it has {len(axes)} axes, one is expected")
        expect_shape(y, _reduced_shape(x.shape, axes, keeps=False))
        if x.shape[axes[0]] >= 1 << 22:
            raise RefusedError(f"{x.shape[axes[0]]} elements are too many for places in 32 bits")
        if c.options(options).OutputType() != getattr(tflite.TensorType, y.dtype.name):
            raise RefusedError("the type of its places is not that of its output")
        return Reduction(name=c.name, reducer=reducer(name), x=x, y=y, axes=axes)

    return convert


def _cumsum(c: Context) -> Operator:
    c.arity((2,))
    x, y = c.activation(0), c.result()
    expect_shape(y, x.shape)
    axes = reduced_axes(c, len(x.shape))
    if len(axes) != 1:
        raise RefusedError(f"it has {len(axes)} axes, one is expected")
    options = c.options(tflite.CumsumOptions)
    if c.dtype in QUANTISED and x.scale * 2 >= y.scale * (1 << 20):
        raise RefusedError("its output's scale is too small beside its input's")
    return CumulativeSum(
        name=c.name, x=x, y=y, axis=axes[0], exclusive=bool(options.Exclusive()), reverse=bool(options.Reverse())
    )


def _batch_matmul(c: Context) -> Operator:
    c.arity((2,))
    options = c.options(tflite.BatchMatMulOptions)
    a, b, y = c.activation(0), c.activation(1), c.result()
    if min(len(a.shape), len(b.shape)) < 2:
        raise RefusedError("matrices of two dimensions and more are expected")
    turned_a, turned_b = bool(options.AdjX()), bool(options.AdjY())
    left = (*a.shape[:-2], *(a.shape[:-3:-1] if turned_a else a.shape[-2:]))
    right = (*b.shape[:-2], *(b.shape[:-3:-1] if turned_b else b.shape[-2:]))
    if left[-1] != right[-2]:
        raise RefusedError(f"matrices of {list(left)} and {list(right)} can't be multiplied")
    expect_shape(y, (*broadcast_shape(left[:-2], right[:-2]), left[-2], right[-1]))
    if c.dtype in QUANTISED:
        check_ratio(a.scale * b.scale / y.scale)
        check_scales(a, b, y)
    return BatchMatMul(name=c.name, a=a, b=b, y=y, turned_a=turned_a, turned_b=turned_b)


def _float_alone(name: str) -> Callable[[Context], Operator]:
    kind = name.title().replace("_", "")
    what = next((each for each in FUNCTIONS if each.name == kind), None)
    arity = 2 if kind.startswith("Floor") and kind != "Floor" else 1

    def convert(c: Context) -> Operator:
        dtype = c.any_input(0).dtype
        if dtype is not DType.FLOAT32:
            raise RefusedError(f"tflite-micro computes it in float32 alone, and its input is {dtype}", OPERATOR_ADVICE)
        if what is None:
            raise RefusedError("this operator is not supported", OPERATOR_ADVICE)
        return _elementwise(kind, arity)(c)

    return convert


GENERAL: Mapping[str, Callable[[Context], Converted]] = {
    **{name: _float_alone(name) for name in FLOAT_ALONE},
    "ABS": _elementwise("Abs", 1, check=_rescales),
    "RSQRT": _elementwise("Rsqrt", 1, check=_rsqrt),
    "ELU": _elementwise("Elu", 1),
    "GELU": _gelu,
    "SQRT": _elementwise("Sqrt", 1),
    "SIGN": _elementwise("Sign", 1),
    "POW": _pow,
    "RELU_N1_TO_1": _elementwise("ReluN1To1", 1, check=_rescales),
    "RELU_0_TO_1": _elementwise("Relu0To1", 1, check=_rescales),
    "EXP": _elementwise("Exp", 1),
    "LOG": _elementwise("Log", 1),
    "HARD_SWISH": _elementwise("HardSwish", 1, check=_hard_swish),
    "PRELU": _elementwise("Prelu", 2, check=_prelu),
    "MAXIMUM": _elementwise("Maximum", 2, same=True),
    "MINIMUM": _elementwise("Minimum", 2, same=True),
    "SQUARED_DIFFERENCE": _elementwise("SquaredDifference", 2, check=_squares),
    "DIV": _div,
    "EQUAL": _elementwise("Equal", 2, y=_BOOL, check=_below_one),
    "NOT_EQUAL": _elementwise("NotEqual", 2, y=_BOOL, check=_below_one),
    "LESS": _elementwise("Less", 2, y=_BOOL, check=_below_one),
    "LESS_EQUAL": _elementwise("LessEqual", 2, y=_BOOL, check=_below_one),
    "GREATER": _elementwise("Greater", 2, y=_BOOL, check=_below_one),
    "GREATER_EQUAL": _elementwise("GreaterEqual", 2, y=_BOOL, check=_below_one),
    "LOGICAL_AND": _elementwise("LogicalAnd", 2),
    "LOGICAL_OR": _elementwise("LogicalOr", 2),
    "LOGICAL_NOT": _elementwise("LogicalNot", 1),
    "SELECT": _select,
    "SELECT_V2": _select,
    "ADD_N": _add_n,
    "CAST": _cast,
    "BROADCAST_TO": _broadcast_to,
    "TILE": _tile,
    "SUM": _reduction("Sum"),
    "REDUCE_MAX": _reduction("ReduceMax", same=True),
    "REDUCE_MIN": _reduction("ReduceMin", same=True),
    "REDUCE_ALL": _reduction("ReduceAll"),
    "REDUCE_ANY": _reduction("ReduceAny"),
    "ARG_MAX": _arg("ArgMax", tflite.ArgMaxOptions),
    "ARG_MIN": _arg("ArgMin", tflite.ArgMinOptions),
    "CUMSUM": _cumsum,
    "BATCH_MATMUL": _batch_matmul,
}
