"""The elementwise functions and the reductions of TFLite, each as its formula: one entry is one operator.

Source: tflite-micro's reference kernels (tensorflow/lite/micro/kernels, tensorflow/lite/kernels/internal/reference).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from utvm.compute import Expr, as_expr, call, equal, larger, smaller, unequal, where
from utvm.errors import UtvmError
from utvm.graph.arithmetic import requantization
from utvm.graph.float_functions import FLOAT_FUNCTIONS, FLOAT_REDUCERS
from utvm.graph.formulas import (
    QUOTIENT,
    SCALED_INVERSE_ROOT,
    WRAPPING_DIFFERENCE,
    WRAPPING_PRODUCT,
    WRAPPING_SUM,
    centered,
    requantized,
    stored,
)
from utvm.graph.general import Elementwise, Function, Reducer, Reduction
from utvm.graph.tensor import DType, Tensor
from utvm.numerics import (
    multiply_by_quantized_multiplier,
    quantize_multiplier,
    rounding_divide_by_pot,
    scaled_inverse_root,
)

_T = TypeVar("_T", Function, Reducer)
_NUMBERS = (DType.INT8, DType.INT32)
_WITH_INT16 = (DType.INT8, DType.INT16, DType.INT32)
_ANY = (DType.INT8, DType.INT32, DType.BOOL)
_INT32 = (DType.INT32,)
_WIDE = (DType.INT8, DType.INT16)


# Two and more operands


def _prelu(op: Elementwise, xs: Sequence[Expr]) -> Expr:
    x, slope = (centered(t, e) for t, e in zip(op.xs, xs, strict=True))
    positive = requantized(x, requantization(op.xs[0].scale / op.y.scale))
    negative = requantized(x * slope, requantization(op.xs[0].scale * op.xs[1].scale / op.y.scale))
    return stored(op, where(x >= 0, positive, negative))


def _common(op: Elementwise, xs: Sequence[Expr], bits: int) -> tuple[list[Expr], float]:
    """Return the operands at one scale, twice the larger one, times 2^-bits; and that scale without the bits."""
    twice = 2.0 * max(t.scale for t in op.xs)
    scaled = [
        requantized(centered(t, e) * (1 << bits), requantization(t.scale / twice))
        for t, e in zip(op.xs, xs, strict=True)
    ]
    return scaled, twice


def _squared_difference(op: Elementwise, xs: Sequence[Expr]) -> Expr:
    if op.y.dtype is DType.INT32:
        difference = call(WRAPPING_DIFFERENCE, *xs)
        return call(WRAPPING_PRODUCT, difference, difference)
    bits = 7 if op.y.dtype is DType.INT8 else 0
    (a, b), twice = _common(op, xs, bits)
    factor = requantization(twice * twice / float(np.float32(1 << 2 * bits) * np.float32(op.y.scale)))
    return stored(op, requantized((a - b) * (a - b), factor))


def _add_n(op: Elementwise, xs: Sequence[Expr]) -> Expr:
    scaled, twice = _common(op, xs, 20)
    total = scaled[0]
    # Sixteen operands and more may leave int32, and tflite-micro's sum wraps.
    for each in scaled[1:]:
        total = call(WRAPPING_SUM, total, each)
    # tflite-micro starts its sum from what it takes for zero: an element of the value 0, not of the zero point.
    start = int(multiply_by_quantized_multiplier(-op.xs[0].zero_point << 20, *quantize_multiplier(0.5)))
    total = call(WRAPPING_SUM, total, start)
    return stored(op, requantized(total, requantization(twice / ((1 << 20) * op.y.scale))))


def _div(op: Elementwise, xs: Sequence[Expr]) -> Expr:
    if op.y.dtype is DType.INT32:
        return _whole_quotient(*xs)
    a, b = op.xs
    ratio = np.float32(a.scale) / (np.float32(b.scale) * np.float32(op.y.scale))
    multiplier, shift = quantize_multiplier(float(ratio))
    return stored(op, call(QUOTIENT, centered(a, xs[0]), centered(b, xs[1]), multiplier, shift))


def _whole_quotient(a: Expr, b: Expr) -> Expr:
    """Return a quotient of int32, cut; 0 where b is 0, and the least int32 over -1 wraps: both end tflite-micro."""
    quotient = a // where(equal(b, 0) | equal(b, -1), 1, b)
    return where(equal(b, 0), 0, where(equal(b, -1), call(WRAPPING_DIFFERENCE, 0, a), quotient))


def _keeps_order(a: Tensor, b: Tensor) -> bool:
    """Whether int8 values of both, scaled to be compared, become the same numbers, no two of them equal."""
    if (a.scale, a.zero_point) != (b.scale, b.zero_point):
        return False
    values = (np.arange(-128, 128, dtype=np.int64) - a.zero_point) * 256
    scaled = multiply_by_quantized_multiplier(values, *quantize_multiplier(a.scale))
    return bool((np.diff(scaled) > 0).all())


def _comparison(compare: Callable[[Expr, Expr], Expr]) -> Callable[[Elementwise, Sequence[Expr]], Expr]:
    def expression(op: Elementwise, xs: Sequence[Expr]) -> Expr:
        if op.xs[0].dtype is not DType.INT8 or _keeps_order(*op.xs):
            return compare(xs[0], xs[1])
        a, b = (requantized(centered(t, e) * 256, requantization(t.scale)) for t, e in zip(op.xs, xs, strict=True))
        return compare(a, b)

    return expression


# One operand


def _abs(op: Elementwise, xs: Sequence[Expr]) -> Expr:
    (source,) = op.xs
    value = centered(source, xs[0])
    value = where(value < 0, value * -1, value)
    if source.scale != op.y.scale:
        ratio = float(np.float32(source.scale) / np.float32(op.y.scale))
        value = requantized(value, requantization(ratio))
    return stored(op, value)


def _rsqrt_factor(op: Elementwise) -> tuple[int, int]:
    return quantize_multiplier(1.0 / float(np.sqrt(np.float32(op.xs[0].scale)) * np.float32(op.y.scale)))


def _rsqrt(op: Elementwise, x: NDArray[Any]) -> NDArray[Any]:
    """Below zero tflite-micro stops with an error; here it is the largest value, as of zero."""
    value = x - op.xs[0].zero_point
    result = scaled_inverse_root(np.maximum(value, 1), *_rsqrt_factor(op)) + op.y.zero_point
    return np.where(value <= 0, 127, result)


def _wide_rsqrt(op: Elementwise, xs: Sequence[Expr]) -> Expr:
    return stored(op, where(xs[0] <= 0, 32767, call(SCALED_INVERSE_ROOT, xs[0], *_rsqrt_factor(op))))


def _cast(op: Elementwise, xs: Sequence[Expr]) -> Expr:
    return unequal(xs[0], 0) if op.y.dtype is DType.BOOL else as_expr(xs[0])


def _hard_swish(op: Elementwise, x: NDArray[Any]) -> NDArray[Any]:
    """All in 16 bits, as the reference of TFLite."""
    (source,) = op.xs
    fine = np.float32(1 / 128) * np.float32(source.scale)
    out, out_shift = quantize_multiplier(float(fine / np.float32(op.y.scale)))
    relu, relu_shift = quantize_multiplier(float(fine / np.float32(3.0 / 32768.0)))
    value = (x - source.zero_point) * 128
    before = _high_mul_16(value, _to_16_bits(out))
    share = value
    if relu_shift > 0:
        share = _limit_16(share << (relu_shift - 1))
    share = _high_mul_16(share, _to_16_bits(relu))
    if relu_shift > 0:
        share = _limit_16(share << 1)
    elif relu_shift < 0:
        share = rounding_divide_by_pot(share, -relu_shift)
    share = (share + (1 << 15)) >> 1
    product = share * before
    cut = np.sign(product) * (np.abs(product) >> 15)
    return rounding_divide_by_pot(cut, -out_shift) + op.y.zero_point


def _to_16_bits(multiplier: int) -> int:
    return 32767 if multiplier >= 2**31 - 1 - (1 << 15) else (multiplier + (1 << 15)) >> 16


def _high_mul_16(a: NDArray[Any], b: int) -> NDArray[Any]:
    """Rounding doubling high multiply of 16 bits: halves away from zero, as the quotient of C is cut."""
    product = a * b
    rounded = product + np.where(product >= 0, 1 << 14, 1 - (1 << 14))
    return _limit_16(np.sign(rounded) * (np.abs(rounded) >> 15))


def _limit_16(value: NDArray[Any]) -> NDArray[Any]:
    limited: NDArray[Any] = np.clip(value, -32768, 32767)
    return limited


def _elu(x: NDArray[Any]) -> NDArray[Any]:
    below = np.exp(np.minimum(x, 0).astype(np.float64)).astype(np.float32) - np.float32(1)
    return np.where(x < 0, below, x)


def _sqrt(op: Elementwise, x: NDArray[Any]) -> NDArray[Any]:
    """Cut, not rounded, as TFLite, which alone has it in int8; of what is below zero: zero."""
    (source,) = op.xs
    value = np.float32(source.scale) * np.maximum(x - source.zero_point, 0).astype(np.float32)
    return np.asarray(np.floor(np.sqrt(value) / np.float32(op.y.scale)).astype(np.int64) + op.y.zero_point)


def _between(least: float) -> Callable[[Elementwise, NDArray[Any]], NDArray[Any]]:
    """Return what limits real numbers to `least` and 1, requantised; as TFLite, which alone has it in int8."""

    def limited(op: Elementwise, x: NDArray[Any]) -> NDArray[Any]:
        (source,), y = op.xs, op.y
        ratio = float(np.float32(source.scale) / np.float32(y.scale))
        value = multiply_by_quantized_multiplier(x - source.zero_point, *quantize_multiplier(ratio))
        low, high = (round(limit / float(np.float32(y.scale))) for limit in (least, 1.0))
        return np.asarray(np.clip(value, low, high) + y.zero_point)

    return limited


def _gelu(x: NDArray[Any]) -> NDArray[Any]:
    """By the complement of erf, which keeps its digits far below zero; as TFLite, which alone has it."""
    complement = np.array([math.erfc(value) for value in (x * np.float32(-math.sqrt(0.5))).ravel().tolist()])
    return np.asarray(np.float32(0.5) * x * complement.reshape(x.shape).astype(np.float32))


def _gelu_tanh(x: NDArray[Any]) -> NDArray[Any]:
    root = np.float32(math.sqrt(2 / math.pi))
    inner = root * x * (np.float32(1) + np.float32(0.044715) * x * x)
    return np.asarray(np.float32(0.5) * x * (np.float32(1) + np.tanh(inner.astype(np.float64)).astype(np.float32)))


def _exp(x: NDArray[Any]) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(x.astype(np.float64)).astype(np.float32))


def _log(x: NDArray[Any]) -> NDArray[Any]:
    """Of what is not above zero: the least value."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(x > 0, np.log(x.astype(np.float64)), -np.inf).astype(np.float32)


