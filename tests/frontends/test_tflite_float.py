"""Float .tflite files: hybrid weights as their real values, activations as operators, int8 close to the original."""

from __future__ import annotations

import numpy as np
import pytest

import utvm
from tests.support.shared import shared
from utvm.frontends import FrontendError, load, load_tflite
from utvm.frontends.builder import GraphBuilder
from utvm.frontends.tflite_writer import write_tflite
from utvm.graph import Conv2D, Graph, Relu, ResizeBilinear, StridedSlice
from utvm.graph.reference import evaluate
from utvm.passes import prepare_float


def test_a_hybrid_network_keeps_its_classes() -> None:
    graph = load(shared("models/mlperf_tiny_float/kws_dscnn_float.tflite"))
    kinds = [op.kind for op in graph.operators]
    assert kinds.count("Relu") == kinds.count("Conv2D") + kinds.count("DepthwiseConv2D") == 9
    first = next(op for op in graph.operators if isinstance(op, Conv2D))
    assert len(np.unique(first.weights.values[0])) <= 40, "float values of the file's int8 weights"
    assert isinstance(graph.consumers[first.y][0], Relu)
    int8 = load(shared("models/mlperf_tiny/kws_dscnn_int8.tflite"))
    x = int8.inputs[0]
    features = np.load(shared("data/kws/test_500.npz"))["features"][:60]
    samples = ((features.astype(np.float32) - x.zero_point) * np.float32(x.scale)).reshape(-1, *x.shape[1:])
    ours = utvm.quantize(graph, samples[:40], evaluate=samples[40:])
    assert ours.report.judgement.agreement is not None
    assert ours.report.judgement.agreement >= 0.9
    assert ours.report.judgement.snr > 25
    (real,) = evaluate(graph, [samples[:1]]).values()
    (theirs,) = evaluate(int8, [features[:1].reshape(x.shape)]).values()
    assert real.argmax() == theirs.argmax()


def float_file(graph: Graph) -> bytes:
    """Return a float graph as a .tflite file."""
    return write_tflite(prepare_float(graph).graph)


def test_operators_that_are_not_read_are_named_all_at_once() -> None:
    rng = np.random.default_rng(0)
    builder = GraphBuilder("made")
    x = builder.input("x", (1, 8, 8, 4))
    weights = builder.constant(rng.standard_normal((4, 1, 1, 4)).astype(np.float32), "weights")
    conv = builder.add(Conv2D, (1, 8, 8, 4), x=x, weights=weights, bias=None)
    wide = builder.add(ResizeBilinear, (1, 16, 16, 4), x=conv, align_corners=False, half_pixel_centers=False)
    cut = builder.add(StridedSlice, (1, 8, 8, 4), x=builder.unary(Relu, conv), begin=(0,) * 4, strides=(1,) * 4)
    file = float_file(builder.graph([("wide", builder.unary(Relu, wide)), ("cut", builder.unary(Relu, cut))]))
    with pytest.raises(FrontendError) as refused:
        load_tflite(file)
    assert [problem.split(":")[0] for problem in refused.value.problems] == [
        "operator 1 RESIZE_BILINEAR",
        "operator 3 STRIDED_SLICE",
    ]
