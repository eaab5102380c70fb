"""Every DSP family with random legal configs against the reference, executed on emulated M4, M7 and M33."""

from itertools import product

import numpy as np
import pytest
from hypothesis import assume
from hypothesis import strategies as st

import utvm
from tests.kernels.support import Case, check
from tests.kernels.vector_cases import with_int16
from tests.support.cases import drawn
from tests.support.draw import case_with
from tests.support.drawer import Drawer
from tests.support.target import run_programs
from utvm.cores import Core, get_core
from utvm.cores.microkernel import ScheduleError
from utvm.device import Session
from utvm.graph import Conv2D, DepthwiseConv2D, DType, FullyConnected, Graph, Padding, Quantization, Tensor
from utvm.graph.reference import evaluate
from utvm.kernels import FAMILIES, PORTABLE_FAMILIES
from utvm.kernels.dsp.direct import DirectConvolution
from utvm.kernels.dsp.wide_direct import WideConvolution
from utvm.kernels.dsp.winograd import WinogradRows
from utvm.lowering import LoweringError, Options, lower

FAST = [family for family in FAMILIES if family not in PORTABLE_FAMILIES]
WEIGHTED = ("Conv2D", "DepthwiseConv2D", "FullyConnected")
KINDS = (
    *WEIGHTED,
    "MaxPool2D",
    "AveragePool2D",
    "Add",
    "Sub",
    "Mul",
)


@st.composite
def cases(draw: st.DrawFn, kind: str, core: Core) -> Case:
    """One operator and any legal config of any fast family that takes it."""
    graph, inputs = draw(case_with(kind))
    (op,) = graph.operators
    families = [family for family in FAST if family.applies(op, core)]
    assume(families)
    family = draw(st.sampled_from(families))
    config = {knob: draw(st.sampled_from(choices)) for knob, choices in family.space(op, core).items()}
    assume(family.legal(op, core, config))
    try:
        family.build(op, core, config)
    except ScheduleError:
        assume(False)
    return Case(graph, family, config, inputs)


@pytest.mark.parametrize("kind", KINDS)
def test_bit_exact_with_any_config(kind: str, board: Session) -> None:
    check(board, drawn(cases(kind, board.board.core)))


def extreme(kind: str, channels: int, weight: int) -> Graph:
    """All weights at one end, so that accumulators reach as far as they can."""
    generator = np.random.default_rng(3)
    shape = (1, 4, 4, channels) if kind == "Conv2D" else (1, channels)
    x = Tensor(name="x", shape=shape, dtype=DType.INT8, quant=Quantization.per_tensor(0.1, -128))
    weights_shape = (4, 3, 3, channels) if kind == "Conv2D" else (4, channels)
    weights = Tensor(
        name="w",
        shape=weights_shape,
        dtype=DType.INT8,
        quant=Quantization.per_tensor(1e-4),
        data=np.full(weights_shape, weight, np.int8),
    )
    bias = Tensor(name="b", shape=(4,), dtype=DType.INT32, data=generator.integers(-(10**5), 10**5, 4).astype(np.int32))
    out = (1, 2, 2, 4) if kind == "Conv2D" else (1, 4)
    y = Tensor(name="y", shape=out, dtype=DType.INT8, quant=Quantization.per_tensor(0.3, 5))
    op = (Conv2D if kind == "Conv2D" else FullyConnected)(name="op", x=x, weights=weights, bias=bias, y=y)
    return Graph(name="extreme", operators=(op,), inputs=(x,), outputs=(y,))


def test_extreme_accumulators(board: Session) -> None:
    """Sums beyond the bound of paired weights must take another form, and be right all the same."""
    graphs = [
        extreme(kind, channels, weight)
        for kind in ("Conv2D", "FullyConnected")
        for channels in (32, 512)
        for weight in (-127, 127, -128)
    ]
    programs = [lower(graph, board.board.core) for graph in graphs]
    for value in (-128, 127):
        inputs = [[np.full(graph.inputs[0].shape, value, np.int8)] for graph in graphs]
        for graph, arrays, got in zip(graphs, inputs, run_programs(board, programs, inputs), strict=True):
            assert got is not None
            np.testing.assert_array_equal(got[0], evaluate(graph, arrays)["y"], err_msg=f"{value}\n{graph}")


LAYOUTS = [
    (1, 1, 3, 1, 1, 7),
    (3, 1, 3, 1, 1, 6),
    (3, 1, 3, 2, 1, 7),
    (3, 3, 3, 1, 1, 6),
    (3, 2, 3, 2, 1, 7),
    (11, 2, 3, 2, 0, 7),
    (5, 1, 1, 2, 0, 5),
    (6, 2, 2, 1, 0, 5),
    (19, 1, 1, 1, 0, 3),
]
"""Channels of a group, groups, kernel, stride, padding, pixels: rows at odd lanes, in two copies, of no whole words."""


