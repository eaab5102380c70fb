"""Inputs of floats that a network casts to integers become inputs of integers: identifiers stay exact."""

from __future__ import annotations

import dataclasses

import numpy as np

from utvm.graph import DType, Elementwise, Graph, Operator, Tensor
from utvm.passes.dead_operators import remove_dead_operators

_COMPARISONS = frozenset(("Equal", "NotEqual", "Less", "LessEqual", "Greater", "GreaterEqual"))


def integer_inputs(graph: Graph) -> Graph:
    """Return a graph that takes int32 where it cast floats to int32 at once, as Keras' embeddings do.

    Results stay the same for whole numbers. Besides the casts only comparisons with whole numbers may read such an
    input, as a mask does.
    """
    changed: dict[Tensor, Tensor] = {}
    gone: set[Operator] = set()
    for tensor in graph.inputs:
        readers = graph.consumers.get(tensor, ())
        casts = [op for op in readers if _is_cast(op)]
        others = [op for op in readers if op not in casts]
        given_out = {tensor, *(op.outputs[0] for op in casts)} & set(graph.outputs)
        if tensor.dtype is not DType.FLOAT32 or not casts or given_out or not all(map(_compares, others)):
            continue
        whole = dataclasses.replace(tensor, dtype=DType.INT32)
        changed |= {tensor: whole} | {op.outputs[0]: whole for op in casts}
        changed |= {t: _as_integers(t) for op in others for t in op.inputs if t.is_constant}
        gone.update(casts)
    if not changed:
        return graph
    inputs = tuple(changed.get(t, t) for t in graph.inputs)
    operators = tuple(_changed(op, changed) for op in graph.operators if op not in gone)
    return Graph(name=graph.name, operators=operators, inputs=inputs, outputs=graph.outputs)


def _changed(op: Operator, changed: dict[Tensor, Tensor]) -> Operator:
    # Other readers keep a constant's floats.
    mine = {t: new for t, new in changed.items() if not t.is_constant or any(o in changed for o in _activations(op))}
    return op.with_tensors(mine)


def _activations(op: Operator) -> tuple[Tensor, ...]:
    return tuple(t for t in op.inputs if not t.is_constant)


def _is_cast(op: Operator) -> bool:
    return isinstance(op, Elementwise) and op.kind == "Cast" and op.y.dtype is DType.INT32


def _compares(op: Operator) -> bool:
    """Whether an operator compares an activation with a constant of whole numbers."""
    if op.kind not in _COMPARISONS or len(_activations(op)) != 1:
        return False
    constants = [t.values for t in op.inputs if t.is_constant]
    return all((values == np.rint(values)).all() and (np.abs(values) < 2**24).all() for values in constants)


def _as_integers(constant: Tensor) -> Tensor:
    name = f"{constant.name}/integers"
    return dataclasses.replace(constant, name=name, dtype=DType.INT32, data=constant.values.astype(np.int32))


def plain_identifiers(graph: Graph) -> Graph:
    """Return a graph that takes identifiers as they are, where it counted negative ones from a table's end.

    Keras writes so. Identifiers are rows from 0 on here, and tflite-micro has no choice among int32.
    """
    changed: dict[Tensor, Tensor] = {}
    for op in graph.operators:
        if isinstance(op, Elementwise) and op.kind == "Select" and op.y.dtype is DType.INT32:
            condition, moved, x = op.xs
            below, sum_of = graph.producers.get(condition), graph.producers.get(moved)
            if _is_below_zero(below, x) and isinstance(sum_of, Elementwise) and x in sum_of.xs:
                changed[op.y] = changed.get(x, x)
    if not changed or any(t in changed for t in graph.outputs):
        return graph
    operators = tuple(op.with_tensors(changed) for op in graph.operators if op.outputs[0] not in changed)
    return remove_dead_operators(
        Graph(name=graph.name, operators=operators, inputs=graph.inputs, outputs=graph.outputs)
    )


def _is_below_zero(op: Operator | None, x: Tensor) -> bool:
    if not isinstance(op, Elementwise) or op.kind != "Less" or op.xs[0] is not x:
        return False
    return op.xs[1].is_constant and not op.xs[1].values.any()
