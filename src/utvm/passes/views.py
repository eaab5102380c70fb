"""Merge chains of Transposes and of Reshapes; make Transposes that move nothing Reshapes, and some Gathers slices."""

from __future__ import annotations

import dataclasses

import numpy as np

from utvm.graph import Gather, Graph, Operator, Reshape, StridedSlice, Tensor, Transpose
from utvm.passes._edit import same_units


def merge_views(graph: Graph) -> Graph:
    """Return the graph in which no Transpose reads a Transpose and no Reshape a Reshape.

    The first of a pair stays where something else reads it. A Transpose that keeps the order of all
    dimensions larger than 1 moves no element: it becomes a Reshape, which costs nothing. A Gather of constant places
    at equal steps becomes a slice.
    """
    made: dict[Tensor, Operator] = {}
    operators: list[Operator] = []
    for old in graph.operators:
        op = _simpler(old)
        first = made.get(op.x) if isinstance(op, Reshape | Transpose) else None
        if isinstance(op, Reshape) and isinstance(first, Reshape) and same_units(first.x, op.x):
            op = dataclasses.replace(op, x=first.x)
        elif isinstance(op, Transpose) and isinstance(first, Transpose) and same_units(first.x, op.x):
            op = dataclasses.replace(op, x=first.x, perm=tuple(first.perm[i] for i in op.perm))
        made.update(dict.fromkeys(op.outputs, op))
        operators.append(op)
    unchanged = all(a is b for a, b in zip(operators, graph.operators, strict=True))
    return graph if unchanged else graph.rewrite(operators)


def moves_nothing(op: Transpose) -> bool:
    """Whether the elements keep their order in memory."""
    moved = [i for i in op.perm if op.x.shape[i] != 1]
    return moved == sorted(moved)


def _simpler(op: Operator) -> Operator:
    if isinstance(op, Transpose) and moves_nothing(op):
        return _as_reshape(op)
    return _as_slice(op) or op if isinstance(op, Gather) else op


def _as_slice(op: Gather) -> StridedSlice | None:
    """Return the slice that a gathering is; None where its places are not constants at equal steps."""
    if not op.indices.is_constant or op.batch_dims or len(op.indices.shape) > 1:
        return None
    places = op.indices.values.reshape(-1).astype(np.int64)
    steps = np.unique(np.diff(places))
    if len(steps) > 1 or 0 in steps:
        return None
    rank = len(op.x.shape)
    return StridedSlice(
        name=op.name,
        x=op.x,
        y=op.y,
        begin=tuple(int(places[0]) if d == op.axis else 0 for d in range(rank)),
        strides=tuple(int(steps[0]) if d == op.axis and len(steps) else 1 for d in range(rank)),
        shrink=() if op.indices.shape else (op.axis,),
    )


def _as_reshape(op: Transpose) -> Reshape:
    return Reshape(name=op.name, x=op.x, y=op.y)
