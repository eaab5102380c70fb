"""ReLUs behind a maximum or a view move before it, where the layer that makes its input can take them over."""

from __future__ import annotations

import dataclasses

from utvm.graph import DType, Graph, MaxPool2D, Operator, Relu, Relu6, Reshape, Transpose

Passed = MaxPool2D | Reshape | Transpose


def early_activations(graph: Graph) -> Graph:
    """Return the float graph with each Relu and Relu6 before the maxima and views that it follows."""
    while (moved := _move_first(graph)) is not None:
        graph = moved
    return graph


def _move_first(graph: Graph) -> Graph | None:
    for op in graph.operators:
        if not isinstance(op, Relu | Relu6) or op.y.dtype is not DType.FLOAT32:
            continue
        before = graph.producers.get(op.x)
        if not isinstance(before, Passed) or op.x in graph.kept or graph.consumers[op.x] != (op,):
            continue
        if before.x not in graph.producers or len(graph.consumers[before.x]) != 1 or before.x in graph.kept:
            continue
        early = dataclasses.replace(op.x, shape=before.x.shape)
        swapped: dict[Operator, Operator] = {
            before: dataclasses.replace(op, x=before.x, y=early),
            op: dataclasses.replace(before, x=early, y=op.y),
        }
        return graph.rewrite(swapped.get(other, other) for other in graph.operators)
    return None
