"""ONNX files written by hand: a few nodes, their constants, one input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="ONNX files need the extra 'onnx'")


def node(kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> Any:
    """Return a node."""
    return onnx.helper.make_node(kind, inputs, outputs, **attributes)


def model(
    nodes: Sequence[Any],
    shape: Sequence[int | str],
    constants: Mapping[str, np.ndarray[Any, Any]] | None = None,
    *,
    opset: int = 17,
) -> Any:
    """Return a model with the input `x` of `shape` and the output `y`."""
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        list(nodes),
        "made",
        [value("x", onnx.TensorProto.FLOAT, list(shape))],
        [value("y", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])


def expected(made: Any, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return what the onnx package's own evaluator makes of an input."""
    from onnx.reference import ReferenceEvaluator

    return np.asarray(ReferenceEvaluator(made).run(None, {"x": x})[0])


def convnet(seed: int = 0) -> Any:
    """Return a small network with what PyTorch exports: padding of 1, batch normalisation, a residual, a flatten."""
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> np.ndarray[Any, Any]:
        return (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]) or 1)).astype(np.float32)

    constants = {
        "mean": np.full((1, 3, 1, 1), 0.5, np.float32),
        "w1": draw(8, 3, 3, 3),
        "w2": draw(8, 1, 3, 3),
        "w3": draw(8, 8, 1, 1),
        "w4": draw(5, 8 * 4 * 3),
        "b4": draw(5),
        "scale": (1 + 0.1 * rng.standard_normal(8)).astype(np.float32),
        "shift": draw(8, 1).reshape(8),
        "seen_mean": draw(8, 1).reshape(8) * 0.1,
        "seen_variance": rng.uniform(0.5, 2, 8).astype(np.float32),
    }
    nodes = [
        node("Sub", ["x", "mean"], ["centred"]),
        node("Conv", ["centred", "w1"], ["c1"], pads=[1, 1, 1, 1], strides=[2, 2]),
        node("BatchNormalization", ["c1", "scale", "shift", "seen_mean", "seen_variance"], ["n1"]),
        node("Relu", ["n1"], ["r1"]),
        node("Conv", ["r1", "w2"], ["c2"], pads=[1, 1, 1, 1], group=8),
        node("Clip", ["c2", "zero", "six"], ["r2"]),
        node("Conv", ["r2", "w3"], ["c3"]),
        node("Add", ["c3", "r1"], ["sum"]),
        node("MaxPool", ["sum"], ["p"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Relu", ["p"], ["r3"]),
        node("Flatten", ["r3"], ["flat"]),
        node("Gemm", ["flat", "w4", "b4"], ["y"], transB=1),
    ]
    constants |= {"zero": np.array(0, np.float32), "six": np.array(6, np.float32)}
    return model(nodes, [1, 3, 16, 12], constants)
