"""Whole networks: the reference equals tflite-micro bit for bit."""

import numpy as np
import pytest

from tests.support.oracle import Oracle
from tests.support.shared import shared
from utvm.frontends import load_tflite
from utvm.graph import DType, Graph
from utvm.graph.reference import evaluate

MODELS = ("ad_autoencoder", "ic_resnet8", "kws_dscnn", "sww_conv1d", "vww_mobilenetv1_025_96")


@pytest.mark.parametrize("model", MODELS)
def test_reference_equals_tflite_micro(model: str) -> None:
    path = shared(f"models/mlperf_tiny/{model}_int8.tflite")
    graph, oracle = load_tflite(path), Oracle(path.read_bytes())
    for seed in range(3):
        inputs = _random_inputs(graph, seed)
        expected = oracle.run(*inputs)
        for tensor, want in zip(graph.outputs, expected, strict=True):
            got = evaluate(graph, inputs)[tensor.name]
            np.testing.assert_array_equal(got, want.reshape(tensor.shape))


def _random_inputs(graph: Graph, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [
        rng.integers(-128, 128, t.shape).astype(np.int8)
        if t.dtype is DType.INT8
        else rng.normal(size=t.shape).astype(np.float32)
        for t in graph.inputs
    ]
