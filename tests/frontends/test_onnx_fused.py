"""Operators that onnxruntime saves of models that it optimised: each is what it was made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.onnx_files import model, node
from utvm.frontends import FrontendError
from utvm.frontends.onnx import load_onnx
from utvm.graph.reference import evaluate

RNG = np.random.default_rng(0)
IMAGE, MATRIX, STACK = (1, 3, 5, 4), (2, 6), (2, 3, 6)


def fused(kind: str, inputs: list[str], **attributes: Any) -> list[Any]:
    """Return one node of onnxruntime's domain."""
    return [node(kind, inputs, ["y"], domain="com.microsoft", **attributes)]


def followed(first: Any, kind: str, *more: str, **attributes: Any) -> list[Any]:
    """Return a node that makes `m`, and one that makes `y` of it."""
    return [first, node(kind, ["m", *more], ["y"], **attributes)]


@pytest.mark.parametrize(
    ("one", "several", "shape"),
    [
        (
            fused("FusedConv", ["x", "k", "b"], activation="Relu", pads=[1, 1, 1, 1]),
            followed(node("Conv", ["x", "k", "b"], ["m"], pads=[1, 1, 1, 1]), "Relu"),
            IMAGE,
        ),
        (
            fused("FusedConv", ["x", "k", "", "z"], activation="LeakyRelu", activation_params=[0.25]),
            [node("Conv", ["x", "k"], ["c"]), *followed(node("Add", ["c", "z"], ["m"]), "LeakyRelu", alpha=0.25)],
            IMAGE,
        ),
        (
            fused("FusedConv", ["x", "k"], activation="Clip", activation_params=[-0.5, 0.75]),
            followed(node("Conv", ["x", "k"], ["m"]), "Clip", "low", "high"),
            IMAGE,
        ),
        (
            fused("FusedGemm", ["x", "g", "v"], activation="HardSigmoid", activation_alpha=0.3, activation_beta=0.4),
            followed(node("Gemm", ["x", "g", "v"], ["m"]), "HardSigmoid", alpha=0.3, beta=0.4),
            MATRIX,
        ),
        (
            fused("FusedMatMul", ["x", "x"], transB=1, alpha=0.5),
            [
                node("Transpose", ["x"], ["t"], perm=[0, 2, 1]),
                *followed(node("MatMul", ["x", "t"], ["m"]), "Mul", "half"),
            ],
            STACK,
        ),
        (
            fused("FusedMatMul", ["x", "g"], alpha=0.5),
            followed(node("MatMul", ["x", "g"], ["m"]), "Mul", "half"),
            STACK,
        ),
        (fused("BiasGelu", ["x", "six"]), followed(node("Add", ["x", "six"], ["m"]), "Gelu"), MATRIX),
        (fused("FastGelu", ["x"]), [node("Gelu", ["x"], ["y"], approximate="tanh")], MATRIX),
        (
            fused("QuickGelu", ["x"], alpha=1.5),
            [
                node("Mul", ["x", "more"], ["a"]),
                node("Sigmoid", ["a"], ["s"]),
                node("Mul", ["x", "s"], ["y"]),
            ],
            MATRIX,
        ),
        (
            fused("SkipLayerNormalization", ["x", "g", "six", "six"], epsilon=1e-5),
            followed(node("Add", ["x", "g"], ["m"]), "LayerNormalization", "six", "six"),
            (6, 6),
        ),
    ],
    ids=lambda value: value[0].op_type if isinstance(value, list) else "",
)
def test_one_operator_is_what_it_was_made_of(one: list[Any], several: list[Any], shape: tuple[int, ...]) -> None:
    constants = {
        "k": RNG.standard_normal((2, 3, 3, 3)),
        "b": RNG.standard_normal(2),
        "z": RNG.standard_normal((1, 2, 3, 2)),
        "g": RNG.standard_normal((6, 6)),
        "v": RNG.standard_normal((2, 6)),
        "six": RNG.standard_normal(6),
        **{"low": -0.5, "high": 0.75, "half": 0.5, "more": 1.5},
    }
    stored = {name: np.float32(value) for name, value in constants.items()}
    x = RNG.standard_normal(shape).astype(np.float32)
    got, wanted = (
        evaluate(load_onnx(model(nodes, shape, stored, opset=20).SerializeToString(), name="net"), [x])["y"]
        for nodes in (one, several)
    )
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_layouts_of_one_machine_are_refused_with_what_to_do() -> None:
    made = model([node("Conv", ["x", "x"], ["y"], domain="com.microsoft.nchwc")], IMAGE)
    with pytest.raises(FrontendError, match="ORT_ENABLE_EXTENDED"):
        load_onnx(made.SerializeToString())
