"""Fixed-point numerics against exact rational arithmetic."""

import math
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from utvm.numerics import (
    half_up_shift,
    multiply_by_quantized_multiplier,
    multiply_single_rounding,
    quantize_multiplier,
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
    saturating_shift_left,
    wrap_int32,
)

INT32 = st.one_of(
    st.sampled_from([-(2**31), 2**31 - 1, -(2**31) + 1, -1, 0, 1, 2**30, -(2**30)]),
    st.integers(-(2**31), 2**31 - 1),
)
MULTIPLIERS = st.integers(2**30, 2**31 - 1)


def half_up(x: Fraction) -> int:
    return math.floor(x + Fraction(1, 2))


def half_away(x: Fraction) -> int:
    return half_up(x) if x >= 0 else -half_up(-x)


@given(st.floats(2.0**-30, 2.0**30))
def test_quantized_multiplier_is_as_close_as_31_bits_allow(real: float) -> None:
    multiplier, shift = quantize_multiplier(real)
    assert 2**30 <= multiplier < 2**31
    assert abs(Fraction(multiplier) * Fraction(2) ** (shift - 31) / Fraction(real) - 1) <= Fraction(1, 2**31)
    assert quantize_multiplier(-real) == (-multiplier, shift)


def test_quantized_multiplier_at_its_ends() -> None:
    assert quantize_multiplier(0.0) == (0, 0)
    assert quantize_multiplier(2.0**-33) == (0, 0)
    assert quantize_multiplier(2.0**-32) == (2**30, -31)
    assert quantize_multiplier(1.0) == (2**30, 1)
    assert quantize_multiplier(1.0 - 2.0**-40) == (2**30, 1)  # rounds up to 2^31, which is renormalised


@given(INT32, INT32)
def test_high_mul(a: int, b: int) -> None:
    exact = min(half_up(Fraction(a * b, 2**31)), 2**31 - 1)
    assert saturating_rounding_doubling_high_mul(a, b) == exact


@given(INT32, st.integers(0, 31))
def test_divide_by_power_of_two(x: int, exponent: int) -> None:
    assert rounding_divide_by_pot(x, exponent) == half_away(Fraction(x, 2**exponent))


@given(INT32, st.integers(0, 31))
def test_half_up_shift(x: int, shift: int) -> None:
    assert half_up_shift(x, shift) == half_up(Fraction(x, 2**shift))


@given(st.integers(-(2**62), 2**62))
def test_wrap(x: int) -> None:
    wrapped = int(wrap_int32(x))
    assert -(2**31) <= wrapped < 2**31
    assert (wrapped - x) % 2**32 == 0


@given(INT32, st.integers(0, 5))
def test_shift_left_saturates(x: int, bits: int) -> None:
    assert saturating_shift_left(x, bits) == max(-(2**31), min(2**31 - 1, x << bits))


@given(st.integers(-(2**22), 2**22), MULTIPLIERS, st.integers(-31, 8))
def test_double_rounding_rounds_twice(x: int, multiplier: int, shift: int) -> None:
    product = half_up(Fraction((x << max(shift, 0)) * multiplier, 2**31))
    expected = half_away(Fraction(product, 2 ** max(-shift, 0)))
    assert multiply_by_quantized_multiplier(x, multiplier, shift) == expected


@given(st.integers(-(2**22), 2**22), MULTIPLIERS, st.integers(-31, 8))
def test_single_rounding_rounds_once(x: int, multiplier: int, shift: int) -> None:
    exact = Fraction(x * multiplier) * Fraction(2) ** (shift - 31)
    assert multiply_single_rounding(x, multiplier, shift) == half_up(exact)


def test_the_roundings_differ_where_they_should() -> None:
    # -1.5 exactly: double rounding goes away from zero, single rounding and the shift go up.
    assert multiply_by_quantized_multiplier(-6, 2**30, -1) == -2
    assert multiply_single_rounding(-6, 2**30, -1) == -1
    assert half_up_shift(-3, 1) == -1


def test_arrays_broadcast() -> None:
    x = np.array([[100, -100], [7, -7]])
    result = multiply_by_quantized_multiplier(x, np.array([2**30, 2**30]), np.array([1, 0]))
    np.testing.assert_array_equal(result, [[100, -50], [7, -3]])
