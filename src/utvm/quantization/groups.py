"""Which tensors share their scale: an operator between them moves values, or they are one value of several steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Iterator

from utvm.graph import (
    AveragePool2D,
    BatchToSpace,
    Concatenation,
    DType,
    Elementwise,
    Gather,
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
    Weighted,
)

SHARING = (
    AveragePool2D,
    BatchToSpace,
    Concatenation,
    Gather,
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
    """Return for each activation the tensor that stands for all that share its scale.

    Steps of a loop that is written out do so too: one kernel then serves all of them.
    """
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
                if tensor.dtype is first.dtype:
                    parent[root(tensor)] = first
    for one, other in _steps(graph, root):
        parent[root(other)] = root(one)
    shared = {t for op in graph.operators if shares_units(op) for t in op.inputs}
    return {t: root(t) for t in graph.tensors if t.dtype is DType.FLOAT32 and (not t.is_constant or t in shared)}


def _steps(graph: Graph, root: Callable[[Tensor], Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield pairs of tensors that are one value of two steps.

    Layers that read the same weights are two steps, and so are equal operators on values that are so already.
    """
    shared: dict[Hashable, Operator] = {}
    for op in graph.operators:
        if isinstance(op, Weighted) and not op.x.is_constant:
            first = shared.setdefault((op.weights, op.bias, op.x.shape, *_attributes(op)), op)
            if first is not op and isinstance(first, Weighted):
                yield first.x, op.x
                yield first.y, op.y
    known: dict[Hashable, Operator] = {}
    for op in graph.operators:
        given = tuple((t if t.is_constant else root(t), t.shape) for t in op.inputs)
        first = known.setdefault((given, *_attributes(op)), op)
        if first is not op and any(not t.is_constant for t in op.inputs):
            yield from zip(first.outputs, op.outputs, strict=True)


def _attributes(op: Operator) -> tuple[Hashable, ...]:
    """Return an operator's kind, its attributes, and the shapes of its outputs."""
    apart = {"name", *op.input_fields, *op.output_fields}
    attributes = (getattr(op, f.name) for f in dataclasses.fields(op) if f.name not in apart)
    return (type(op), *attributes, *(y.shape for y in op.outputs))
