"""Float .tflite files: hybrid weights as their real values, activations as operators, int8 close to the original."""

from __future__ import annotations

import struct

import numpy as np
import tflite

import utvm
from tests.support.shared import shared
from utvm.frontends import load, load_tflite
from utvm.frontends.builder import GraphBuilder
from utvm.frontends.tflite_encoded import EncodedOperator
from utvm.frontends.tflite_writer import Subgraph, write_subgraphs, write_tflite
from utvm.graph import Conv2D, DType, Relu, ResizeBilinear, StridedSlice, Tensor
from utvm.graph.reference import evaluate
from utvm.passes import prepare_float


def test_sizes_that_a_reshape_tells_are_those_of_what_the_file_leaves_open() -> None:
    """Keras writes Dense on sequences so: the shape is computed, and the file claims 1 for all that is open."""

    def tensor(name: str, *shape: int, data: np.ndarray | None = None) -> Tensor:
        dtype = DType.INT32 if data is not None and data.dtype == np.int32 else DType.FLOAT32
        return Tensor(name=name, shape=shape, dtype=dtype, data=data)

    x, flat, y = tensor("x", 1, 3, 4), tensor("flat", 1, 1), tensor("y", 1, 4)
    told = tensor("told", 2, data=np.array([3, 4], np.int32))
    amount = tensor("amount", 4, data=np.arange(4, dtype=np.float32))
    codes = tflite.BuiltinOperator
    operators = [
        EncodedOperator(code=codes.RESHAPE, version=1, inputs=(x, told), outputs=(flat,)),
        EncodedOperator(code=codes.ADD, version=1, inputs=(flat, amount), outputs=(y,), options="AddOptions"),
    ]
    part = Subgraph(name="main", inputs=[x], outputs=[y], operators=operators, opened=[flat, y])
    written = write_subgraphs([part])
    signature = struct.pack("<2i", -1, 1)
    assert written.count(signature) == 1
    graph = load_tflite(written.replace(signature, struct.pack("<2i", -1, -1)))
    given = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    np.testing.assert_array_equal(evaluate(graph, [given])["y"], given[0] + np.arange(4))


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


def test_a_float_file_is_the_graph_that_was_written() -> None:
    rng = np.random.default_rng(0)
    builder = GraphBuilder("made")
    x = builder.input("x", (1, 8, 8, 4))
    weights = builder.constant(rng.standard_normal((4, 1, 1, 4)).astype(np.float32), "weights")
    conv = builder.add(Conv2D, (1, 8, 8, 4), x=x, weights=weights, bias=None)
    wide = builder.add(ResizeBilinear, (1, 16, 16, 4), x=conv, align_corners=False, half_pixel_centers=False)
    cut = builder.add(StridedSlice, (1, 8, 8, 4), x=builder.unary(Relu, conv), begin=(0,) * 4, strides=(1,) * 4)
    graph = prepare_float(builder.graph([("wide", builder.unary(Relu, wide)), ("cut", builder.unary(Relu, cut))])).graph
    values = [rng.standard_normal((1, 8, 8, 4)).astype(np.float32)]
    for got, want in zip(
        evaluate(load_tflite(write_tflite(graph)), values).values(), evaluate(graph, values).values(), strict=True
    ):
        np.testing.assert_array_equal(got, want)
