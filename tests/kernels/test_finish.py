"""The short ways from an accumulator to int8 against the requantisation that they stand for, in numpy."""

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.kernels.test_dsp import extreme
from utvm.cores import get_core
from utvm.graph import FullyConnected
from utvm.kernels.dsp.stream import Finish, UniformFinish, requantizer, uniform_finish
from utvm.lowering import lower
from utvm.numerics import multiply_by_quantized_multiplier


def high_rounded(a: np.ndarray, b: int, addend: np.ndarray | int) -> np.ndarray:
    """SMMLAR."""
    return addend + ((a * b + (1 << 31)) >> 32)


def ties(multiplier: int, right: int, low: int, high: int) -> np.ndarray:
    """Accumulators next to each result's threshold, and around zero."""
    halves = (np.arange(low, high + 1) + 0.5) * 2.0 ** (31 + right) / multiplier
    near = np.round(halves).astype(np.int64)[:, None] + np.arange(-3, 4)
    return np.concatenate([near.reshape(-1), np.arange(-5, 6)])


MULTIPLIERS = st.one_of(st.integers(1 << 30, (1 << 31) - 1), st.sampled_from([1 << 30, (1 << 30) + 1, 3 << 29]))


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(MULTIPLIERS, st.integers(2, 12), st.integers(-128, 127))
def test_negative_ties_do_not_matter_below_the_clamp(multiplier: int, right: int, zero: int) -> None:
    sums = ties(multiplier, right, -300, 300)
    exact = np.clip(multiply_by_quantized_multiplier(sums, multiplier, -right) + zero, max(zero, -128), 127)
    first = high_rounded(sums, 2 * multiplier - (1 << 32), sums)
    short = high_rounded(first, 1 << (32 - right), zero)
    np.testing.assert_array_equal(np.clip(short, max(zero, -128), 127), exact)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(MULTIPLIERS, st.integers(2, 12), st.integers(-128, 127), st.booleans())
def test_one_product_and_a_shift_are_both_roundings(multiplier: int, right: int, zero: int, positive: bool) -> None:
    assume(multiplier > 1 << 30)
    sums = ties(multiplier, right, -300, 300)
    low = max(zero, -128) if positive else -128
    exact = np.clip(multiply_by_quantized_multiplier(sums, multiplier, -right) + zero, low, 127)
    offset = (1 << (right - 1)) + (zero << right) + (0 if positive else sums >> 31)
    short = high_rounded(2 * sums, multiplier, offset) >> right
    np.testing.assert_array_equal(np.clip(short, low, 127), exact)


def test_one_finish_serves_a_layer_that_is_quantised_per_tensor() -> None:
    (op,) = extreme("FullyConnected", 32, 100).operators
    assert isinstance(op, FullyConnected)
    found = requantizer(op)
    assert found is not None
    assert found.finish is Finish.DOUBLE
    assert isinstance(uniform_finish(op, found), UniformFinish)
    program = lower(extreme("FullyConnected", 32, 100), get_core("cortex-m4"))
    code = [line for part in program.calls[0].kernel.function.support for line in part.assembly]
    assert any(line.startswith("ssat") and "asr #" in line for line in code)
    assert sum(line.startswith("smmlar") for line in code) == sum(line.startswith("strb") for line in code)
