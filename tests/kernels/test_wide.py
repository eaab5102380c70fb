"""Products of int16 pairs: any window, stride, padding, dilation, grouping, scale, clamp, bias and config, exact."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import suppress
from itertools import product
from typing import Any

import numpy as np
import pytest

import utvm
from tests.kernels.support import Case, check
from tests.support.host import run_sanitized
from tests.support.target import run_programs
from utvm.cores import get_core
from utvm.cores.microkernel import ScheduleError
from utvm.graph import Conv2D, DepthwiseConv2D, DType, FullyConnected, Graph, Padding, Quantization, Tensor
from utvm.graph.reference import evaluate
from utvm.kernels import KernelFamily
from utvm.kernels.dsp.wide_depthwise import WideChannelDepthwise, WidePlaneDepthwise
from utvm.kernels.dsp.wide_direct import WideConvolution
from utvm.lowering import lower

RNG = np.random.default_rng(4)
FAMILIES = WideConvolution(), WidePlaneDepthwise(), WideChannelDepthwise()
_CLAMPS = ((-32768, 32767), (-128, 127), (0, 32767), (0, 120), (-32767, 32767), (-300, 32767), (-21000, -5))
_BIASES = ("none", "int64", "int64", "any int64", "ends of int64", "int32")
_SCALES = ((-9, -7), (-9, -7), (-3, 2), (-44, 6), (-9, -7))
"""Powers of two between which channels' scales are drawn."""


def bias_of(kind: str, channels: int) -> Tensor | None:
    """A bias that leaves sums in 32 bits, or any, or what overflows 64."""
    if kind == "none":
        return None
    ends = np.array([-(2**63), 2**63 - 1, 2**47, -(2**47)], np.int64)
    data: np.ndarray[Any, Any] = {
        "int64": lambda: RNG.integers(-(2**24), 2**24, channels),
        "any int64": lambda: RNG.integers(-(2**44), 2**44, channels),
        "ends of int64": lambda: RNG.choice(ends, channels),
        "int32": lambda: RNG.integers(-(2**31), 2**31, channels).astype(np.int32),
    }[kind]()
    return Tensor(name="b", shape=(channels,), dtype=DType(data.dtype.name), data=data)


