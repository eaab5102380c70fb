"""Which tensors must share their scale, since an operator between them moves values without arithmetic."""

from __future__ import annotations

from utvm.graph import (
    AveragePool2D,
    BatchToSpace,
    Concatenation,
    Elementwise,
    Graph,
    MaxPool2D,
    Operator,
    Pad,
    Reduction,
    Relu6,
    Reshape,
    ResizeBilinear,
    ResizeNearestNeighbor,
    SpaceToBatch,
    Split,
    StridedSlice,
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
SHARING_NAMES = frozenset(("Maximum", "Minimum", "BroadcastTo", "ReduceMax", "ReduceMin"))
"""Functions and reducers of which the same is true."""


def shares_units(op: Operator | None) -> bool:
    """Whether an operator moves or picks values without arithmetic, so that all its tensors have one scale."""
    if isinstance(op, Elementwise | Reduction):
        return op.kind in SHARING_NAMES
    return isinstance(op, SHARING)


def sharing_groups(graph: Graph) -> dict[Tensor, Tensor]:
    """Return for each activation the tensor that stands for all that share its scale."""
    parent: dict[Tensor, Tensor] = {t: t for t in graph.tensors}

    def root(tensor: Tensor) -> Tensor:
        while parent[tensor] is not tensor:
            parent[tensor] = parent[parent[tensor]]
            tensor = parent[tensor]
        return tensor

    for op in graph.operators:
        if shares_units(op):
            first = root(op.outputs[0])
            for tensor in (*op.inputs, *op.outputs):
                parent[root(tensor)] = first
    shared = {t for op in graph.operators if shares_units(op) for t in op.inputs}
    return {t: root(t) for t in graph.tensors if not t.is_constant or t in shared}
