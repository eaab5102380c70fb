"""Small inputs that once failed: what comes of each. Others of their kinds are drawn in the tests beside this one."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.oracle import Oracle
from tests.support.shared import shared
from utvm.cores import get_core
from utvm.frontends import FrontendError, load_tflite
from utvm.graph import DType, Graph
from utvm.graph.accuracy_cautions import cautions
from utvm.graph.reference import evaluate
from utvm.lowering import LoweringError, Options, lower
from utvm.passes import run_passes

EQUAL = (
    "avr_fc_softmax",
    "esp88_shape_pack",
    "fc_column_between",
    "resize_bilinear",
    "soft_8200",
    "string",
    "tf37347_uint8_io",
    "tflm2111_unpack_tanh",
    "utvm",
    "views_only",
)


def case(name: str) -> tuple[bytes, Graph]:
    data = shared(f"cases/{name}.tflite").read_bytes()
    return data, load_tflite(data, name=name)


def inputs(graph: Graph, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, t.shape).astype(np.uint8).view(t.dtype.value) for t in graph.inputs]


@pytest.mark.parametrize("name", EQUAL)
def test_runs_equal_to_tflite_micro(name: str) -> None:
    data, graph = case(name)
    assert lower(run_passes(graph), get_core("cortex-m7")).arena_bytes > 0
    for seed in range(3):
        values = inputs(graph, seed)
        for got, want in zip(evaluate(run_passes(graph), values).values(), Oracle(data).run(*values), strict=True):
            np.testing.assert_array_equal(got.reshape(-1), want.reshape(-1))


def test_blocks_around_a_convolution_are_its_dilation() -> None:
    _, graph = case("1629_space_to_batch")
    after = run_passes(graph)
    assert [op.kind for op in after.operators] == ["Conv2D"]
    for seed in range(3):
        values = inputs(graph, seed)
        for name, want in evaluate(graph, values).items():
            np.testing.assert_array_equal(evaluate(after, values)[name], want)


def test_shapes_leave_no_operator() -> None:
    _, graph = case("esp88_shape_pack")
    assert [op.kind for op in run_passes(graph).operators] == ["FullyConnected"]


def test_a_slice_whose_ends_are_offsets() -> None:
    """tflite-micro does not know `offset`; TFLite counts the ends from the begins."""
    _, graph = case("slice_offset")
    (values,) = inputs(graph, 0)
    (got,) = evaluate(graph, [values]).values()
    np.testing.assert_array_equal(got, values[:, 2:5])


def test_ends_of_unsigned_bytes() -> None:
    _, graph = case("tf37347_uint8_io")
    assert {t.dtype for t in (*graph.inputs, *graph.outputs)} == {DType.UINT8}


def test_scales_one_unit_apart_are_both_named() -> None:
    with pytest.raises(FrontendError, match=r"0\.07000001 and 3, 0\.07 and 3") as caught:
        case("tnn_concat_scale_ulp")
    assert caught.value.advice


def test_a_softmax_over_thousands_is_told() -> None:
    _, graph = case("soft_8200")
    assert len(cautions(graph)) == 1


def test_views_alone_say_what_they_need() -> None:
    _, graph = case("views_only")
    with pytest.raises(LoweringError, match=r"inputs and outputs take 256 bytes .*--ram 256 fits"):
        lower(graph, get_core("cortex-m7"), Options(ram=100))
    assert lower(graph, get_core("cortex-m7"), Options(ram=256)).arena_bytes == 256