def graph_of(kind: str, stride: int, dilation: int, pad: int, groups: int) -> Graph:
    """A layer of any size, weights of one size or of all, and everything else drawn."""
    depth = int(RNG.choice([4, 8] if groups > 1 else [1, 2, 3, 4, 5, 8]))
    channels, size, taps = int(RNG.integers(1, 5)) * groups, 7, int(RNG.integers(1, 4))
    multiplier = int(RNG.choice([1, 1, 2])) if kind == "depthwise" else 1
    channels *= 2 if multiplier > 1 else int(RNG.choice([1, 2]))
    inputs = int(RNG.choice([40, 41, 1400]))
    shapes = {
        "conv": ((1, size, size, depth * groups), (channels, taps, taps, depth)),
        "depthwise": ((1, size, size, channels // multiplier), (1, taps, taps, channels)),
        "connected": ((3, inputs), (channels, inputs)),
    }
    shape, weights = shapes[kind]
    out = (size + 2 * pad - (taps - 1) * dilation - 1) // stride + 1
    x = Tensor(name="x", shape=shape, dtype=DType.INT16, quant=Quantization.per_tensor(0.001))
    data = RNG.integers(-128, 128, weights).astype(np.int8)
    if RNG.integers(0, 4) == 0:
        data[...] = RNG.choice([-128, 127])
    low, high = _SCALES[int(RNG.integers(len(_SCALES)))]
    scales = tuple(float(np.float32(2.0**power * 50)) for power in RNG.uniform(low, high, channels))
    axis = 3 if kind == "depthwise" else 0
    quant = Quantization(scale=scales, zero_point=(0,) * channels, axis=axis)
    bias = bias_of(_BIASES[int(RNG.integers(len(_BIASES)))], channels)
    y_shape = (3, channels) if kind == "connected" else (1, out, out, channels)
    common = {
        "name": "op",
        "x": x,
        "weights": Tensor(name="w", shape=weights, dtype=DType.INT8, quant=quant, data=data),
        "bias": bias,
        "y": Tensor(name="y", shape=y_shape, dtype=DType.INT16, quant=Quantization.per_tensor(0.05)),
        "clamp": _CLAMPS[int(RNG.integers(len(_CLAMPS)))],
    }
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
    return Graph(name="g", operators=(op,), inputs=(x,), outputs=(op.y,))


def in_some_config(graph: Graph, family: KernelFamily, core: utvm.cores.Core) -> Case:
    """A case of a drawn config, on inputs of the whole range or of its ends."""
    (op,) = graph.operators
    space = family.space(op, core)
    every = [dict(zip(space, values, strict=True)) for values in product(*space.values())]
    legal = [config for config in every if family.legal(op, core, config)]
    shape = graph.inputs[0].shape
    ends = RNG.choice(np.array([-32768, 32767], np.int16), shape)
    x = ends if RNG.integers(3) == 0 else RNG.integers(-32768, 32768, shape).astype(np.int16)
    for index in RNG.permutation(len(legal)):
        with suppress(ScheduleError):
            family.build(op, core, legal[index])
            return Case(graph, family, legal[index], [x])
    raise AssertionError(f"no config of {family.name} can be scheduled for {graph}")


def beyond() -> Iterator[Graph]:
    """Layers whose biases leave 32 bits by far, and 64 where weights and biases are shifted to the left."""
    for sign, scale in product((-1, 1), (0.9, 1.5, 20.0)):
        (op,) = graph_of("connected", 1, 1, 0, 1).operators
        assert isinstance(op, FullyConnected)
        channels = op.weights.shape[0]
        quant = Quantization(scale=(50 * scale,) * channels, zero_point=(0,) * channels, axis=0)
        data = sign * RNG.integers(2**62, 2**63 - 1, channels)
        changed = dataclasses.replace(
            op,
            weights=dataclasses.replace(op.weights, quant=quant),
            bias=Tensor(name="b", shape=(channels,), dtype=DType.INT64, data=data),
        )
        yield Graph(name="g", operators=(changed,), inputs=(op.x,), outputs=(op.y,))


@pytest.mark.parametrize("board", ["qemu-cortex-m7", "qemu-cortex-m4"])
def test_wide(board: str) -> None:
    cases = []
    with utvm.connect(board) as session:
        core = session.board.core
        kinds = [
            *(("conv", *rest) for rest in product((1, 2), (1, 2), (0, 2), (1, 2))),
            *(("conv", *rest) for rest in product((1, 2), (1,), (0, 1), (1,))),
            *(("depthwise", *rest, 1) for rest in product((1, 2), (1, 2), (0, 2))),
            *(("connected", 1, 1, 0, 1) for _ in range(8)),
        ]
        for kind, stride, dilation, pad, groups in kinds:
            graph = graph_of(kind, stride, dilation, pad, groups)
            (op,) = graph.operators
            takers = [family for family in FAMILIES if family.applies(op, core)]
            assert takers or kind == "depthwise", FAMILIES[0].refusal(op, core)
            cases += [in_some_config(graph, family, core) for family in takers]
        check(session, cases, everywhere=True)
        check(session, [in_some_config(graph, FAMILIES[0], core) for graph in beyond()])
    constant = [np.ptp(next(iter(evaluate(case.graph, case.inputs).values()))) == 0 for case in cases]
    assert sum(constant) < len(cases) // 2


def drawn(count: int) -> tuple[list[Graph], list[list[np.ndarray[Any, Any]]]]:
    """Layers of all kinds, and inputs at the ends of int16."""
    kinds = ("conv", 1, 1, 0, 1), ("conv", 2, 1, 1, 2), ("depthwise", 1, 2, 2, 1), ("connected", 1, 1, 0, 1)
    graphs = [graph_of(*kinds[index % 4]) for index in range(count)]
    ends = np.array([-32768, 32767, 5], np.int16)
    return graphs, [[RNG.choice(ends, graph.inputs[0].shape)] for graph in graphs]


def test_plain_c_here() -> None:
    """Sums that leave 64 bits wrap as the reference's do, without undefined behaviour."""
    graphs, inputs = drawn(24)
    programs = [lower(graph, get_core("cortex-m3")) for graph in graphs]
    for graph, x, (got,) in zip(graphs, inputs, run_sanitized(programs, inputs, "gcc"), strict=True):
        np.testing.assert_array_equal(got, next(iter(evaluate(graph, x).values())), err_msg=str(graph))


@pytest.mark.parametrize("board", ["qemu-cortex-m0", "qemu-riscv32"])
def test_plain_c_on_a_core(board: str) -> None:
    graphs, inputs = drawn(12)
    with utvm.connect(board) as session:
        found = run_programs(session, [lower(graph, session.board.core) for graph in graphs], inputs)
    fitting = [each for each in zip(graphs, inputs, found, strict=True) if each[2] is not None]
    assert len(fitting) > len(graphs) // 2
    for graph, x, got in fitting:
        np.testing.assert_array_equal(got[0], next(iter(evaluate(graph, x).values())), err_msg=str(graph))
