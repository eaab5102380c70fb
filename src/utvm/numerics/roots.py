"""Quotients and inverse square roots in fixed point, as TFLite's reference computes them.

Source: tensorflow/lite/kernels/internal/common.h (GetReciprocal, GetInvSqrtQuantizedMultiplierExp) over gemmlowp.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from utvm.numerics.fixed_point import (
    INT32_MAX,
    Int64Array,
    multiply_by_quantized_multiplier,
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
    saturating_shift_left,
)
from utvm.numerics.transcendental import one_over_one_plus_x

_HALF_THREE = (1 << 28) + (1 << 27)
"""1.5 in Q3.28."""
_ROOT_BITS = 20
_HALF_ROOT_OF_TWO = 1518500250
"""sqrt(2) / 2 in Q0.31."""


def quotient(a: ArrayLike, b: ArrayLike, multiplier: ArrayLike, shift: ArrayLike) -> Int64Array:
    """Return a / b * multiplier * 2^(shift - 31), |a| and |b| below 2^16; 0 where b is 0.

    TFLite shifts small quotients right by more than 31 bits, which C++ leaves undefined. This is what its interpreter
    computes on x86: the shift modulo 32, and one more where the value is not negative.
    """
    left, right = np.broadcast_arrays(np.asarray(a, np.int64), np.asarray(b, np.int64))
    top = np.where(right < 0, -left, left)
    bottom = np.maximum(np.abs(right), 1)
    zeros = _leading_zeros(bottom)
    inverse = one_over_one_plus_x((bottom << zeros) - 2**31)
    headroom = _leading_zeros(np.where(top < 0, ~top, top)) - 1
    unscaled = saturating_rounding_doubling_high_mul(top << headroom, inverse)
    total = np.asarray(shift, np.int64) - (31 - zeros) - headroom
    factor = np.asarray(multiplier, np.int64)
    high = saturating_rounding_doubling_high_mul(unscaled, factor)
    result = np.where(
        total > 0,
        multiply_by_quantized_multiplier(unscaled, factor, np.maximum(total, 0)),
        np.where(
            total < -31,
            (high >> (-total & 31)) + (high >= 0),
            rounding_divide_by_pot(high, np.clip(-total, 0, 31)),
        ),
    )
    return np.where(right == 0, 0, result)


def inverse_square_root(x: ArrayLike) -> tuple[Int64Array, Int64Array]:
    """Return (multiplier, shift) with 1 / sqrt(x) close to multiplier * 2^(shift - 31), for int32 x > 0."""
    value = np.asarray(x, np.int64)
    shift = np.full(value.shape, 11, np.int64)
    scaled = np.maximum(value, 2)
    while (scaled >= 1 << 29).any():
        large = scaled >= 1 << 29
        scaled, shift = np.where(large, scaled // 4, scaled), shift + large
    pairs = (_leading_zeros(scaled) - 1) // 2 - 1
    shift, scaled = shift - pairs, scaled << (2 * pairs)
    half = rounding_divide_by_pot(scaled >> 1, 1)
    root = np.full(value.shape, 1 << 28, np.int64)
    for _ in range(5):
        cube = _product(_product(root, root), root)
        cube = saturating_shift_left(cube, 6)
        step = _product(np.asarray(_HALF_THREE), root) - _product(half, cube)
        root = saturating_shift_left(step, 3)
    found = _product(root, np.asarray(_HALF_ROOT_OF_TWO))
    found = np.where(shift < 0, found << np.maximum(-shift, 0), found)
    shift = np.maximum(shift, 0)
    one = value <= 1
    # The reference counts this shift to the right; multipliers here count to the left.
    return np.where(one, INT32_MAX, found), np.where(one, 0, -shift)


def scaled_inverse_root(x: ArrayLike, multiplier: int, shift: int) -> Int64Array:
    """Return 1 / sqrt(x) * multiplier * 2^(shift - 31) for int32 x > 0, by way of 20 bits behind the point."""
    factor, exponent = inverse_square_root(np.maximum(np.asarray(x, np.int64), 1))
    root = multiply_by_quantized_multiplier(1, factor, exponent + _ROOT_BITS)
    return multiply_by_quantized_multiplier(root, multiplier, shift - _ROOT_BITS)


def _product(a: NDArray[Any], b: NDArray[Any]) -> Int64Array:
    return saturating_rounding_doubling_high_mul(a, b)


def _leading_zeros(x: NDArray[Any]) -> Int64Array:
    """Return the leading zeros of 32-bit x >= 0; 32 of zero."""
    return 32 - np.frexp(x.astype(np.float64))[1].astype(np.int64)
