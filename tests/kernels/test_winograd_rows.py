"""Exact Winograd convolution along rows: the transforms, drawn shapes, extreme weights and inputs, and the proof."""

import dataclasses
from itertools import product

import numpy as np
import pytest
from hypothesis import assume
from hypothesis import strategies as st

import utvm
from tests.kernels.support import Case, check, values
from tests.kernels.test_winograd import convolution, drawn_convolution
from tests.support.cases import drawn
from tests.support.target import run_program
from utvm import api
from utvm.cores import get_core
from utvm.cores.microkernel import Block
from utvm.device import Session
from utvm.graph import Conv2D, Graph, Padding
from utvm.graph.reference import evaluate
from utvm.kernels.dsp.winograd import WinogradRows
from utvm.kernels.dsp.winograd.rows_plan import RowsPlan
from utvm.kernels.dsp.winograd.transforms import ROW_TRANSFORMS, Emit
from utvm.lowering import Options, lower

FAMILY = WinogradRows()
M7 = get_core("cortex-m7")


def matrix(emit: Emit, inputs: int) -> np.ndarray:
    """The matrix that the additions, subtractions and shifts of a transform amount to."""
    block = Block()
    results = emit(block, [f"%d{i}" for i in range(inputs)])
    values = {f"%d{i}": row for i, row in enumerate(np.eye(inputs, dtype=np.int64))}
    for instruction in block.code:
        name, _, operands = instruction.text.partition(" ")
        target, a, b, *shift = (part.strip() for part in operands.split(","))
        second = values[b] << (int(shift[0].partition("#")[2]) if shift else 0)
        values[target] = values[a] + second if "add" in name else values[a] - second
    return np.array([values[name] for name in results])


@pytest.mark.parametrize(("taps", "tile"), sorted(ROW_TRANSFORMS))
def test_transforms_are_scaled_convolutions(taps: int, tile: int) -> None:
    transform = ROW_TRANSFORMS[taps, tile]
    data, inverse = matrix(transform.data, transform.points), matrix(transform.inverse, transform.points)
    assert np.abs(data).sum(axis=1).max() <= transform.data_gain
    for tap in range(taps):
        points = transform.weights[:, tap, None] * data
        shifted = np.eye(tile, transform.points, tap, dtype=np.int64)
        np.testing.assert_array_equal(inverse @ points, transform.scale * shifted)


def tall(graph: Graph, *, height: int, stride: int, above: int, below: int) -> Graph:
    """The same convolution with the first rows of its kernel, another stride down, and other padding."""
    (op,) = graph.operators
    assert isinstance(op, Conv2D)
    weights = dataclasses.replace(
        op.weights,
        shape=(op.weights.shape[0], height, *op.weights.shape[2:]),
        data=np.ascontiguousarray(op.weights.values[:, :height]),
    )
    padding = Padding(top=above, bottom=below, left=op.padding.left, right=op.padding.right)
    rows = (op.x.shape[1] + above + below - height) // stride + 1
    assume(rows > 0)
    y = dataclasses.replace(op.y, shape=(1, rows, *op.y.shape[2:]))
    op = dataclasses.replace(op, weights=weights, y=y, padding=padding, stride=(stride, 1))
    return Graph(name="rows", operators=(op,), inputs=(op.x,), outputs=(y,))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    taps, tile = draw(st.sampled_from(sorted(ROW_TRANSFORMS)))
    generator = np.random.default_rng(draw(st.integers(0, 10**6)))
    shape = draw(st.integers(1, 10)), taps, taps, draw(st.integers(1, 20))
    size = draw(st.integers(taps, 8)), tile * draw(st.integers(1, 5))
    graph = drawn_convolution(draw, generator, shape, size, 0)
    graph = tall(
        graph,
        height=draw(st.integers(2, taps)),
        stride=draw(st.integers(1, 2)),
        above=draw(st.integers(0, 2)),
        below=draw(st.integers(0, 2)),
    )
    (op,) = graph.operators
    assume(FAMILY.applies(op, M7) and tile in FAMILY.space(op, M7)["tile"])
    x = values(generator, graph.inputs[0].shape, ends=draw(st.booleans()))
    return Case(graph, FAMILY, {"tile": tile}, [x])


def test_bit_exact_on_drawn_shapes(board: Session) -> None:
    check(board, drawn(cases(), 2))


def test_extreme_weights_and_inputs(board: Session) -> None:
    """All weights at one end are proven in one dimension, and must be right, whatever comes in."""
    extreme = []
    for (taps, tile), weight in product(sorted(ROW_TRANSFORMS), (-128, 127)):
        graph = convolution(np.full((2, taps, taps, 32), weight, np.int8), size=(3, tile * 2), scale=1e-5)
        assert tile in FAMILY.space(graph.operators[0], M7)["tile"]
        shape = graph.inputs[0].shape
        alternating = np.where(np.indices(shape)[2] % 2, 127, -128).astype(np.int8)
        inputs = np.full(shape, -128, np.int8), np.full(shape, 127, np.int8), alternating
        extreme += [Case(graph, FAMILY, {"tile": tile}, [x]) for x in inputs]
    check(board, extreme)


def test_a_row_without_padding_above_or_beside_has_no_slot_for_it() -> None:
    weights = np.ones((2, 3, 3, 4), np.int8)
    bare = convolution(weights, size=(4, 4), before=(0, 0))
    padded = convolution(weights, size=(4, 4), before=(1, 0))
    program, other = (lower(graph, M7, Options(choices={"op": (FAMILY, {"tile": 2})})) for graph in (bare, padded))
    assert program.calls[0].kernel.scratch_bytes < other.calls[0].kernel.scratch_bytes


def test_what_is_not_proven_is_refused() -> None:
    deep = np.full((2, 5, 5, 512), 127, np.int8)
    found = FAMILY.applies(convolution(deep, size=(4, 4)).operators[0], M7)
    assert not found, "the sums, sixteen times as large, exceed int32"
    (op,) = convolution(np.ones((2, 3, 3, 4), np.int8), size=(4, 5)).operators
    assert not FAMILY.applies(op, M7), "rows of five outputs are no tiles"


def test_long_products_are_a_loop_where_code_comes_through_a_small_cache() -> None:
    weights = np.random.default_rng(7).integers(-127, 128, (16, 5, 5, 32)).astype(np.int8)
    graph = convolution(weights, size=(6, 16), scale=1e-5)
    (op,) = graph.operators
    cached = api.assumed_core(api.as_board("qemu-cortex-m7"), "stm32f746")
    assert isinstance(op, Conv2D)
    assert RowsPlan.of(op, 4, M7).unrolled
    assert not RowsPlan.of(op, 4, cached).unrolled
    x = np.random.default_rng(8).integers(-128, 128, op.x.shape).astype(np.int8)
    program = lower(graph, cached, Options(choices={"op": (FAMILY, {"tile": 4})}))
    with utvm.connect("qemu-cortex-m7") as session:
        (got,) = run_program(session, program, [x])
    np.testing.assert_array_equal(got, evaluate(graph, [x])["y"])
