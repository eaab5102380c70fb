"""Norms of layers: their factors go into the layers that read them, and their variance is that of float32."""

from __future__ import annotations

import numpy as np

import utvm
from tests.support.onnx_files import expected, model, node
from utvm.frontends.onnx import load_onnx
from utvm.graph import DType
from utvm.graph.reference import evaluate
from utvm.passes import prepare_float

RNG = np.random.default_rng(0)
FACTORS = {"g": RNG.uniform(0.5, 2, 8).astype(np.float32), "b": RNG.normal(size=8).astype(np.float32)}


def test_a_norm_between_layers() -> None:
    """The norm is centred in float32, the sum before it is not; two layers read it."""
    constants = {**FACTORS, **{name: RNG.normal(size=(8, 8)).astype(np.float32) for name in "acd"}}
    nodes = [
        *(node("MatMul", ["x", "a"], ["1"]), node("Add", ["1", "x"], ["2"])),
        *(node("LayerNormalization", ["2", "g", "b"], ["3"]), node("MatMul", ["3", "c"], ["4"])),
        *(node("MatMul", ["3", "d"], ["5"]), node("Add", ["4", "5"], ["y"])),
    ]
    made = model(nodes, (1, 5, 8), constants)
    x = RNG.normal(size=(30, 1, 5, 8)).astype(np.float32)
    net = load_onnx(made.SerializeToString(), name="norm")
    np.testing.assert_allclose(evaluate(prepare_float(net).graph, [x[0]])["y"], expected(made, x[0]), atol=1e-4)
    quantised = utvm.quantize(net, x)
    kinds = [(op.kind, op.outputs[0].dtype) for op in quantised.graph.operators]
    assert ("Sub", DType.FLOAT32) in kinds
    assert [kind for kind, dtype in kinds if dtype is DType.INT8 and kind in ("Add", "Mul")] == ["Add", "Add"]
    assert quantised.report.judgement.snr > 30


def test_factors_before_a_convolution() -> None:
    """What is padded keeps its amount, and makes one depthwise layer."""
    constants = {name: values.reshape(1, 8, 1, 1) for name, values in FACTORS.items()}
    constants["w"] = RNG.normal(size=(4, 8, 3, 3)).astype(np.float32)
    for pads, layers in ((0, ["Conv2D"]), (1, ["DepthwiseConv2D", "Conv2D"])):
        nodes = [
            *(node("Relu", ["x"], ["1"]), node("Mul", ["1", "g"], ["2"]), node("Add", ["2", "b"], ["3"])),
            node("Conv", ["3", "w"], ["y"], pads=[pads] * 4),
        ]
        made = model(nodes, (1, 8, 6, 6), constants)
        prepared = prepare_float(load_onnx(made.SerializeToString()))
        assert [op.kind for op in prepared.graph.operators] == ["Relu", *layers]
        x = RNG.normal(size=(1, 8, 6, 6)).astype(np.float32)
        got = evaluate(prepared.graph, [x.transpose(0, 2, 3, 1)])["y"]
        np.testing.assert_allclose(got.transpose(0, 3, 1, 2), expected(made, x), rtol=1e-4, atol=1e-3)
