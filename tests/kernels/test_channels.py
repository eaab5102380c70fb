"""Depthwise layers by groups of channels: drawn shapes, edges and clamps, bit-exact on boards; and where they win."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume
from hypothesis import strategies as st

from tests.kernels.support import WAYS, Case, check, values
from tests.support.cases import drawn
from tests.support.target import run_program
from utvm import api
from utvm.codegen import RUN_SYMBOL
from utvm.cores import Core, get_core
from utvm.device import Session
from utvm.emulators import get_assumption
from utvm.graph import DepthwiseConv2D, DType, Graph, Padding, Quantization, Rounding, Tensor
from utvm.kernels import FAMILIES
from utvm.kernels.dsp.channels import ChannelDepthwise
from utvm.kernels.dsp.depthwise import PlaneDepthwise
from utvm.kernels.dsp.wide_depthwise import WideChannelDepthwise
from utvm.kernels.helium import HeliumDepthwise
from utvm.lowering import Options, lower
from utvm.lowering.select import candidates

FAMILY = ChannelDepthwise()
UNPADDED = Padding()


def layer(
    size: tuple[int, int],
    weights: np.ndarray,
    *,
    batch: int = 1,
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
    padding: Padding = UNPADDED,
    zero_points: tuple[int, int] = (-128, -128),
    way: tuple[Rounding, tuple[int, int]] = WAYS[0],
) -> Graph:
    """A depthwise layer of `weights` [kernel height, kernel width, channels]."""
    rounding, clamp = way
    (height, width), (*kernel, channels) = size, weights.shape
    span = [(taps - 1) * step + 1 for taps, step in zip(kernel, dilation, strict=True)]
    out_height = (height + padding.top + padding.bottom - span[0]) // stride[0] + 1
    out_width = (width + padding.left + padding.right - span[1]) // stride[1] + 1
    scales = Quantization(
        scale=tuple(0.001 + 1e-4 * (c % 7) for c in range(channels)), zero_point=(0,) * channels, axis=3
    )
    shifted = Quantization.per_tensor(2.0**-10)
    bias = np.random.default_rng(1).integers(-2000, 2000, channels).astype(np.int32)
    x_scale, y_scale = (0.5, 1.0) if rounding is Rounding.HALF_UP_SHIFT else (0.4, 0.9)
    op = DepthwiseConv2D(
        name="op",
        x=_tensor("x", (batch, height, width, channels), Quantization.per_tensor(x_scale, zero_points[0])),
        weights=Tensor(
            name="w",
            shape=(1, *weights.shape),
            dtype=DType.INT8,
            quant=shifted if rounding is Rounding.HALF_UP_SHIFT else scales,
            data=weights[None],
        ),
        bias=Tensor(name="b", shape=bias.shape, dtype=DType.INT32, data=bias),
        y=_tensor("y", (batch, out_height, out_width, channels), Quantization.per_tensor(y_scale, zero_points[1])),
        stride=stride,
        dilation=dilation,
        padding=padding,
        rounding=rounding,
        clamp=clamp,
    )
    return Graph(name="depthwise", operators=(op,), inputs=(op.x,), outputs=(op.y,))


def _tensor(name: str, shape: tuple[int, ...], quant: Quantization) -> Tensor:
    return Tensor(name=name, shape=shape, dtype=DType.INT8, quant=quant)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    generator = np.random.default_rng(draw(st.integers(0, 10**6)))
    kernel, dilation = ((draw(st.integers(1, 5)), draw(st.integers(1, 5))) for _ in range(2))
    dilation = tuple(min(step, 2) for step in dilation)
    sides = [draw(st.integers(0, (taps - 1) * step)) for taps, step in zip(kernel, dilation, strict=True) for _ in "ab"]
    padding = Padding(top=sides[0], bottom=sides[1], left=sides[2], right=sides[3])
    size = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    assume(size[0] + sides[0] + sides[1] > (kernel[0] - 1) * dilation[0])
    assume(size[1] + sides[2] + sides[3] > (kernel[1] - 1) * dilation[1])
    graph = layer(
        size,
        generator.integers(-127, 128, (*kernel, draw(st.integers(4, 18)))).astype(np.int8),
        batch=draw(st.integers(1, 2)),
        stride=(draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        dilation=dilation,
        padding=padding,
        zero_points=(draw(st.integers(-128, 127)), draw(st.sampled_from([-128, 0, 127, 5]))),
        way=draw(st.sampled_from(WAYS)),
    )
    assume(FAMILY.applies(graph.operators[0], get_core("cortex-m7")))
    return Case(graph, FAMILY, {}, [values(generator, graph.inputs[0].shape, ends=draw(st.booleans()))])


def test_bit_exact_on_drawn_layers(board: Session) -> None:
    check(board, drawn(cases()))


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.int8)


def test_layers_that_do_not_suit_are_refused() -> None:
    core = get_core("cortex-m4")
    around = Padding(top=2, bottom=2, left=2, right=2)
    fits, narrow, many_edges = (
        layer((9, 9), ones(5, 5, 8)),
        layer((9, 9), ones(5, 5, 3)),
        layer((9, 9), ones(5, 5, 8), padding=around),
    )
    assert FAMILY.applies(fits.operators[0], core)
    assert not FAMILY.applies(narrow.operators[0], core), "three channels are no word"
    assert not FAMILY.applies(many_edges.operators[0], core), "25 kinds of outputs"
    assert not FAMILY.applies(fits.operators[0], get_core("cortex-m3")), "no DSP extension"


def wide(graph: Graph) -> Graph:
    """A layer with activations of int16 and no zero points."""
    (op,) = graph.operators
    assert isinstance(op, DepthwiseConv2D)
    assert op.bias is not None
    finer = Quantization.per_tensor(0.001)
    x, y = (replace(t, dtype=DType.INT16, quant=finer) for t in (op.x, op.y))
    bias = replace(op.bias, dtype=DType.INT64, data=op.bias.values.astype(np.int64))
    op = replace(op, x=x, y=y, bias=bias, clamp=(-32768, 32767))
    return replace(graph, operators=(op,), inputs=(x,), outputs=(y,))


def test_windows_that_reach_beyond_a_load(board: Session) -> None:
    """Rows of more than 4 KB, several in a window, and a tap that is two such steps from the one before."""
    generator = np.random.default_rng(3)
    around = Padding(top=1, bottom=1, left=1, right=1)
    found = []
    for size, shape, options in (
        ((3, 200), (3, 3, 16), {}),
        ((4, 200), (3, 3, 13), {"padding": around}),
        ((3, 180), (2, 2, 30), {"dilation": (2, 3)}),
        ((7, 7), (7, 7, 64), {}),
    ):
        graph = layer(size, generator.integers(-127, 128, shape).astype(np.int8), **options)
        shape = graph.inputs[0].shape
        found.append(Case(graph, FAMILY, {}, [values(generator, shape, ends=False)]))
        finer = generator.integers(-32768, 32768, shape).astype(np.int16)
        found.append(Case(wide(graph), WideChannelDepthwise(), {}, [finer]))
    core = board.board.core
    assert all(case.family.applies(case.graph.operators[0], core) for case in found)
    check(board, found)


BOTH_APPLY = {
    "one output": (layer((15, 1), ones(15, 1, 128)), FAMILY),
    "columns": (layer((24, 1), ones(10, 1, 128)), FAMILY),
    "stride 2": (layer((12, 12), ones(3, 3, 60), stride=(2, 2), padding=Padding(bottom=1, right=1)), FAMILY),
    "plane": (layer((24, 24), ones(3, 3, 32), padding=Padding(top=1, bottom=1, left=1, right=1)), PlaneDepthwise()),
}


@pytest.mark.parametrize(("graph", "family"), BOTH_APPLY.values(), ids=BOTH_APPLY)
def test_the_faster_family_is_taken_by_estimates_that_are_near(
    graph: Graph, family: ChannelDepthwise | PlaneDepthwise, board: Session
) -> None:
    measured = estimated(graph, board.board.core, board)
    first, second = (name for name in measured if name != HeliumDepthwise.name)
    assert first == family.name
    assert (HeliumDepthwise.name in measured) == board.board.core.mve
    assert list(measured.values()) == sorted(measured.values())
    assert measured[first] < measured[second]


def test_estimates_are_near_by_the_measured_table() -> None:
    timing = get_assumption("measured", "cortex-m7").timings["cortex-m7"]
    with api.connect("qemu-cortex-m7", assume="measured") as board:
        for graph in (BOTH_APPLY["one output"][0], BOTH_APPLY["columns"][0], layer((9, 9), ones(3, 3, 13))):
            estimated(graph, replace(board.board.core, timing=timing), board)


def estimated(graph: Graph, core: Core, board: Session) -> dict[str, int]:
    """Run a layer by each family that has an estimate, see that it is near, and return cycles, best estimate first."""
    (op,) = graph.operators
    measured = {}
    every = [candidate for family in FAMILIES for candidate in candidates(op, core, [family])]
    for candidate in sorted(every, key=lambda candidate: candidate.cycles):
        if not candidate.cycles:
            continue
        choice = next(f for f in FAMILIES if f.name == candidate.draft.family.name), candidate.draft.config
        program = lower(graph, core, Options(choices={"op": choice}))
        x = np.random.default_rng(0).integers(-128, 128, graph.inputs[0].shape).astype(np.int8)
        run_program(board, program, [x])
        cycles = board.call(RUN_SYMBOL).cycles
        assert cycles is not None
        assert candidate.cycles == pytest.approx(cycles, rel=0.05)
        measured[candidate.draft.family.name] = cycles
    return measured


def test_rows_of_outputs_that_no_store_reaches_get_addresses_of_their_own(board: Session) -> None:
    generator = np.random.default_rng(7)
    for (height, width, channels), stride in (((5, 9, 520), (1, 1)), ((9, 6, 1400), (2, 2))):
        weights = generator.integers(-127, 128, (3, 3, channels)).astype(np.int8)
        around = Padding(top=1, bottom=1, left=1, right=1)
        graph = layer((height, width), weights, padding=around, stride=stride)
        config = {"rows": 2, "columns": 2} if stride == (1, 1) else {"rows": 4, "columns": 1}
        assert PlaneDepthwise().legal(graph.operators[0], board.board.core, config)
        x = values(generator, graph.inputs[0].shape, ends=False)
        check(board, [Case(graph, PlaneDepthwise(), config, [x])])
