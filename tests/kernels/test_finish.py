"""The short ways from an accumulator to int8 against the requantisation that they stand for, in numpy."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.kernels.test_dsp import extreme
from utvm.cores import get_core
from utvm.graph import DType, FullyConnected, Quantization, Rounding, Tensor
from utvm.graph.arithmetic import channel_requantization
from utvm.kernels.dsp.finish import Finish, UniformFinish, requantizer, requantizer_refusal, uniform_finish
from utvm.lowering import lower
from utvm.numerics import half_up_shift, multiply_by_quantized_multiplier, multiply_single_rounding


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


def layer(scale: float, rounding: Rounding, zero: int, clamp: tuple[int, int], inputs: int = 8) -> FullyConnected:
    """A layer whose only channel has an effective scale."""
    x = Tensor(name="x", shape=(1, inputs), dtype=DType.INT8, quant=Quantization.per_tensor(1.0, 0))
    y = Tensor(name="y", shape=(1, 1), dtype=DType.INT8, quant=Quantization.per_tensor(1.0, zero))
    quant = Quantization.per_tensor(scale)
    weights = Tensor(name="w", shape=(1, inputs), dtype=DType.INT8, quant=quant, data=np.ones((1, inputs), np.int8))
    bias = Tensor(name="b", shape=(1,), dtype=DType.INT32, data=np.array([1 << 16], np.int32))
    return FullyConnected(name="op", x=x, weights=weights, bias=bias, y=y, rounding=rounding, clamp=clamp)


def executed(lines: tuple[str, ...], values: dict[str, np.ndarray]) -> np.ndarray:
    """What the instructions leave in %a, all values held in int64."""
    registers = dict(values)

    def value(operand: str) -> np.ndarray:
        return np.int64(operand[1:]) if operand.startswith("#") else registers[operand]

    def shifted(operands: list[str]) -> np.ndarray:
        amount = value(operands[1].split()[1]) if len(operands) > 1 else 0
        return value(operands[0]) >> amount

    for line in lines:
        name, _, rest = line.partition(" ")
        target, *operands = rest.split(", ")
        first = operands[0]
        match name:
            case "smmlar" | "smmla":
                half = 1 << 31 if name == "smmlar" else 0
                result = value(operands[2]) + ((value(first) * value(operands[1]) + half) >> 32)
            case "lsl":
                result = value(first) << value(operands[1])
            case "asr":
                result = value(first) >> value(operands[1])
            case "add":
                result = value(first) + shifted(operands[1:])
            case "sub":
                result = value(first) - shifted(operands[1:])
            case "bic":
                result = value(first) & ~shifted(operands[1:])
            case "ssat" | "usat":
                bits = int(first[1:])
                low, high = (-(1 << bits >> 1), (1 << bits >> 1) - 1) if name == "ssat" else (0, (1 << bits) - 1)
                result = np.clip(shifted(operands[1:]), low, high)
        assert (np.abs(result) < 1 << 31).all(), f"{line} overflows"
        registers[target] = result
    return registers["%a"]


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(
    st.one_of(st.floats(-12, 6.9), st.integers(-12, 4)),
    st.sampled_from(list(Rounding)),
    st.integers(-128, 127),
    st.tuples(st.integers(-128, 127), st.integers(-128, 127)),
    st.booleans(),
)
def test_instructions_are_the_requantisation(
    exponent: float, rounding: Rounding, zero: int, clamp: tuple[int, int], relu: bool
) -> None:
    exponent = min(exponent, 4.9) if rounding is Rounding.SINGLE else exponent
    exponent = min(-1, int(exponent)) if rounding is Rounding.HALF_UP_SHIFT else exponent
    low, high = max(zero if relu else min(clamp), -128), max(*clamp, zero if relu else -128)
    op = layer(2.0**exponent, rounding, zero, (low, high))
    found = requantizer(op)
    assert found is not None
    table = channel_requantization(op)
    multiplier, shift = int(table.multiplier[0]), int(table.shift[0])
    sums = np.unique(np.clip(ties(multiplier, -shift, -300, 300), -(1 << 16), 1 << 16))
    exact = {
        Rounding.DOUBLE: lambda: multiply_by_quantized_multiplier(sums, multiplier, shift),
        Rounding.SINGLE: lambda: multiply_single_rounding(sums, multiplier, shift),
        Rounding.HALF_UP_SHIFT: lambda: half_up_shift(sums, 1 - shift),
    }[rounding]()
    start = (sums + found.bias_addend[0]) << found.left[0]
    constants = dict(
        zip(("%first", "%second", "%third"), (found.first[0], found.second[0], found.third[0]), strict=True)
    )
    lines = found.finish.lines("%a", found.saturation, shift=found.shift)
    doubled = start << found.finish.doubles
    got = executed(lines, {"%a": doubled, **constants, "%zero": np.int64(found.zero)})
    np.testing.assert_array_equal(got, np.clip(exact + zero, low, high))
    uniform = uniform_finish(op, found)
    if uniform is not None:
        lines = UniformFinish.lines("%a", found.finish, found.saturation, uniform.shift)
        factors = {"%first": np.int64(uniform.multiplier), "%offset": np.int64(uniform.offset)}
        got = executed(lines, {"%a": 2 * start, **factors})
        np.testing.assert_array_equal(got, np.clip(exact + zero, low, high))


@pytest.mark.parametrize(("scale", "inputs"), [(300.0, 8), (0.9, 1 << 23)])
def test_what_no_finish_serves_is_refused_with_the_reason(scale: float, inputs: int) -> None:
    op = layer(scale, Rounding.DOUBLE, 0, (-128, 127), inputs)
    assert requantizer(op) is None
    assert "a channel's scale is" in str(requantizer_refusal(op))
