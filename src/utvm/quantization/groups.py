"""Which tensors must share their scale, since an operator between them moves values without arithmetic."""

from __future__ import annotations

from collections.abc import Mapping

from utvm.graph import (
    AveragePool2D,
    BatchToSpace,
    Concatenation,
    Graph,
    Logistic,
    MaxPool2D,
    Operator,
    Pad,
    Quantization,
    Relu6,
    Reshape,
    ResizeBilinear,
    ResizeNearestNeighbor,
    Softmax,
    SpaceToBatch,
    Split,
    StridedSlice,
    Tanh,
    Tensor,
    Transpose,
)

SHARING = (
    AveragePool2D,
    BatchToSpace,
    Concatenation,
    MaxPool2D,
    Pad,
    Relu6,
    Reshape,
    ResizeBilinear,
    ResizeNearestNeighbor,
    SpaceToBatch,
    Split,
    StridedSlice,
    Transpose,
)
"""Operators whose inputs and outputs have one scale in TFLite."""

FIXED: Mapping[type[Operator], Quantization] = {
    Softmax: Quantization.per_tensor(1 / 256, -128),
    Logistic: Quantization.per_tensor(1 / 256, -128),
    Tanh: Quantization.per_tensor(1 / 128, 0),
}
"""Operators whose result has a scale that TFLite prescribes."""


def sharing_groups(graph: Graph) -> dict[Tensor, Tensor]:
    """Return for each activation the tensor that stands for all that share its scale."""
    parent: dict[Tensor, Tensor] = {t: t for t in graph.tensors}

    def root(tensor: Tensor) -> Tensor:
        while parent[tensor] is not tensor:
            parent[tensor] = parent[parent[tensor]]
            tensor = parent[tensor]
        return tensor

    for op in graph.operators:
        if isinstance(op, SHARING):
            first = root(op.outputs[0])
            for tensor in (*op.inputs, *op.outputs):
                parent[root(tensor)] = first
    return {t: root(t) for t in graph.tensors if not t.is_constant or any(t in op.inputs for op in _sharing(graph))}


def _sharing(graph: Graph) -> list[Operator]:
    return [op for op in graph.operators if isinstance(op, SHARING)]
