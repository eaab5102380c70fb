"""Operators of one tensor that compute: functions of one int8, conversions, softmax."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.graph.arithmetic import (
    L2_OUTPUT_BITS,
    SOFTMAX_SUM_INTEGER_BITS,
    ByteArray,
    LookupOperator,
    integer_range,
    is_lookup,
    lookup_table,
    softmax_exponentials,
)
from utvm.graph.general import L2Normalize
from utvm.graph.operators import Dequantize, Quantize, Softmax
from utvm.numerics import (
    inverse_square_root,
    multiply_by_quantized_multiplier,
    reciprocal,
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
)

Int8Array = NDArray[np.int8]
Float32Array = NDArray[np.float32]
_UINT32_MAX = 2**32 - 1


def lookup(op: LookupOperator, x: ByteArray) -> ByteArray:
    """A function of each element; `lookup_table` defines it."""
    least, _ = integer_range(op.x.dtype)
    result: ByteArray = lookup_table(op)[x.astype(np.int64) - least]
    return result


def quantize(op: Quantize, x: NDArray[Any]) -> ByteArray:
    """float32: x / scale in float32, halves away from zero, plus the zero point, saturated.

    int8, uint8: requantised. tflite-micro leaves quotients beyond int32 and NaN undefined; here quotients saturate.
    """
    if is_lookup(op):
        return lookup(op, x)
    with np.errstate(over="ignore"):
        quotient = (x / np.float32(op.y.scale)).astype(np.float64)
    rounded = np.copysign(np.floor(np.abs(quotient) + 0.5), quotient)
    result: Int8Array = np.clip(rounded + op.y.zero_point, -128, 127).astype(np.int8)
    return result


def dequantize(op: Dequantize, x: ByteArray) -> Float32Array:
    """scale * (x - zero point); the product is exact in double precision and rounded to float32 once."""
    return (op.x.scale * (x.astype(np.int64) - op.x.zero_point)).astype(np.float32)


def l2_normalize(op: L2Normalize, x: NDArray[Any]) -> NDArray[Any]:
    """Each row of the last dimension over the root of its sum of squares, in 1/128."""
    value = x.astype(np.int64) - op.x.zero_point
    squares = (value * value).sum(axis=-1, keepdims=True)
    multiplier, shift = inverse_square_root(squares)
    scaled = multiply_by_quantized_multiplier(value, multiplier, shift + L2_OUTPUT_BITS)
    result: Int8Array = np.clip(scaled, -128, 127).astype(np.int8)
    return result


def softmax(op: Softmax, x: Int8Array) -> Int8Array:
    """exp(x - max) over its sum along the last dimension; y has scale 1/256 and zero point -128."""
    distance = x.max(axis=-1, keepdims=True).astype(np.int64) - x
    exponentials = softmax_exponentials(op)[distance]
    total = rounding_divide_by_pot(exponentials, SOFTMAX_SUM_INTEGER_BITS).sum(axis=-1, keepdims=True)
    # tflite-micro's sum has 32 bits, and wraps from 8192 equal elements on; its shares of a sum of 0 are none.
    total = np.where(total & _UINT32_MAX == 0, _UINT32_MAX, total & _UINT32_MAX)
    scale, bits = reciprocal(total, SOFTMAX_SUM_INTEGER_BITS)
    share = rounding_divide_by_pot(saturating_rounding_doubling_high_mul(scale, exponentials), bits + 23)
    return np.clip(share - 128, -128, 127).astype(np.int8)