# Reductions


def _sum(op: Reduction, total: Expr) -> Expr:
    return stored(op, requantized(total, requantization(op.x.scale / op.y.scale)))


def _first_of(op: Reduction, key: Expr) -> Expr:
    return (op.count - 1) - key % op.count


_INTEGERS: tuple[Function, ...] = (
    Function(name="Abs", expression=_abs, inputs=(DType.INT8, DType.INT16)),
    Function(name="Rsqrt", stored=_rsqrt, expression=_wide_rsqrt, inputs=_WIDE),
    Function(name="Elu", real=_elu),
    Function(name="Gelu", real=_gelu),
    Function(name="GeluTanh", real=_gelu_tanh),
    Function(name="ReluN1To1", stored=_between(-1.0)),
    Function(name="Relu0To1", stored=_between(0.0)),
    Function(name="Sqrt", stored=_sqrt),
    Function(name="AddIntegers", expression=lambda _, xs: call(WRAPPING_SUM, *xs), inputs=_INT32),
    Function(name="SubIntegers", expression=lambda _, xs: call(WRAPPING_DIFFERENCE, *xs), inputs=_INT32),
    Function(name="MulIntegers", expression=lambda _, xs: call(WRAPPING_PRODUCT, *xs), inputs=_INT32),
    Function(name="Exp", real=_exp),
    Function(name="Log", real=_log),
    Function(name="HardSwish", stored=_hard_swish),
    Function(name="Prelu", expression=_prelu),
    Function(name="Maximum", expression=lambda _, xs: larger(xs[0], xs[1]), inputs=_WITH_INT16),
    Function(name="Minimum", expression=lambda _, xs: smaller(xs[0], xs[1]), inputs=_WITH_INT16),
    Function(name="SquaredDifference", expression=_squared_difference, inputs=_WITH_INT16),
    Function(name="Div", expression=_div, inputs=_NUMBERS),
    Function(name="AddN", expression=_add_n),
    Function(name="Equal", expression=_comparison(equal), inputs=_ANY),
    Function(name="NotEqual", expression=_comparison(unequal), inputs=_ANY),
    Function(name="Less", expression=_comparison(lambda a, b: a < b), inputs=_NUMBERS),
    Function(name="LessEqual", expression=_comparison(lambda a, b: a <= b), inputs=_NUMBERS),
    Function(name="Greater", expression=_comparison(lambda a, b: a > b), inputs=_NUMBERS),
    Function(name="GreaterEqual", expression=_comparison(lambda a, b: a >= b), inputs=_NUMBERS),
    Function(name="LogicalAnd", expression=lambda _, xs: xs[0] & xs[1], inputs=(DType.BOOL,)),
    Function(name="LogicalOr", expression=lambda _, xs: xs[0] | xs[1], inputs=(DType.BOOL,)),
    Function(name="LogicalNot", expression=lambda _, xs: equal(xs[0], 0), inputs=(DType.BOOL,)),
    Function(
        name="Select",
        expression=lambda _, xs: where(unequal(xs[0], 0), xs[1], xs[2]),
        inputs=(*_ANY, DType.INT16),
    ),
    Function(name="Cast", expression=_cast, inputs=(DType.INT8, DType.INT16, DType.INT32, DType.BOOL)),
    Function(name="BroadcastTo", expression=lambda _, xs: xs[0], inputs=(*_ANY, DType.INT16)),
)
_INTEGER_REDUCERS: tuple[Reducer, ...] = (
    Reducer(name="Sum", combine="sum", init=0, term=lambda op, x, _: centered(op.x, x), result=_sum, inputs=_WIDE),
    Reducer(
        name="ReduceMax", combine="max", init=-128, term=lambda _, x, __: x, result=lambda _, most: most, inputs=_WIDE
    ),
    Reducer(
        name="ReduceMin", combine="min", init=127, term=lambda _, x, __: x, result=lambda _, least: least, inputs=_WIDE
    ),
    Reducer(
        name="ReduceAll", combine="min", init=1, term=lambda _, x, __: x, result=lambda _, x: x, inputs=(DType.BOOL,)
    ),
    Reducer(
        name="ReduceAny", combine="max", init=0, term=lambda _, x, __: x, result=lambda _, x: x, inputs=(DType.BOOL,)
    ),
    # The first of the largest values: the value above, how far it is from the end below.
    Reducer(
        name="ArgMax",
        combine="max",
        init=0,
        term=lambda op, x, at: (x + 128) * op.count + ((op.count - 1) - at),
        result=_first_of,
    ),
    Reducer(
        name="ArgMin",
        combine="max",
        init=0,
        term=lambda op, x, at: (127 - x) * op.count + ((op.count - 1) - at),
        result=_first_of,
    ),
)


