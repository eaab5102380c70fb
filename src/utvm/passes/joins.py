"""Joined tensors: slices read the part that they are of, and a join of joins is one."""

from __future__ import annotations

import dataclasses
from math import prod

from utvm.graph import Concatenation, Graph, Operator, Reshape, StridedSlice, Tensor
from utvm.passes._edit import same_units
from utvm.passes.dead_operators import remove_dead_operators


def read_parts(graph: Graph) -> Graph:
    """Return the graph with slices of a Concatenation that lie in one of its parts reading that part alone.

    The last state of a loop is such a slice: the other steps are not joined first.
    """
    operators = [_of_part(op, graph) if isinstance(op, StridedSlice) else op for op in graph.operators]
    if all(a is b for a, b in zip(operators, graph.operators, strict=True)):
        return graph
    return remove_dead_operators(graph.rewrite(operators))


def _of_part(op: StridedSlice, graph: Graph) -> Operator:
    join = graph.producers.get(op.x)
    if not isinstance(join, Concatenation):
        return _whole_part(op, graph)
    axis, step = join.axis, op.strides[join.axis]
    ends = op.begin[axis], op.begin[axis] + (op.extents[axis] - 1) * step
    start = 0
    for part in join.xs:
        size = part.shape[axis]
        if start <= min(ends) and max(ends) < start + size and same_units(part, op.x):
            begin = (*op.begin[:axis], op.begin[axis] - start, *op.begin[axis + 1 :])
            return dataclasses.replace(op, x=part, begin=begin)
        start += size
    return op


def _whole_part(op: StridedSlice, graph: Graph) -> Operator:
    """Return a Reshape of the part that a slice of a reshaped join is, the slice where it is none."""
    source: Operator | None = graph.producers.get(op.x)
    while isinstance(source, Reshape):
        source = graph.producers.get(source.x)
    start = _flat_start(op)
    if not isinstance(source, Concatenation) or prod(source.y.shape[: source.axis]) != 1 or start is None:
        return op
    place = 0
    for part in source.xs:
        if (place, part.elements) == (start, op.y.elements) and same_units(part, op.y):
            return Reshape(name=op.name, x=part, y=op.y)
        place += part.elements
    return op


def _flat_start(op: StridedSlice) -> int | None:
    """Return where the elements of a slice begin in flat memory, None where they do not lie one after the other."""
    cut = next((d for d, size in enumerate(op.x.shape) if op.extents[d] != size), None)
    if cut is None or any(op.x.shape[d] != 1 for d in range(cut)) or any(step != 1 for step in op.strides):
        return None
    return op.begin[cut] * prod(op.x.shape[cut + 1 :])


def merge_joins(graph: Graph) -> Graph:
    """Return the graph with each Concatenation of Concatenations along the same dimension as one.

    Files have them where tflite-micro takes no more than ten parts at once.
    """
    changed: dict[Operator, Operator] = {}
    gone: set[Operator] = set()
    for op in graph.operators:
        if isinstance(op, Concatenation):
            parts: list[Tensor] = []
            for x in op.xs:
                inner = graph.producers.get(x)
                inner = changed.get(inner, inner) if inner is not None else None
                if isinstance(inner, Concatenation) and inner.axis == op.axis and _alone(graph, x, op):
                    parts += inner.xs
                    gone.add(graph.producers[x])
                else:
                    parts.append(x)
            if len(parts) > len(op.xs):
                changed[op] = dataclasses.replace(op, xs=tuple(parts))
    if not changed:
        return graph
    return graph.rewrite(changed.get(op, op) for op in graph.operators if op not in gone)


def _alone(graph: Graph, x: Tensor, op: Concatenation) -> bool:
    """Whether one operator alone reads a tensor, once, in the units of its result."""
    readers = graph.consumers.get(x, ())
    return x not in graph.kept and readers == (op,) and op.xs.count(x) == 1 and same_units(x, op.y)
