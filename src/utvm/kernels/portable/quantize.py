"""Quantize from float32, to the bit as a float32 division rounds: without one, on every core.

With an FPU: 1 / scale as the sum of two float32 factors, so that x / scale is one product and one fused
multiply-accumulate. Both roundings of these differ from the division's in the rarest of cases; `two_factors` proves for
a scale that none is next to a number at which the result changes.

Without one: the 16 leading bits of the significand times those of 1 / scale give the rounded quotient or one less; a
table of the least float32 that is rounded to each integer says which.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_MOST_STEPS = 256
"""Quotients beyond, rounded, saturate with any zero point."""
_NEIGHBOURS = 4
"""Float32 numbers on each side of a product of scale and half that are tried for a limit: it is one of them."""
_SENSIBLE = (2.0**-60, 2.0**60)
"""Scales for which neither factors nor limits come near the ends of float32."""


@lru_cache(maxsize=256)
def rounding_limits(scale: float) -> NDArray[np.float32] | None:
    """Return, for n from 1 to 256, the least float32 x whose float32 quotient by `scale` is at least n - 1/2.

    None where limits or factors would come near the ends of float32.
    """
    if not _SENSIBLE[0] <= scale <= _SENSIBLE[1]:
        return None
    halves = (np.arange(1, _MOST_STEPS + 1) - 0.5).astype(np.float32)
    divisor = np.float32(scale)
    limits = (halves.astype(np.float64) * float(divisor)).astype(np.float32)
    for _ in range(_NEIGHBOURS):
        below = np.nextafter(limits, np.float32(0))
        limits = np.where(below / divisor >= halves, below, limits)
    for _ in range(_NEIGHBOURS):
        limits = np.where(limits / divisor < halves, np.nextafter(limits, np.float32(np.inf)), limits)
    return limits


def short_reciprocal(scale: float) -> tuple[int, int]:
    """Return K with 16 bits and an exponent, so that 1 / scale is K * 2^(141 - exponent), rounded down."""
    exact = 1 / Fraction(scale)
    k = 15 - (exact.numerator.bit_length() - exact.denominator.bit_length())
    while exact * Fraction(2) ** k >= 1 << 16:
        k -= 1
    while exact * Fraction(2) ** k < 1 << 15:
        k += 1
    return int(exact * Fraction(2) ** k), 141 + k


@lru_cache(maxsize=256)
def two_factors(scale: float) -> tuple[float, float] | None:
    """Return float32 factors h and l so that float32(x * h + float32(x * l)) serves as x / scale, or None.

    Neither is negative: an infinite x stays infinite, and the result never falls as x grows. So it is right for all x
    if it is for the limits and for the numbers just below them.
    """
    limits = rounding_limits(scale)
    if limits is None:
        return None
    exact = 1 / Fraction(scale)
    high = np.float32(1 / scale)
    if Fraction(float(high)) > exact:
        high = np.nextafter(high, np.float32(0))
    if Fraction(float(high)) == exact:
        return float(high) / 2, float(high) / 2
    factors = float(high), float(np.float32(float(exact - Fraction(float(high)))))
    for step, limit in enumerate(limits, start=1):
        half, below = Fraction(2 * step - 1, 2), np.nextafter(limit, np.float32(0))
        if _fused(float(limit), *factors) < half or _fused(float(below), *factors) >= half:
            return None
    return factors


def _fused(x: float, high: float, low: float) -> Fraction:
    """Return float32(x * high + float32(x * low))."""
    rest = np.float32(x * low)
    return _to_float32(Fraction(x) * Fraction(high) + Fraction(float(rest)))


def _to_float32(value: Fraction) -> Fraction:
    """Return a positive number rounded to 24 bits, ties to even."""
    exponent = value.numerator.bit_length() - value.denominator.bit_length() - 24
    scaled = value / Fraction(2) ** exponent
    while scaled >= 1 << 24:
        scaled, exponent = scaled / 2, exponent + 1
    return round(scaled) * Fraction(2) ** exponent
