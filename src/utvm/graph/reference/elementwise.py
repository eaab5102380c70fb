"""Operators that take each element, or each row, by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.graph.arithmetic import (
    SOFTMAX_SUM_INTEGER_BITS,
    LookupOperator,
    Requantization,
    addition_parameters,
    is_lookup,
    lookup_table,
    multiplication_parameters,
    softmax_exponentials,
)
from utvm.graph.operators import (
    Add,
    Dequantize,
    LeakyRelu,
    Logistic,
    Mul,
    Operator,
    Quantize,
    Relu,
    Relu6,
    Softmax,
    Sub,
)
from utvm.numerics import (
    multiply_by_quantized_multiplier,
    reciprocal,
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
)

Array = NDArray[Any]


def add(op: Add | Sub, a: Array, b: Array) -> Array:
    """a + b (or a - b): both brought to a common scale with 20 extra bits, then to y's."""
    factors = addition_parameters(op)
    scale = 1 << factors.left_shift
    left = _apply((a.astype(np.int64) - op.a.zero_point) * scale, factors.a)
    right = _apply((b.astype(np.int64) - op.b.zero_point) * scale, factors.b)
    total = _apply(left - right if isinstance(op, Sub) else left + right, factors.y)
    return np.clip(total + op.y.zero_point, *op.clamp)


def multiply(op: Mul, a: Array, b: Array) -> Array:
    """a * b, requantised."""
    product = (a.astype(np.int64) - op.a.zero_point) * (b.astype(np.int64) - op.b.zero_point)
    return np.clip(_apply(product, multiplication_parameters(op)) + op.y.zero_point, *op.clamp)


def lookup(op: LookupOperator, x: Array) -> Array:
    """Logistic, Relu, Relu6, LeakyRelu, Quantize from int8: a function of one int8 value."""
    return lookup_table(op)[x.astype(np.int64) + 128]


def quantize(op: Quantize, x: Array) -> Array:
    """x / scale to nearest, halves away from zero, plus the zero point; from int8, a requantisation."""
    if is_lookup(op):
        return lookup(op, x)
    scaled = (x.astype(np.float32) / np.float32(op.y.scale)).astype(np.float64)
    rounded = np.sign(scaled) * np.floor(np.abs(scaled) + 0.5)
    return np.clip(rounded + op.y.zero_point, -128, 127)


def dequantize(op: Dequantize, x: Array) -> Array:
    """scale * (x - zero point) in float32."""
    return np.float32(op.x.scale) * (x.astype(np.int64) - op.x.zero_point).astype(np.float32)


def softmax(op: Softmax, x: Array) -> Array:
    """TFLite's fixed-point softmax over the last dimension."""
    rows = x.reshape(-1, x.shape[-1]).astype(np.int64)
    exponentials = softmax_exponentials(op).astype(np.int64)[rows.max(axis=1, keepdims=True) - rows]
    total = rounding_divide_by_pot(exponentials, SOFTMAX_SUM_INTEGER_BITS).sum(axis=1, keepdims=True)
    scale, bits = reciprocal(total, SOFTMAX_SUM_INTEGER_BITS)
    shares = saturating_rounding_doubling_high_mul(exponentials, scale)
    return np.clip(rounding_divide_by_pot(shares, bits + 23) - 128, -128, 127)


def _apply(value: NDArray[np.int64], factor: Requantization) -> NDArray[np.int64]:
    return multiply_by_quantized_multiplier(value, factor.multiplier, factor.shift)


ELEMENTWISE: Mapping[type[Operator], Callable[..., Array]] = {
    Add: add,
    Sub: add,
    Mul: multiply,
    Relu: lookup,
    Relu6: lookup,
    LeakyRelu: lookup,
    Logistic: lookup,
    Quantize: quantize,
    Dequantize: dequantize,
    Softmax: softmax,
}
