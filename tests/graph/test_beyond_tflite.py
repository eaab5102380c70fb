"""What no .tflite file can say, against scalar loops in exact arithmetic: paddings, clamps, the other roundings."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from tests.support.draw import Array, case_with
from utvm.graph import (
    AveragePool2D,
    AverageRounding,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Graph,
    MaxPool2D,
    Rounding,
    Split,
)
from utvm.graph.arithmetic import channel_requantization
from utvm.graph.reference import evaluate

few = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def scaled(op: Conv2D | DepthwiseConv2D | FullyConnected, total: int, channel: int) -> int:
    """Return an accumulator as int8, by the definition of each rounding."""
    table = channel_requantization(op)
    multiplier, shift = int(table.multiplier[channel]), int(table.shift[channel])
    exact = Fraction(total * multiplier) * Fraction(2) ** (shift - 31)
    if op.rounding is Rounding.DOUBLE:
        high = math.floor(Fraction((total << max(shift, 0)) * multiplier, 2**31) + Fraction(1, 2))
        quotient = Fraction(high, 2 ** max(-shift, 0))
        rounded = math.floor(abs(quotient) + Fraction(1, 2)) * (1 if quotient >= 0 else -1)
    else:  # both round the exact value half up; a shift's multiplier is a power of two
        assert op.rounding is not Rounding.HALF_UP_SHIFT or multiplier == 2**30
        rounded = math.floor(exact + Fraction(1, 2))
    return max(op.clamp[0], min(op.clamp[1], rounded + op.y.zero_point))


def inside(x: Array, n: int, row: int, column: int, channel: int, default: int) -> int:
    return int(x[n, row, column, channel]) if 0 <= row < x.shape[1] and 0 <= column < x.shape[2] else default


def sums(op: Conv2D | DepthwiseConv2D, x: Array, n: int, oy: int, ox: int, oc: int) -> int:
    """Return one accumulator without bias."""
    weights, zero = op.weights.values, op.x.zero_point
    total = 0
    for ky, kx in itertools.product(range(weights.shape[1]), range(weights.shape[2])):
        row = oy * op.stride[0] + ky * op.dilation[0] - op.padding.top
        column = ox * op.stride[1] + kx * op.dilation[1] - op.padding.left
        if isinstance(op, DepthwiseConv2D):
            value = inside(x, n, row, column, oc // op.multiplier, zero)
            total += (value - zero) * int(weights[0, ky, kx, oc])
            continue
        first = oc // (weights.shape[0] // op.groups) * weights.shape[3]
        for ic in range(weights.shape[3]):
            value = inside(x, n, row, column, first + ic, zero)
            total += (value - zero) * int(weights[oc, ky, kx, ic])
    return total


@pytest.mark.parametrize("kind", ["Conv2D", "DepthwiseConv2D"])
def test_convolutions(kind: str) -> None:
    @few
    @given(case_with(kind))
    def check(case: tuple[Graph, list[Array]]) -> None:
        graph, (x,) = case
        op = graph.operators[0]
        assert isinstance(op, Conv2D | DepthwiseConv2D)
        y = evaluate(graph, [x])["y"]
        rng = np.random.default_rng(0)
        for _ in range(12):
            n, oy, ox, oc = (int(rng.integers(size)) for size in y.shape)
            bias = 0 if op.bias is None else int(op.bias.values[oc])
            assert y[n, oy, ox, oc] == scaled(op, sums(op, x, n, oy, ox, oc) + bias, oc)

    check()


@few
@given(case_with("FullyConnected"))
def test_fully_connected(case: tuple[Graph, list[Array]]) -> None:
    graph, (x,) = case
    op = graph.operators[0]
    assert isinstance(op, FullyConnected)
    rows = x.reshape(x.shape[0], -1).astype(int) - op.x.zero_point
    y = evaluate(graph, [x])["y"]
    for n, o in itertools.product(range(y.shape[0]), range(y.shape[1])):
        bias = 0 if op.bias is None else int(op.bias.values[o])
        assert y[n, o] == scaled(op, int(rows[n] @ op.weights.values[o].astype(int)) + bias, o)


@pytest.mark.parametrize("kind", ["MaxPool2D", "AveragePool2D"])
def test_pools(kind: str) -> None:
    @few
    @given(case_with(kind))
    def check(case: tuple[Graph, list[Array]]) -> None:
        graph, (x,) = case
        op = graph.operators[0]
        assert isinstance(op, MaxPool2D | AveragePool2D)
        y = evaluate(graph, [x])["y"]
        for oy, ox in itertools.product(range(y.shape[1]), range(y.shape[2])):
            rows = [oy * op.stride[0] + k - op.padding.top for k in range(op.filter[0])]
            columns = [ox * op.stride[1] + k - op.padding.left for k in range(op.filter[1])]
            window = [x[0, r, c, 0] for r in rows for c in columns if 0 <= r < x.shape[1] and 0 <= c < x.shape[2]]
            if isinstance(op, MaxPool2D):
                want = int(max(window))
            else:
                mean = Fraction(sum(map(int, window)), len(window))
                nearest = math.floor(abs(mean) + Fraction(1, 2))
                magnitude = nearest if op.rounding is AverageRounding.HALF_AWAY else math.floor(abs(mean))
                want = magnitude if mean >= 0 else -magnitude
                if op.rounding is AverageRounding.HALF_UP:
                    want = math.floor(mean + Fraction(1, 2))
            assert y[0, oy, ox, 0] == max(op.clamp[0], min(op.clamp[1], want))

    check()


@few
@given(case_with("Split"))
def test_parts_of_any_size(case: tuple[Graph, list[Array]]) -> None:
    graph, (x,) = case
    op = graph.operators[0]
    assert isinstance(op, Split)
    parts = list(evaluate(graph, [x]).values())
    assert [part.shape for part in parts] == [y.shape for y in op.ys]
    np.testing.assert_array_equal(np.concatenate(parts, axis=op.axis), x)


def test_all_roundings_and_paddings_are_drawn() -> None:
    seen: set[Rounding] = set()
    asymmetric = []

    @settings(max_examples=100, deadline=None, derandomize=True, database=None)
    @given(case_with("Conv2D"))
    def collect(case: tuple[Graph, list[Array]]) -> None:
        op = case[0].operators[0]
        assert isinstance(op, Conv2D)
        seen.add(op.rounding)
        asymmetric.append(op.padding.top > op.padding.bottom)

    collect()
    assert seen == set(Rounding)
    assert any(asymmetric)
