"""Which tensors share their scale: an operator between them moves values, or they are one value of several steps."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from itertools import chain
from weakref import WeakKeyDictionary

from utvm.graph import (
    AveragePool2D,
    BatchToSpace,
    Concatenation,
    DType,
    Elementwise,
    Gather,
    GatherNd,
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
    GatherNd,
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


class _Classes:
    """Tensors that are one; a class is a tree, whose root stands for it."""

    def __init__(self, graph: Graph) -> None:
        self._parent: dict[Tensor, Tensor] = {t: t for t in graph.tensors}
        self._sizes: dict[Tensor, int] = dict.fromkeys(graph.tensors, 1)

    def root(self, tensor: Tensor) -> Tensor:
        """Return what stands for the class of a tensor."""
        while self._parent[tensor] is not tensor:
            self._parent[tensor] = self._parent[self._parent[tensor]]
            tensor = self._parent[tensor]
        return tensor

    def size(self, tensor: Tensor) -> int:
        """Return how many tensors a class has."""
        return self._sizes[self.root(tensor)]

    def join(self, one: Tensor, other: Tensor) -> bool:
        """Make two classes one, the first's root its root; return whether they were two."""
        first, second = self.root(one), self.root(other)
        if first is second:
            return False
        self._parent[second] = first
        self._sizes[first] += self._sizes[second]
        return True


_known: WeakKeyDictionary[Graph, Mapping[Tensor, Tensor]] = WeakKeyDictionary()
"""Graph → its sharing groups, which a quantisation asks for several times."""


def sharing_groups(graph: Graph) -> Mapping[Tensor, Tensor]:
    """Return for each activation the tensor that stands for all that share its scale.

    Steps of a loop that is written out do so too: one kernel then serves all of them.
    """
    if graph not in _known:
        _known[graph] = _sharing_groups(graph)
    return _known[graph]


def _sharing_groups(graph: Graph) -> Mapping[Tensor, Tensor]:
    classes, twins = _Classes(graph), _Classes(graph)
    for op in graph.operators:
        if shares_units(op):
            first = op.outputs[0]
            for tensor in (*op.inputs, *op.outputs):
                if tensor.dtype is first.dtype:
                    classes.join(first, tensor)
    changed = True
    while changed:
        changed = False
        for one, other in chain(_layers(graph), _equal(graph, classes), _carried(graph, twins)):
            twins.join(one, other)
            changed |= classes.join(one, other)
    shared = {t for op in graph.operators if shares_units(op) for t in op.inputs}
    known = (t for t in graph.tensors if t.dtype is DType.FLOAT32 and (not t.is_constant or t in shared))
    return {t: classes.root(t) for t in known}


def _layers(graph: Graph) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield what is one value of two steps: inputs and outputs of layers that read the same weights."""
    known: dict[Hashable, Operator] = {}
    for op in graph.operators:
        if isinstance(op, Weighted) and not op.x.is_constant:
            first = known.setdefault((op.weights, op.bias, op.x.shape, *attributes_of(op)), op)
            if first is not op and isinstance(first, Weighted):
                yield first.x, op.x
                yield first.y, op.y


def _equal(graph: Graph, classes: _Classes) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield results of equal operators on values that are one already."""
    known: dict[Hashable, Operator] = {}
    for op in graph.operators:
        given = tuple((t if t.is_constant else classes.root(t), t.shape) for t in op.inputs)
        first = known.setdefault((given, *attributes_of(op)), op)
        if first is not op and any(not t.is_constant for t in op.inputs):
            yield from zip(first.outputs, op.outputs, strict=True)


def _carried(graph: Graph, twins: _Classes) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield operands and results of equal operators that read, at the same place, one value of two steps.

    The other operands are then what goes from step to step, as the cell state of an LSTM.
    """
    known: dict[Hashable, Operator] = {}
    readers: Counter[Hashable] = Counter()
    for op in graph.operators:
        activations = [t for t in op.inputs if not t.is_constant]
        if len(activations) < 2 or isinstance(op, Weighted):
            continue
        form = (*attributes_of(op), *((t.shape, t.is_constant) for t in op.inputs))
        for place, tensor in enumerate(op.inputs):
            if tensor.is_constant:
                continue
            reader = readers[tensor, place, form]
            readers[tensor, place, form] += 1
            if twins.size(tensor) == 1:
                continue
            first = known.setdefault((place, twins.root(tensor), reader, form), op)
            if first.inputs[place] is not tensor:
                pairs = zip((*first.inputs, *first.outputs), (*op.inputs, *op.outputs), strict=True)
                yield from ((a, b) for a, b in pairs if not a.is_constant)


def attributes_of(op: Operator) -> tuple[Hashable, ...]:
    """Return an operator's kind, its attributes, and the shapes of its outputs."""
    apart = {"name", *op.input_fields, *op.output_fields}
    attributes = (getattr(op, f.name) for f in dataclasses.fields(op) if f.name not in apart)
    return (type(op), *attributes, *(y.shape for y in op.outputs))
