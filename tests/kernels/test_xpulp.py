"""Kernels of the Xpulp extension, on the core that has it: exact for drawn shapes, and several times as fast."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

import utvm
from tests.kernels.support import LONG_ROWS, Case, check, long_softmax
from tests.kernels.vector_cases import cases
from tests.support.cases import drawn
from tests.support.draw import case_with
from utvm.bench import layer_graph
from utvm.cores import get_core
from utvm.device import Session
from utvm.graph import (
    Add,
    AverageRounding,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Graph,
    Padding,
    Quantization,
    Rounding,
)
from utvm.graph.arithmetic import channel_requantization
from utvm.graph.samples import random_input
from utvm.kernels import FAMILIES, KernelFamily
from utvm.kernels.blocked import BlockedProduct
from utvm.kernels.dsp.finish import folded_bias
from utvm.kernels.xpulp import (
    XpulpAveragePool2D,
    XpulpBinary,
    XpulpDepthwise,
    XpulpLookup,
    XpulpMaxPool2D,
    XpulpMean,
    XpulpMove,
    XpulpProduct,
    XpulpResizeBilinear,
    XpulpSoftmax,
)
from utvm.kernels.xpulp.average import division
from utvm.kernels.xpulp.finish import StairFinish, finish_of
from utvm.lowering import lower
from utvm.numerics import half_up_shift, multiply_by_quantized_multiplier, multiply_single_rounding
from utvm.profiling import profile

BOARD = "rtl-cv32e40p-xpulp"
CORE = get_core("cv32e40p-xpulp")
WEIGHTED = [("Conv2D", XpulpProduct()), ("FullyConnected", XpulpProduct()), ("DepthwiseConv2D", XpulpDepthwise())]

DRAWN = [
    *WEIGHTED,
    ("Add", XpulpBinary()),
    ("Sub", XpulpBinary()),
    ("Mul", XpulpBinary()),
    ("MaxPool2D", XpulpMaxPool2D()),
    ("AveragePool2D", XpulpAveragePool2D()),
    ("Logistic", XpulpLookup()),
    ("Mean", XpulpMean()),
    ("ResizeBilinear", XpulpResizeBilinear()),
    ("Softmax", XpulpSoftmax()),
]
MOVED = [(kind, XpulpMove()) for kind in ("Transpose", "StridedSlice", "Pad", "Concatenation", "ResizeNearestNeighbor")]


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with utvm.connect(BOARD) as opened:
        yield opened


@pytest.mark.parametrize(("kind", "family"), DRAWN)
def test_bit_exact_on_drawn_layers(session: Session, kind: str, family: KernelFamily) -> None:
    check(session, drawn(cases(kind, family, CORE), 1 / 2), everywhere=True)


@pytest.mark.parametrize(("kind", "family"), [*WEIGHTED, *MOVED])
def test_bit_exact_on_drawn_wide_layers(session: Session, kind: str, family: KernelFamily) -> None:
    check(session, drawn(cases(kind, family, CORE, wide=True), 1 / 4))


@pytest.mark.parametrize("kind", ["Conv2D", "FullyConnected", "DepthwiseConv2D"])
def test_finishes_step_where_the_definition_does(kind: str) -> None:
    """For all sums around every step of a channel, and for sums at random, in numpy."""
    forms = set()
    for graph, _ in drawn(case_with(kind), 2):
        (op,) = graph.operators
        assert isinstance(op, Conv2D | FullyConnected | DepthwiseConv2D)
        found = finish_of(op)
        if found is None or found.form.exact:
            assert found is not None or op.rounding is not Rounding.DOUBLE
            continue
        forms.add(found.form.name)
        sums = sums_around_steps(op)
        np.testing.assert_array_equal(finished(found, sums - folded_bias(op)[:, None]), outputs(op, sums))
    assert forms


def test_a_second_offset_begins_between_two_totals() -> None:
    """Beside a channel of large outputs several sums of another have one total."""
    graph = layer_graph("ad_fc_36_4")
    assert graph is not None
    (op,) = graph.operators
    assert isinstance(op, FullyConnected)
    x, y = (
        replace(op.x, quant=Quantization.per_tensor(0.027, -122)),
        replace(op.y, quant=Quantization.per_tensor(0.1, 0)),
    )
    values = (np.sign(op.weights.values) * np.array([[1], [125], [127], [1]])).astype(np.int8)
    forms = set()
    for least in np.geomspace(5e-6, 2e-5, 60):
        scales = np.array([0.9, 0.0025, least, 33.0])
        weights = replace(op.weights, quant=Quantization.symmetric(scales, 0), data=values)
        each = replace(op, x=x, weights=weights, y=y, clamp=(-9, 9))
        found = finish_of(each)
        assert found is not None
        forms.add(found.form.name)
        if not found.form.exact:
            sums = sums_around_steps(each)
            np.testing.assert_array_equal(finished(found, sums - folded_bias(each)[:, None]), outputs(each, sums))
    assert "sp" in forms


def sums_around_steps(op: Conv2D | FullyConnected | DepthwiseConv2D) -> np.ndarray:
    """Return sums that inputs can make: the ends, around the steps of the outputs, and between."""
    weights = np.moveaxis(op.weights.values.astype(np.int64), 3 if isinstance(op, DepthwiseConv2D) else 0, 0)
    flat = weights.reshape(len(weights), -1)
    low = np.minimum(flat * -128, flat * 127).sum(axis=1) + folded_bias(op)
    high = np.maximum(flat * -128, flat * 127).sum(axis=1) + folded_bias(op)
    table = channel_requantization(op)
    scale = table.multiplier * 2.0 ** (table.shift.astype(float) - 31)
    with np.errstate(divide="ignore", invalid="ignore"):
        at = (np.arange(-128, 129) - op.y.zero_point - 0.5) / scale[:, None]
    near = np.nan_to_num(np.clip(at, -(2.0**40), 2.0**40)).astype(np.int64)[:, :, None] + np.arange(-4, 5)
    spread = np.linspace(low, high, 200, axis=1).astype(np.int64)
    return np.clip(np.concatenate([near.reshape(len(near), -1), spread], axis=1), low[:, None], high[:, None])


def outputs(op: Conv2D | FullyConnected | DepthwiseConv2D, sums: np.ndarray) -> np.ndarray:
    table = channel_requantization(op)
    multiplier, shift = table.multiplier[:, None], table.shift[:, None]
    way = {
        Rounding.DOUBLE: lambda: multiply_by_quantized_multiplier(sums, multiplier, shift),
        Rounding.SINGLE: lambda: multiply_single_rounding(sums, multiplier, shift),
        Rounding.HALF_UP_SHIFT: lambda: half_up_shift(sums, 1 - shift),
    }
    return np.clip(way[op.rounding]() + op.y.zero_point, *op.clamp)


def finished(finish: StairFinish, products: np.ndarray) -> np.ndarray:
    """Return what the instructions make of sums without their start, step by step in 32 bits."""
    words = [column[:, None] for column in finish.words.T.astype(np.int64)]
    shift, most = (words[-1] if finish.form.own else finish.common[0]), finish.common[1]
    total = products + finish.start[:, None]
    assert finish.form.limits or (total >= 0).all()
    if finish.form.limits:
        total = np.clip(total, 0, most)
    value = ((total & 0xFFFF) * (words[1] & 0xFFFF) >> 16) + total * words[0] + (total >> 16) * (words[1] >> 16)
    assert (value < 1 << 32).all()
    if finish.form.parts:
        value += np.where(value > words[3], words[4], 0)
    value = (value + words[2] + (1 << 31)) % (1 << 32) - (1 << 31)
    return np.clip(value >> shift, *finish.clamp)


@pytest.mark.parametrize("rounding", [AverageRounding.HALF_AWAY, AverageRounding.HALF_UP])
def test_averages_of_up_to_271_taps_are_exact(rounding: AverageRounding) -> None:
    """As docs/xpulp.md says; the search compares a division with all sums."""
    assert all(division(count, rounding) for count in range(1, 272))


def test_softmax_of_long_rows(session: Session) -> None:
    config = {"most": "words", "sum": 8, "share": 4}
    check(session, [Case(graph, XpulpSoftmax(), config, inputs) for graph, inputs in map(long_softmax, LONG_ROWS)])


@pytest.mark.parametrize("layer", ["dw_5x4x8", "conv_5x4x8_8_k3"])
def test_windows_without_a_column_inside_are_biases(session: Session, layer: str) -> None:
    """Nothing of the input is read: strides and paddings leave every window outside."""
    graph = layer_graph(layer)
    assert graph is not None
    (op,) = graph.operators
    assert isinstance(op, Conv2D | DepthwiseConv2D)
    far = replace(op.y, shape=(1, 5, 2, op.y.shape[3]))
    op = replace(op, padding=Padding(top=1, bottom=1, left=9, right=0), y=far)
    graph = Graph(name="far", operators=(op,), inputs=graph.inputs, outputs=op.outputs)
    family = XpulpDepthwise() if isinstance(op, DepthwiseConv2D) else XpulpProduct()
    check(session, [Case(graph, family, family.default(op, CORE), [random_input(graph.inputs[0], 0)])])


def test_a_core_without_the_extension_has_blocks() -> None:
    (graph, _), *_ = drawn(case_with("Conv2D"), 1 / 16)
    assert [call.kernel.family for call in lower(graph, get_core("cv32e40p")).calls] == ["blocked"]


def test_blocks_take_dot_products_where_this_family_does_not(session: Session) -> None:
    graph = layer_graph("conv_3x5x32_8_k1")
    assert graph is not None
    (op,) = graph.operators
    config = BlockedProduct().default(op, CORE)
    assert config["use"] == "sdot4"
    check(session, [Case(graph, BlockedProduct(), config, [random_input(graph.inputs[0], 0)])])


KINDS_OF_NETWORKS = ("conv_4x4x64_64_k1", "dw_6x6x32", "fc_64_12", "kws_avgpool_25x5x64", "add_8x8x64", "softmax_300")


def graph_of(layer: str) -> Graph:
    """Return a layer; scales of a sum are no round multiples of each other, as those of networks are not."""
    graph = layer_graph(layer)
    assert graph is not None
    (op,) = graph.operators
    if isinstance(op, Add):
        op = replace(op, y=replace(op.y, quant=Quantization.per_tensor(0.04171, -3)))
        graph = replace(graph, operators=(op,), outputs=op.outputs)
    return graph


@pytest.mark.parametrize("layer", KINDS_OF_NETWORKS)
def test_spaces_have_twenty_configs(layer: str) -> None:
    (op,) = graph_of(layer).operators
    configs = 0
    for family in (each for each in FAMILIES if each.applies(op, CORE)):
        space = family.space(op, CORE)
        every = (dict(zip(space, values, strict=True)) for values in product(*space.values()))
        configs += sum(family.legal(op, CORE, config) for config in every)
    assert configs >= 20


def test_estimates_are_the_cycles_of_the_core() -> None:
    """And a convolution takes little more than half a cycle a product, a depthwise one less than 3."""
    most = {"conv_4x4x64_64_k1": 0.57, "dw_6x6x32": 3.0, "conv_6x6x16_16_k3": 0.65}
    for layer in (*most, *KINDS_OF_NETWORKS[3:]):
        report, compiled = profile(graph_of(layer), BOARD)
        (call,) = compiled.program.calls
        assert call.kernel.family == "xpulp"
        assert report.cycles is not None
        assert report.cycles == pytest.approx(call.cycles, rel=0.08), layer
        assert layer not in most or report.cycles < most[layer] * report.macs
