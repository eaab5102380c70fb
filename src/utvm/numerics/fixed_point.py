"""Fixed-point requantisation, in numpy, exactly as the device computes it.

Source: TFLite's `common.cc` (MultiplyByQuantizedMultiplier), `quantization_util.cc` (QuantizeMultiplier) and
gemmlowp's `fixedpoint.h`. int32 values are held in int64 arrays, so that intermediate products need no care.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1

Int64Array = NDArray[np.int64]


@lru_cache(maxsize=65536)
def quantize_multiplier(real: float) -> tuple[int, int]:
    """Return (multiplier, shift) with real ≈ multiplier * 2^(shift - 31) and |multiplier| in [2^30, 2^31).

    A shift > 0 is to the left. Zero, and magnitudes below 2^-32, give (0, 0).
    """
    if real == 0.0:
        return 0, 0
    fraction, shift = math.frexp(abs(real))
    multiplier = math.floor(fraction * 2**31 + 0.5)
    if multiplier == 2**31:
        multiplier //= 2
        shift += 1
    if shift < -31:
        return 0, 0
    return (multiplier if real > 0 else -multiplier), shift


def saturating_rounding_doubling_high_mul(a: ArrayLike, b: ArrayLike) -> Int64Array:
    """Return a * b / 2^31 to nearest, halves up; a = b = -2^31 saturates."""
    product = np.asarray(a, np.int64) * np.asarray(b, np.int64)
    high: Int64Array = np.minimum((product + (1 << 30)) >> 31, INT32_MAX)
    return high


def rounding_divide_by_pot(x: ArrayLike, exponent: ArrayLike) -> Int64Array:
    """Return x / 2^exponent to nearest, halves away from zero; 0 <= exponent <= 31."""
    value, shift = np.asarray(x, np.int64), np.asarray(exponent, np.int64)
    mask = (np.int64(1) << shift) - 1
    remainder = value & mask
    threshold = (mask >> 1) + (value < 0)
    return (value >> shift) + (remainder > threshold)


def saturating_shift_left(x: ArrayLike, bits: int) -> Int64Array:
    """Return x * 2^bits limited to int32."""
    limited: Int64Array = np.clip(np.asarray(x, np.int64) << bits, INT32_MIN, INT32_MAX)
    return limited


def wrap_int32(x: ArrayLike) -> Int64Array:
    """Return x modulo 2^32 as a signed 32-bit value."""
    value = np.asarray(x, np.int64)
    return ((value + 2**31) & 0xFFFFFFFF) - 2**31


def multiply_by_quantized_multiplier(x: ArrayLike, multiplier: ArrayLike, shift: ArrayLike) -> Int64Array:
    """Return x * multiplier * 2^(shift - 31) with TFLite's double rounding; arrays broadcast.

    A left shift that leaves int32 wraps, as the compiled C does; sane scales never get there.
    """
    exponent = np.asarray(shift, np.int64)
    left, right = np.maximum(exponent, 0), np.maximum(-exponent, 0)
    shifted = wrap_int32(np.asarray(x, np.int64) << left)
    return rounding_divide_by_pot(saturating_rounding_doubling_high_mul(shifted, multiplier), right)


def scale_doubled(x: ArrayLike, multiplier: ArrayLike, right: ArrayLike) -> Int64Array:
    """Return x / 2 * multiplier * 2^-(31 + right) with TFLite's double rounding, for x that fits int32."""
    product = np.asarray(x, np.int64) * np.asarray(multiplier, np.int64)
    return rounding_divide_by_pot((product + (np.int64(1) << 31)) >> 32, right)


def multiply_single_rounding(x: ArrayLike, multiplier: ArrayLike, shift: ArrayLike) -> Int64Array:
    """Return x * multiplier * 2^(shift - 31) with one rounding, halves up (TFLITE_SINGLE_ROUNDING)."""
    total = 31 - np.asarray(shift, np.int64)
    product = np.asarray(x, np.int64) * np.asarray(multiplier, np.int64)
    return (product + (np.int64(1) << (total - 1))) >> total


def half_up_shift(x: ArrayLike, right_shift: ArrayLike) -> Int64Array:
    """Return (x + 2^(s-1)) >> s, CMSIS-NN's q7 rounding; s = 0 returns x."""
    shift = np.asarray(right_shift, np.int64)
    nudge = (np.int64(1) << shift) >> 1
    return (np.asarray(x, np.int64) + nudge) >> shift