def _with_float(each: Function) -> Function:
    floating = FLOAT_FUNCTIONS.get(each.name)
    return replace(each, floating=floating, inputs=(*each.inputs, DType.FLOAT32)) if floating else each


_NAMES = {each.name for each in _INTEGERS}
FUNCTIONS: tuple[Function, ...] = (
    *(_with_float(each) for each in _INTEGERS),
    *(
        Function(name=name, floating=formula, inputs=(DType.FLOAT32,))
        for name, formula in FLOAT_FUNCTIONS.items()
        if name not in _NAMES
    ),
)
REDUCERS: tuple[Reducer, ...] = tuple(
    replace(each, inputs=(*each.inputs, DType.FLOAT32)) if each.name in FLOAT_REDUCERS else each
    for each in _INTEGER_REDUCERS
)


def function(name: str) -> Function:
    """Return an elementwise function of TFLite by its name.

    Raises:
        UtvmError: none has it.
    """
    return _named(name, FUNCTIONS)


def reducer(name: str) -> Reducer:
    """Return a reduction of TFLite by its name.

    Raises:
        UtvmError: none has it.
    """
    return _named(name, REDUCERS)


def _named(name: str, every: Sequence[_T]) -> _T:
    for each in every:
        if each.name == name:
            return each
    raise UtvmError(f"there is no {name!r}; there are {', '.join(sorted(each.name for each in every))}")
