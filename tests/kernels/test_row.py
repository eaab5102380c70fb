"""Fully connected layers that extend their row themselves: drawn shapes, configs and clamps, bit-exact on boards."""

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from tests.kernels.support import WAYS, Case, check, values
from tests.support.cases import drawn
from utvm.cores import get_core
from utvm.device import Session
from utvm.graph import DType, FullyConnected, Graph, Quantization, Rounding, Tensor
from utvm.kernels.dsp.row import RowFullyConnected

FAMILY = RowFullyConnected()


def layer(
    weights: np.ndarray,
    *,
    batch: int = 1,
    zero_points: tuple[int, int] = (-128, -128),
    scales: tuple[float, ...] = (1e-3,),
    way: tuple[Rounding, tuple[int, int]] = WAYS[0],
) -> Graph:
    """A fully connected layer; with several scales, one for each output channel."""
    outputs, inputs = weights.shape
    rounding, clamp = way
    x = Tensor(name="x", shape=(batch, inputs), dtype=DType.INT8, quant=Quantization.per_tensor(0.5, zero_points[0]))
    y = Tensor(name="y", shape=(batch, outputs), dtype=DType.INT8, quant=Quantization.per_tensor(1.0, zero_points[1]))
    if rounding is Rounding.HALF_UP_SHIFT:
        quant = Quantization.per_tensor(2.0 ** round(np.log2(scales[0])))
    elif len(scales) == 1:
        quant = Quantization.per_tensor(scales[0])
    else:
        quant = Quantization(
            scale=tuple(np.resize(np.array(scales), outputs).tolist()), zero_point=(0,) * outputs, axis=0
        )
    bias = np.random.default_rng(1).integers(-2000, 2000, outputs).astype(np.int32)
    op = FullyConnected(
        name="op",
        x=x,
        weights=Tensor(name="w", shape=weights.shape, dtype=DType.INT8, quant=quant, data=weights),
        bias=Tensor(name="b", shape=bias.shape, dtype=DType.INT32, data=bias),
        y=y,
        rounding=rounding,
        clamp=clamp,
    )
    return Graph(name="row", operators=(op,), inputs=(x,), outputs=(y,))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    generator = np.random.default_rng(draw(st.integers(0, 10**6)))
    most = draw(st.sampled_from([3, 127, 128]))
    shape = draw(st.integers(1, 24)), draw(st.integers(1, 12) | st.integers(13, 192))
    graph = layer(
        generator.integers(-most, min(most, 127) + 1, shape).astype(np.int8),
        batch=draw(st.integers(1, 2)),
        zero_points=(draw(st.integers(-128, 127)), draw(st.sampled_from([-128, 0, 127, 5]))),
        scales=draw(st.sampled_from([(1e-2,), (1e-3,), (2e-3, 7e-4, 1.1e-3)])),
        way=draw(st.sampled_from(WAYS)),
    )
    (op,) = graph.operators
    core = get_core("cortex-m7")
    assume(FAMILY.applies(op, core))
    config = {knob: draw(st.sampled_from(choices)) for knob, choices in FAMILY.space(op, core).items()}
    assume(FAMILY.legal(op, core, config))
    return Case(graph, FAMILY, config, [values(generator, graph.inputs[0].shape, ends=draw(st.booleans()))])


def test_bit_exact_on_drawn_layers(board: Session) -> None:
    check(board, drawn(cases()))


def test_rows_that_do_not_suit_are_refused() -> None:
    core = get_core("cortex-m4")
    short, odd, long = (layer(np.ones((4, inputs), np.int8)).operators[0] for inputs in (768, 30, 772))
    (two,) = layer(np.ones((4, 30), np.int8), batch=2).operators
    assert FAMILY.applies(short, core)
    assert FAMILY.applies(odd, core)
    by_bytes = {"n": 4, "form": "int16", "row": "bytes"}
    assert FAMILY.legal(odd, core, by_bytes)
    assert not FAMILY.legal(two, core, by_bytes), "its second row starts at no word"
    assert not FAMILY.applies(long, core), "it would take too much of the stack"
    assert not FAMILY.legal(short, core, {"n": 8, "form": "int16", "row": "bytes"}), "four are no block of eight"
