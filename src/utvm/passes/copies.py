"""Remove operators that pass their input on as it is, and Reshapes whose reader sees flat memory anyway."""

from __future__ import annotations

import dataclasses

import numpy as np

from utvm.graph import (
    Add,
    AveragePool2D,
    Concatenation,
    FullyConnected,
    Graph,
    LeakyRelu,
    MaxPool2D,
    Mul,
    Operator,
    Pad,
    Quantize,
    Relu,
    Relu6,
    Reshape,
    ResizeBilinear,
    ResizeNearestNeighbor,
    Split,
    StridedSlice,
    Sub,
    Tensor,
    Transpose,
)
from utvm.passes._edit import INT8_VALUES, bypass, is_int8, same_units, table, value_range
from utvm.passes.views import moves_nothing


def remove_copies(graph: Graph) -> Graph:
    """Return the graph without identities: their readers read the source, which has the same shape and units.

    Identities are a Reshape, Transpose, StridedSlice, Pad or Resize that changes nothing, a Concatenation
    of one, a Split into one, a 1x1 pool of stride 1, and a Quantize, Relu, Relu6, LeakyRelu or an Add, Sub
    or Mul of one constant number that returns every value that its input can have. Operators between a
    graph input and a graph output stay. A FullyConnected reads rows of flat memory, so it reads through a
    Reshape.

    Every other Reshape stays: consumers rely on its shape, and lowering makes it an alias of its source.
    """
    graph = _read_through_reshapes(graph)
    while (smaller := _without_first_copy(graph)) is not None:
        graph = smaller
    return graph


def _read_through_reshapes(graph: Graph) -> Graph:
    operators: list[Operator] = []
    for op in graph.operators:
        if isinstance(op, FullyConnected):
            source = graph.producers.get(op.x)
            while isinstance(source, Reshape) and same_units(source.x, op.x):
                op = dataclasses.replace(op, x=source.x)
                source = graph.producers.get(op.x)
        operators.append(op)
    unchanged = all(a is b for a, b in zip(operators, graph.operators, strict=True))
    return graph if unchanged else graph.rewrite(operators)


def _without_first_copy(graph: Graph) -> Graph | None:
    for op in graph.operators:
        source = _source(graph, op)
        if source is None or source.shape != op.outputs[0].shape or not same_units(source, op.outputs[0]):
            continue
        smaller = bypass(graph, op, source, op.outputs[0])
        if smaller is not None:
            return smaller
    return None


def _source(graph: Graph, op: Operator) -> Tensor | None:
    """Return the input whose elements `op` passes on in their order, if its result has that input's shape."""
    match op:
        case Reshape() | ResizeNearestNeighbor() | ResizeBilinear():
            return op.x
        case Transpose():
            return op.x if moves_nothing(op) else None
        case StridedSlice():
            return op.x if all(stride == 1 for stride in op.strides) else None
        case Pad():
            return op.x if not any(map(any, op.paddings)) else None
        case Concatenation():
            return op.xs[0] if len(op.xs) == 1 else None
        case Split():
            return op.x if len(op.ys) == 1 else None
        case MaxPool2D() | AveragePool2D():
            single = op.filter == (1, 1) == op.stride and not op.padding.any
            return op.x if single and _clamps_nothing(graph, op) else None
        case Quantize() | Relu() | Relu6() | LeakyRelu():
            return op.x if is_int8(op.x) and _is_identity(graph, op, op.x, "x") else None
        case Add() | Sub() | Mul():
            return _kept_operand(graph, op)
        case _:
            return None


def _clamps_nothing(graph: Graph, op: MaxPool2D | AveragePool2D) -> bool:
    low, high = value_range(graph, op.x)
    return op.clamp[0] <= low and high <= op.clamp[1]


def _kept_operand(graph: Graph, op: Add | Sub | Mul) -> Tensor | None:
    for field, kept, other in (("a", op.a, op.b), ("b", op.b, op.a)):
        if kept.is_constant or not other.is_constant or not is_int8(kept):
            continue
        if other.elements and (other.values == other.values.flat[0]).all():
            number = dataclasses.replace(other, shape=(1,), data=other.values.reshape(-1)[:1].copy())
            if _is_identity(graph, op.with_tensors({other: number}), kept, field):
                return kept
    return None


def _is_identity(graph: Graph, op: Operator, x: Tensor, field: str) -> bool:
    if not same_units(x, op.outputs[0]):
        return False
    low, high = value_range(graph, x)
    possible = slice(int(low) + 128, int(high) + 129)
    return np.array_equal(table(op, field)[possible], INT8_VALUES[possible])
