"""Float .tflite files: hybrid weights as their real values, activations as operators, int8 close to the original."""

from __future__ import annotations

import numpy as np

import utvm
from tests.support.shared import shared
from utvm.frontends import load
from utvm.graph import Conv2D, Relu
from utvm.graph.reference import evaluate


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
