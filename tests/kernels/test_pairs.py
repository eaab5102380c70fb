"""Products of int16 pairs: any window, stride, padding, dilation, grouping and config, equal to the reference."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

import utvm
from tests.kernels.support import Case, check
from utvm.graph import Conv2D, DepthwiseConv2D, DType, FullyConnected, Graph, Padding, Quantization, Tensor
from utvm.kernels.dsp.pairs import PairsOfInt16

RNG = np.random.default_rng(4)
FAMILY = PairsOfInt16()


def graph_of(kind: str, stride: int, dilation: int, pad: int, groups: int) -> Graph:
    depths = [4, 8] if groups > 1 else [1, 3, 4, 8]
    depth, channels, size, taps = int(RNG.choice(depths)), 8, 7, int(RNG.integers(1, 4))
    shapes = {
        "conv": ((1, size, size, depth * groups), (channels, taps, taps, depth)),
        "depthwise": ((1, size, size, channels), (1, taps, taps, channels)),
        "connected": ((3, 40 + pad), (channels, 40 + pad)),
    }
    shape, weights = shapes[kind]
    out = (size + 2 * pad - (taps - 1) * dilation - 1) // stride + 1
    x = Tensor(name="x", shape=shape, dtype=DType.INT16, quant=Quantization.per_tensor(0.001))
    data = RNG.integers(-127, 128, weights).astype(np.int8)
    axis = 3 if kind == "depthwise" else 0
    scales = tuple(float(s) for s in RNG.uniform(0.005, 0.01, channels).astype(np.float32))
    w = Tensor(
        name="w",
        shape=weights,
        dtype=DType.INT8,
        quant=Quantization(scale=scales, zero_point=(0,) * channels, axis=axis),
        data=data,
    )
    values = RNG.integers(-(2**24), 2**24, channels).astype(np.int64)
    bias = Tensor(name="b", shape=(channels,), dtype=DType.INT64, data=values)
    y_shape = (3, channels) if kind == "connected" else (1, out, out, channels)
    y = Tensor(name="y", shape=y_shape, dtype=DType.INT16, quant=Quantization.per_tensor(0.05))
    clamp = ((-32768, 32767), (0, 32767), (0, 120))[int(RNG.integers(3))]
    common = {"name": "op", "x": x, "weights": w, "bias": bias, "y": y, "clamp": clamp}
    window = {
        "stride": (stride, stride),
        "dilation": (dilation, dilation),
        "padding": Padding(top=pad, bottom=pad, left=pad, right=pad),
    }
    op = {
        "conv": lambda: Conv2D(**common, **window),
        "depthwise": lambda: DepthwiseConv2D(**common, **window),
        "connected": lambda: FullyConnected(**common),
    }[kind]()
    return Graph(name="g", operators=(op,), inputs=(x,), outputs=(y,))


@pytest.mark.parametrize("board", ["qemu-cortex-m7", "qemu-cortex-m4"])
def test_pairs(board: str) -> None:
    cases = []
    with utvm.connect(board) as session:
        core = session.board.core
        for kind, stride, dilation, pad, groups in [
            *(("conv", *rest) for rest in product((1, 2), (1, 2), (0, 2), (1, 2))),
            *(("depthwise", *rest, 1) for rest in product((1, 2), (1, 2), (0, 2))),
            *(("connected", 1, 1, odd, 1) for odd in (0, 1)),
        ]:
            graph = graph_of(kind, stride, dilation, pad, groups)
            (op,) = graph.operators
            assert FAMILY.applies(op, core), FAMILY.refusal(op, core)
            space = FAMILY.space(op, core)
            every = [dict(zip(space, values, strict=True)) for values in product(*space.values())]
            legal = [config for config in every if FAMILY.legal(op, core, config)]
            config = legal[int(RNG.integers(len(legal)))]
            x = RNG.integers(-32768, 32768, graph.inputs[0].shape).astype(np.int16)
            cases.append(Case(graph, FAMILY, config, [x]))
        check(session, cases)
