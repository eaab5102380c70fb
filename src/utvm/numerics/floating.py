"""Functions of float32, step by step as the C helpers compute them: the same bits on every machine.

Each step is one IEEE operation, so that no library and no contraction can make a difference. What is no number (NaN)
may have another sign and payload. Polynomials and constants are those of Cephes (Moshier, single precision: expf,
tanhf, logf, sinf, cosf). Errors stay below 3 units in the last place; those of the sine hold for |x| < 2^20.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float32]

LOG2_E = 1.44269504088896341
LN2_HIGH, LN2_LOW = 0.693359375, -2.12194440e-4
EXP_MOST, EXP_LEAST = 88.7228317, -103.972076
"""Above the one exp is infinite, below the other it is 0."""
EXP_TERMS = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
TANH_TERMS = (-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1)
TANH_BY_TERMS = 0.625
"""Below it tanh is a polynomial, above a quotient of exponentials."""
LOG_TERMS = (
    *(7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1),
    *(-1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1),
)
SQRT_HALF = 0.707106781186547524
SIN_TERMS = (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)
COS_TERMS = (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)
TWO_OVER_PI = 0.63661977236758134308
HALF_PI_HIGH, HALF_PI_LOW = 1.5707963267341256, 6.07710050650619224932e-11
"""Pi / 2 in two doubles, of which the first has 33 bits: its products with whole numbers are exact."""
LARGEST_ANGLE = 1048576.0

_F = np.float32


def float_exp(x: ArrayLike) -> FloatArray:
    """Return e to the power of x: 2^k times a polynomial of what is left."""
    value = np.asarray(x, np.float32)
    with np.errstate(all="ignore"):
        inside = np.clip(np.nan_to_num(value, nan=0.0), _F(EXP_LEAST), _F(EXP_MOST))
        scaled = inside * _F(LOG2_E)
        power = (scaled + np.where(scaled < 0, _F(-0.5), _F(0.5))).astype(np.int32)
        whole = power.astype(np.float32)
        rest = (inside - whole * _F(LN2_HIGH)) - whole * _F(LN2_LOW)
        result = _polynomial(rest, EXP_TERMS) * (rest * rest) + rest + _F(1)
        half = power >> 1
        result = (result * _power_of_two(half)) * _power_of_two(power - half)
        result = np.where(value > _F(EXP_MOST), _F(np.inf), np.where(value < _F(EXP_LEAST), _F(0), result))
        return np.where(np.isnan(value), value, result).astype(np.float32)


def float_tanh(x: ArrayLike) -> FloatArray:
    """Return the hyperbolic tangent."""
    value = np.asarray(x, np.float32)
    with np.errstate(all="ignore"):
        size = np.abs(value)
        far = _F(1) - _F(2) / (float_exp(size + size) + _F(1))
        square = value * value
        near = _polynomial(square, TANH_TERMS) * square * value + value
        result = np.where(size < _F(TANH_BY_TERMS), near, np.where(value < 0, -far, far))
        return np.where(np.isnan(value), value, result).astype(np.float32)


def float_logistic(x: ArrayLike) -> FloatArray:
    """Return 1 / (1 + exp(-x)), of an exponential that does not overflow."""
    value = np.asarray(x, np.float32)
    with np.errstate(all="ignore"):
        share = float_exp(np.where(value < 0, value, -value))
        result: FloatArray = (np.where(value < 0, share, _F(1)) / (_F(1) + share)).astype(np.float32)
        return result


def float_log(x: ArrayLike) -> FloatArray:
    """Return the natural logarithm; no number below 0, minus infinity at 0."""
    value = np.asarray(x, np.float32)
    with np.errstate(all="ignore"):
        tiny = value < _F(1.17549435e-38)
        scaled = np.where(tiny, value * _F(8388608.0), value).astype(np.float32)
        bits = scaled.view(np.uint32).astype(np.int64)
        power = (bits >> 23) - 126 - np.where(tiny, 23, 0)
        part = ((bits & 0x7FFFFF) | 0x3F000000).astype(np.uint32).view(np.float32)
        low = part < _F(SQRT_HALF)
        whole = np.where(low, power - 1, power).astype(np.float32)
        part = np.where(low, part + part, part) - _F(1)
        square = part * part
        result = _polynomial(part, LOG_TERMS) * part * square
        result = result + whole * _F(LN2_LOW)
        result = result - _F(0.5) * square
        result = (part + result) + whole * _F(LN2_HIGH)
        result = np.where(value == _F(np.inf), value, np.where(value > 0, result, _F(np.nan)))
        return np.where(value == 0, _F(-np.inf), result).astype(np.float32)


def float_sin(x: ArrayLike) -> FloatArray:
    """Return the sine; the nearest multiple of pi / 2 is taken off in double precision."""
    return _sine(x, 0)


def float_cos(x: ArrayLike) -> FloatArray:
    """Return the cosine; see `float_sin`."""
    return _sine(x, 1)


def float_floor(x: ArrayLike) -> FloatArray:
    """Return the largest whole number that is not larger."""
    value = np.asarray(x, np.float32)
    return np.where(np.abs(value) < _F(8388608.0), np.floor(value) + _F(0), value).astype(np.float32)


def float_remainder(a: ArrayLike, b: ArrayLike) -> FloatArray:
    """Return what is left of a by whole multiples of b, with the sign of a."""
    value = np.asarray(a, np.float32)
    with np.errstate(invalid="ignore"):
        rest = np.fmod(value, np.asarray(b, np.float32))
    return np.where((value == 0) & (rest == 0), _F(0), rest).astype(np.float32)


def float_sqrt(x: ArrayLike) -> FloatArray:
    """Return the square root, correctly rounded; no number below 0."""
    with np.errstate(invalid="ignore"):
        root: FloatArray = np.sqrt(np.asarray(x, np.float32))
        return root


def _sine(x: ArrayLike, quarters: int) -> FloatArray:
    value = np.asarray(x, np.float32)
    with np.errstate(all="ignore"):
        inside = np.where(np.abs(value) < _F(LARGEST_ANGLE), value, _F(0)).astype(np.float64)
        scaled = inside * TWO_OVER_PI
        turns = (scaled + np.where(scaled < 0, -0.5, 0.5)).astype(np.int32)
        whole = turns.astype(np.float64)
        rest = ((inside - whole * HALF_PI_HIGH) - whole * HALF_PI_LOW).astype(np.float32)
        square = rest * rest
        sine = _polynomial(square, SIN_TERMS) * square * rest + rest
        cosine = _polynomial(square, COS_TERMS) * square * square - _F(0.5) * square + _F(1)
        place = (turns + quarters) & 3
        result = np.where(place & 1, cosine, sine)
        result = np.where(place & 2, -result, result)
        return np.where(np.abs(value) < _F(LARGEST_ANGLE), result, _F(np.nan)).astype(np.float32)


def _polynomial(x: NDArray[Any], terms: Sequence[float]) -> NDArray[Any]:
    result = np.full_like(x, _F(terms[0]))
    for term in terms[1:]:
        result = result * x + _F(term)
    return result


def _power_of_two(exponent: NDArray[np.int32]) -> FloatArray:
    bits: FloatArray = ((exponent.astype(np.int64) + 127) << 23).astype(np.uint32).view(np.float32)
    return bits
