"""Fixed-point exp, reciprocal and sigmoid: close to the real functions, exact at the points that matter."""

import math

import numpy as np
import pytest

from utvm.numerics import INT32_MAX, exp_on_negative_values, logistic, one_over_one_plus_x, reciprocal


@pytest.mark.parametrize("integer_bits", [4, 5])
def test_exp(integer_bits: int) -> None:
    x = -np.arange(0, 2**31, 99_991, dtype=np.int64)
    result = exp_on_negative_values(x, integer_bits) / 2**31
    np.testing.assert_allclose(result, np.exp(x / 2.0 ** (31 - integer_bits)), atol=3e-7)


def test_exp_of_zero_is_the_largest_number() -> None:
    assert exp_on_negative_values(0, 5) == INT32_MAX


def test_one_over_one_plus_x() -> None:
    x = np.arange(0, 2**31, 99_991, dtype=np.int64)
    np.testing.assert_allclose(one_over_one_plus_x(x) / 2**31, 1 / (1 + x / 2**31), atol=1e-8)


def test_reciprocal() -> None:
    x = np.array([1, 3, 2**19, 2**19 + 1, 123_456_789, 2**31 - 1])
    scale, bits = reciprocal(x, 12)
    np.testing.assert_allclose(scale / 2.0 ** (31 + bits), 2**19 / x, rtol=1e-8)


def test_logistic() -> None:
    x = np.arange(-(2**31) + 1, 2**31, 199_999, dtype=np.int64)
    result = logistic(x, 4) / 2**31
    np.testing.assert_allclose(result, [1 / (1 + math.exp(-v / 2**27)) for v in x], atol=3e-7)
    assert logistic(0, 4) == 2**30
