"""Exact integer Winograd convolution: drawn shapes, extreme weights and inputs, and the proof that guards it."""

from itertools import product

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from tests.kernels.support import WAYS, Case, check, values
from tests.support.cases import drawn
from utvm.cores import get_core
from utvm.device import Session
from utvm.graph import Conv2D, DType, Graph, Padding, Quantization, Rounding, Tensor
from utvm.kernels.dsp.winograd import WinogradConvolution
from utvm.kernels.dsp.winograd.transforms import TRANSFORMS

FAMILY = WinogradConvolution()
M7 = get_core("cortex-m7")


def convolution(
    weights: np.ndarray,
    *,
    size: tuple[int, int],
    before: tuple[int, int] = (1, 1),
    zero_points: tuple[int, int] = (-7, 3),
    bias: int = 1000,
    scale: float = 1e-3,
    rounding: Rounding = Rounding.DOUBLE,
    clamp: tuple[int, int] = (-128, 127),
) -> Graph:
    """A convolution whose output has `size`; `before` is the padding above and to the left, as much is below."""
    out_channels, taps, _, channels = weights.shape
    height, width = (s + taps - 1 - 2 * b for s, b in zip(size, before, strict=True))
    x_quant = Quantization.per_tensor(0.5, zero_points[0])
    y_quant = Quantization.per_tensor(1.0, zero_points[1])
    x = Tensor(name="x", shape=(1, height, width, channels), dtype=DType.INT8, quant=x_quant)
    y = Tensor(name="y", shape=(1, *size, out_channels), dtype=DType.INT8, quant=y_quant)
    w_scale = 2.0 ** round(np.log2(scale)) if rounding is Rounding.HALF_UP_SHIFT else scale
    w_quant = Quantization.per_tensor(w_scale)
    biases = np.random.default_rng(1).integers(-bias - 1, bias + 1, out_channels).astype(np.int32)
    op = Conv2D(
        name="op",
        x=x,
        weights=Tensor(name="w", shape=weights.shape, dtype=DType.INT8, quant=w_quant, data=weights),
        bias=Tensor(name="b", shape=biases.shape, dtype=DType.INT32, data=biases),
        y=y,
        padding=Padding(top=before[0], bottom=before[0], left=before[1], right=before[1]),
        rounding=rounding,
        clamp=clamp,
    )
    return Graph(name="winograd", operators=(op,), inputs=(x,), outputs=(y,))


def drawn_convolution(
    draw: st.DrawFn, generator: np.random.Generator, shape: tuple[int, ...], size: tuple[int, int], most_above: int
) -> Graph:
    """A convolution with weights of a shape [OC, r, r, IC]; no more padding above than given."""
    taps = shape[1]
    most = draw(st.sampled_from([3, 30, 127]))
    rounding, clamp = draw(st.sampled_from(WAYS))
    return convolution(
        generator.integers(-most, most + 1, shape).astype(np.int8),
        size=size,
        before=(draw(st.integers(0, most_above)), draw(st.integers(0, (taps - 1) // 2))),
        zero_points=(draw(st.integers(-128, 127)), draw(st.integers(-128, 127))),
        bias=draw(st.sampled_from([0, 1000, 50000])),
        scale=draw(st.sampled_from([0.3, 1e-2, 1e-3])) / most,
        rounding=rounding,
        clamp=clamp,
    )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    taps, tile = draw(st.sampled_from(sorted(TRANSFORMS)))
    generator = np.random.default_rng(draw(st.integers(0, 10**6)))
    shape = 2 * draw(st.integers(1, 3)), taps, taps, 4 * draw(st.integers(1, 5))
    size = tile * draw(st.integers(1, 4)), tile * draw(st.integers(1, 5))
    graph = drawn_convolution(draw, generator, shape, size, (taps - 1) // 2)
    (op,) = graph.operators
    assume(FAMILY.applies(op, M7) and tile in FAMILY.space(op, M7)["tile"])
    x = values(generator, graph.inputs[0].shape, ends=draw(st.booleans()))
    return Case(graph, FAMILY, {"tile": tile}, [x])


def test_bit_exact_on_drawn_shapes(board: Session) -> None:
    check(board, drawn(cases(), 2))


def test_extreme_weights_and_inputs(board: Session) -> None:
    """All ends together: what the bound allows must be right; what it can't prove must be refused."""
    extreme = []
    for (taps, tile), weight in product(sorted(TRANSFORMS), (-127, 127)):
        amount = weight if taps == 3 else weight // 4
        weights = np.full((2, taps, taps, 32), amount, np.int8)
        graph = convolution(weights, size=(tile * 2, tile * 2), scale=1e-5)
        (op,) = graph.operators
        assert tile in FAMILY.space(op, M7)["tile"]
        inputs = [np.full(op.x.shape, value, np.int8) for value in (-128, 127)]
        extreme += [Case(graph, FAMILY, {"tile": tile}, [x]) for x in inputs]
    check(board, extreme)


def test_what_is_not_proven_is_refused() -> None:
    corner = np.zeros((2, 5, 5, 4), np.int8)
    corner[:, 4, 4] = 127
    small = convolution(corner // 4, size=(4, 4))
    large = convolution(np.full((2, 5, 5, 4), 127, np.int8), size=(4, 4))
    assert FAMILY.applies(small.operators[0], M7)
    assert not FAMILY.applies(large.operators[0], M7), "transformed weights exceed int16"
    deep = convolution(np.full((2, 3, 3, 256), 127, np.int8), size=(4, 4))
    assert 4 not in FAMILY.space(deep.operators[0], M7)["tile"], "the scaled sums exceed int32"