def rows_of(channels: int, groups: int, kernel: int, stride: int, padding: int, size: int, m: int = 2) -> Case:
    """A convolution whose rows lie so, by the direct family in blocks of m pixels."""
    generator = np.random.default_rng(size)
    x = Tensor(
        name="x", shape=(1, size, size, channels * groups), dtype=DType.INT8, quant=Quantization.per_tensor(0.1, 7)
    )
    shape = (2 * groups, kernel, kernel, channels)
    weights = Tensor(
        name="w",
        shape=shape,
        dtype=DType.INT8,
        quant=Quantization.per_tensor(0.01),
        data=generator.integers(-127, 128, shape).astype(np.int8),
    )
    bias = Tensor(name="b", shape=(2 * groups,), dtype=DType.INT32, data=np.zeros(2 * groups, np.int32))
    out = (size + 2 * padding - kernel) // stride + 1
    y = Tensor(
        name="y", shape=(1, out, out, 2 * groups), dtype=DType.INT8, quant=Quantization.per_tensor(0.05 * channels, 5)
    )
    op = Conv2D(
        name="op",
        x=x,
        weights=weights,
        bias=bias,
        y=y,
        stride=(stride, stride),
        padding=Padding(top=padding, bottom=padding, left=padding, right=padding),
    )
    graph = Graph(name="rows", operators=(op,), inputs=(x,), outputs=(y,))
    inputs = [generator.integers(-128, 128, x.shape).astype(np.int8)]
    return Case(graph, DirectConvolution(), {"m": m, "n": 1, "form": "int16", "unroll": 0}, inputs)


def test_rows_that_are_no_whole_words(board: Session) -> None:
    check(board, [rows_of(*layout) for layout in LAYOUTS])


def test_a_last_strip_that_is_no_whole_words(board: Session) -> None:
    check(board, [rows_of(3, 1, 1, 1, 0, 7, m=4)])


def large_window(height: int, width: int, channels: int) -> Graph:
    """A convolution whose window covers nearly all of its input."""
    generator = np.random.default_rng(height)
    x = Tensor(
        name="x", shape=(1, height + 1, width + 3, channels), dtype=DType.INT8, quant=Quantization.per_tensor(0.1, 7)
    )
    shape = (2, height, width, channels)
    weights = Tensor(
        name="w",
        shape=shape,
        dtype=DType.INT8,
        quant=Quantization.per_tensor(0.001),
        data=generator.integers(-20, 20, shape).astype(np.int8),
    )
    bias = Tensor(name="b", shape=(2,), dtype=DType.INT32, data=np.zeros(2, np.int32))
    y = Tensor(name="y", shape=(1, 2, 4, 2), dtype=DType.INT8, quant=Quantization.per_tensor(0.2, -3))
    op = Conv2D(name="op", x=x, weights=weights, bias=bias, y=y)
    return Graph(name="large", operators=(op,), inputs=(x,), outputs=(y,))


def test_addresses_of_large_windows_fit_the_stack() -> None:
    """By default, and in the blocks whose tables are the longest: in int8 and in int16."""
    core, drawer = get_core("cortex-m7"), Drawer(np.random.default_rng(3), tflite=False, largest=12)
    found: list[Case] = []
    for size in ((33, 23, 26), (70, 33, 64), (432, 1, 2), (433, 1, 2)):
        int8 = large_window(*size)
        int16, wide_inputs = with_int16(drawer, int8)
        for graph, inputs in ((int8, [drawer.int8(int8.inputs[0].shape)]), (int16, wide_inputs)):
            (op,) = graph.operators
            for family in (DirectConvolution(), WideConvolution()):
                if not family.applies(op, core):
                    continue
                space = family.space(op, core)
                every = [dict(zip(space, each, strict=True)) for each in product(*space.values())]
                legal = [config for config in every if family.legal(op, core, config)]
                longest = max(legal, key=lambda config: family.plan(op, config).addresses)
                found += [Case(graph, family, config, inputs) for config in (family.default(op, core), longest)]
    assert {case.graph.inputs[0].shape[1] - 1 for case in found} == {33, 70, 432}
    tall, taller = large_window(432, 3, 2), large_window(433, 3, 2)
    assert not WinogradRows().applies(taller.operators[0], core)
    config = WinogradRows().default(tall.operators[0], core)
    found.append(Case(tall, WinogradRows(), config, [drawer.int8(tall.inputs[0].shape)]))
    with utvm.connect("qemu-cortex-m7") as session:
        check(session, found)


def test_a_block_that_does_not_fit_is_refused() -> None:
    graph = extreme("Conv2D", 32, 1)
    (op,) = graph.operators
    family = DirectConvolution()
    core = get_core("cortex-m7")
    assert not family.legal(op, core, {"m": 4, "n": 8, "form": "int16", "unroll": 1})
    with pytest.raises((LoweringError, ScheduleError)):
        lower(graph, core, Options(choices={"op": (family, {"m": 4, "n": 8, "form": "int16", "unroll": 1})}))


@pytest.mark.parametrize("kind", WEIGHTED)
def test_a_family_says_why_it_does_not_take_an_operator(kind: str) -> None:
    families = [
        family
        for family in FAST
        if type(family).__module__.startswith("utvm.kernels.dsp")
        and family.dtypes == (DType.INT8,)
        and DType.INT32 in family.biases
        and any(issubclass(k, Conv2D | DepthwiseConv2D | FullyConnected) for k in family.kinds)
    ]
    core, plain = get_core("cortex-m7"), get_core("cortex-m3")
    for graph, _ in drawn(case_with(kind), times=4):
        (op,) = graph.operators
        for family in families:
            reason = family.refusal(op, core)
            assert family.applies(op, core) == (reason is None)
            assert reason is None or (reason and not reason.endswith("."))
            assert family.refusal(op, plain), "no DSP extension"
