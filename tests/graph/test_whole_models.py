"""Whole networks: the reference equals tflite-micro, and Arm's q7 arithmetic, bit for bit."""

import numpy as np
import pytest

from tests.support.oracle import Oracle
from tests.support.shared import shared
from utvm.frontends import load_q7, load_tflite, q7_input
from utvm.frontends.flatbuffer import read_flatbuffer
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


@pytest.mark.parametrize("model", MODELS)
def test_every_tensor_on_the_way_equals(model: str) -> None:
    path = shared(f"models/mlperf_tiny/{model}_int8.tflite")
    graph, oracle = load_tflite(path), Oracle(path.read_bytes(), keep=True)
    inputs = _random_inputs(graph, seed=3)
    oracle.run(*inputs)
    index = {raw.name: raw.index for raw in read_flatbuffer(path.read_bytes(), path.name).tensors}
    for name, got in evaluate(graph, inputs, keep=True).items():
        want = oracle.tensor(index[name]).reshape(got.shape)
        np.testing.assert_array_equal(got, want, err_msg=f"tensor '{name}'")


def test_reference_equals_the_golden_logits_of_the_q7_network() -> None:
    path = shared("models/cifar10_arm/cifar10_cnn_q7.npz")
    graph, golden = load_q7(path), np.load(path)
    images = q7_input(path, golden["golden_images"])
    got = [evaluate(graph, [image[None]])[graph.outputs[0].name][0] for image in images]
    np.testing.assert_array_equal(got, golden["golden_logits"])


def _random_inputs(graph: Graph, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [
        rng.integers(-128, 128, t.shape).astype(np.int8)
        if t.dtype is DType.INT8
        else rng.normal(size=t.shape).astype(np.float32)
        for t in graph.inputs
    ]
