"""Merge chains of Transposes and of Reshapes, and make Transposes that move nothing into Reshapes."""

from __future__ import annotations

import dataclasses

from utvm.graph import Graph, Operator, Reshape, Tensor, Transpose
from utvm.passes._edit import same_units


def merge_views(graph: Graph) -> Graph:
    """Return the graph in which no Transpose reads a Transpose and no Reshape a Reshape.

    The first of a pair stays where something else reads it. A Transpose that keeps the order of all
    dimensions larger than 1 moves no element: it becomes a Reshape, which costs nothing.
    """
    made: dict[Tensor, Operator] = {}
    operators: list[Operator] = []
    for old in graph.operators:
        op = _as_reshape(old) if isinstance(old, Transpose) and moves_nothing(old) else old
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


def _as_reshape(op: Transpose) -> Reshape:
    return Reshape(name=op.name, x=op.x, y=op.y)
