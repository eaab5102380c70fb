"""exp, 1 / (1 + x), the sigmoid and tanh in fixed point, exactly as gemmlowp's `fixedpoint.h` computes them.

Qm.n is a signed 32-bit number with m integer bits and n = 31 - m fractional ones. int32 values are held in
int64 arrays. TFLite's integer Softmax, Logistic and Tanh are built from these.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from utvm.numerics.fixed_point import (
    INT32_MAX,
    Int64Array,
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
    saturating_shift_left,
)

_EXP_MINUS_ONE_EIGHTH = 1895147668
_ONE_THIRD = 715827883
_EXP_MINUS_POWERS = (  # exp(-2^k) in Q0.31, for k = -2 ... 4
    (-2, 1672461947),
    (-1, 1302514674),
    (0, 790015084),
    (1, 290630308),
    (2, 39332535),
    (3, 720401),
    (4, 242),
)
RECIPROCAL_48_OVER_17 = 1515870810
"""48 / 17 in Q2.29, the constant term of the reciprocal's first guess."""
RECIPROCAL_MINUS_32_OVER_17 = -1010580540
"""-32 / 17 in Q2.29, its slope."""
RECIPROCAL_STEPS = 3
"""Newton-Raphson steps of the reciprocal."""


def exp_on_negative_values(x: ArrayLike, integer_bits: int) -> Int64Array:
    """Return exp(x) in Q0.31 for x <= 0 in Q(integer_bits); integer_bits <= 5."""
    value = np.asarray(x, np.int64)
    fraction_bits = 31 - integer_bits
    quarter = 1 << (fraction_bits - 2)
    within = (value & (quarter - 1)) - quarter  # x modulo 1/4, in [-1/4, 0)
    result = _exp_on_last_quarter(within << integer_bits)
    quarters = within - value
    for exponent, factor in _EXP_MINUS_POWERS:
        if exponent < integer_bits:
            chosen = quarters & (1 << (fraction_bits + exponent)) != 0
            result = np.where(chosen, saturating_rounding_doubling_high_mul(result, factor), result)
    return np.where(value == 0, INT32_MAX, result)


def one_over_one_plus_x(x: ArrayLike) -> Int64Array:
    """Return 1 / (1 + x) in Q0.31 for x in [0, 1) in Q0.31."""
    return saturating_shift_left(_two_over_one_plus_x(x), 1)  # Q2.29 holding twice the result, read as Q1.30


def one_minus_x_over_one_plus_x(x: ArrayLike) -> Int64Array:
    """Return (1 - x) / (1 + x) in Q0.31 for x in [0, 1) in Q0.31, which is 2 / (1 + x) - 1."""
    return saturating_shift_left(_two_over_one_plus_x(x) - (1 << 29), 2)


def tanh(x: ArrayLike, integer_bits: int) -> Int64Array:
    """Return the hyperbolic tangent in Q0.31 for x in Q(integer_bits); integer_bits <= 4."""
    value = np.asarray(x, np.int64)
    # With one integer bit more, the same number means twice x.
    positive = one_minus_x_over_one_plus_x(exp_on_negative_values(-np.abs(value), integer_bits + 1))
    return np.where(value == 0, 0, np.where(value < 0, -positive, positive))


def reciprocal(x: ArrayLike, integer_bits: int) -> tuple[Int64Array, Int64Array]:
    """Return (scale, bits) with 1 / x = scale * 2^-bits, scale in Q0.31, for x > 0 in Q(integer_bits)."""
    value = np.asarray(x, np.int64)
    leading_zeros = 32 - np.frexp(value.astype(np.float64))[1].astype(np.int64)
    scale = one_over_one_plus_x((value << leading_zeros) - 2**31)
    return scale, integer_bits - leading_zeros


def logistic(x: ArrayLike, integer_bits: int) -> Int64Array:
    """Return 1 / (1 + exp(-x)) in Q0.31 for x in Q(integer_bits)."""
    value = np.asarray(x, np.int64)
    positive = one_over_one_plus_x(exp_on_negative_values(-np.abs(value), integer_bits))
    result = np.where(value > 0, positive, INT32_MAX - positive)
    return np.where(value == 0, 1 << 30, result)


def _exp_on_last_quarter(x: Int64Array) -> Int64Array:
    """Return exp(x) for x in [-1/4, 0), both in Q0.31: Taylor's series about -1/8."""
    t = x + (1 << 28)
    t2 = saturating_rounding_doubling_high_mul(t, t)
    t3 = saturating_rounding_doubling_high_mul(t2, t)
    t4 = saturating_rounding_doubling_high_mul(t2, t2)
    third = saturating_rounding_doubling_high_mul(rounding_divide_by_pot(t4, 2) + t3, _ONE_THIRD)
    series = t + rounding_divide_by_pot(third + t2, 1)
    return _EXP_MINUS_ONE_EIGHTH + saturating_rounding_doubling_high_mul(_EXP_MINUS_ONE_EIGHTH, series)


def _two_over_one_plus_x(x: ArrayLike) -> Int64Array:
    """Return 2 / (1 + x) in Q2.29 for x in [0, 1) in Q0.31, by Newton-Raphson on half the denominator."""
    half_denominator = (np.asarray(x, np.int64) + INT32_MAX + 1) >> 1
    guess = RECIPROCAL_48_OVER_17 + saturating_rounding_doubling_high_mul(half_denominator, RECIPROCAL_MINUS_32_OVER_17)
    for _ in range(RECIPROCAL_STEPS):
        product = saturating_rounding_doubling_high_mul(half_denominator, guess)
        error = (1 << 29) - product
        guess = guess + saturating_shift_left(saturating_rounding_doubling_high_mul(guess, error), 2)
    return guess
