"""What lowerings of one graph under different budgets share, so that the tenth budget costs less than the first."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable
from typing import Any

from utvm.graph import Graph, Operator, Tensor
from utvm.lowering.patches import STRIPE, Stripes
from utvm.lowering.select import Candidate


class Explored:
    """Candidates and stripes that were worked out. Core, families, choices and measurements are always the same.

    Attributes:
        lowerings: how many combinations of kernels were searched, of the graph or of one in stripes.
    """

    def __init__(self) -> None:
        self.lowerings = 0
        self._candidates: dict[Hashable, list[Candidate]] = {}
        self._stripes: dict[Graph, Stripes] = {}

    def candidates(self, op: Operator, work_out: Callable[[], list[Candidate]]) -> list[Candidate]:
        """Return the candidates of an operator: those of another stripe of the same layer, where there was one."""
        key = _content(op)
        if key not in self._candidates:
            self._candidates[key] = work_out()
        return self._candidates[key]

    def stripes(self, graph: Graph) -> Stripes:
        """Return the ways to compute the first layers of a graph in stripes."""
        return self._stripes.setdefault(graph, Stripes(graph))


def _content(op: Operator) -> Hashable:
    """Return a layer's name and all that its kernels depend on: activations by their likes, constants themselves."""
    values = (getattr(op, field.name) for field in dataclasses.fields(op) if field.name != "name")
    activations = op.activations
    layer = op.name.partition(STRIPE)[0]
    return type(op), layer, tuple(map(_like, values)), tuple(activations.index(tensor) for tensor in activations)


def _like(value: Any) -> Hashable:
    if isinstance(value, Tensor):
        return value if value.is_constant else (value.shape, value.dtype, value.quant)
    if isinstance(value, tuple):
        return tuple(map(_like, value))
    hashable: Hashable = value
    return hashable
