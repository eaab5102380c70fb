"""Operators that are one choice: steps of a loop that is written out, and layers that read the same weights."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from utvm.graph import Graph, Operator, Tensor, Weighted
from utvm.quantization.groups import attributes_of, sharing_groups

Together = tuple[Operator, ...]


def chosen_together(graph: Graph, operators: Sequence[Operator]) -> list[Together]:
    """Return operators in the order given, those together that are one operator of several steps.

    Such operators have the same attributes, and tensors that share their scales or are the same.
    """
    roots = sharing_groups(graph)
    found: dict[Hashable, list[Operator]] = {}
    for op in operators:
        found.setdefault(_key(op, roots), []).append(op)
    return [tuple(each) for each in found.values()]


def _key(op: Operator, roots: Mapping[Tensor, Tensor]) -> Hashable:
    if isinstance(op, Weighted):
        return type(op), op.weights, op.bias
    return (*attributes_of(op), *(roots.get(t, t) for t in (*op.inputs, *op.outputs)))
