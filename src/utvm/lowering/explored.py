"""What lowerings of one graph under different budgets share, so that the tenth budget costs less than the first."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from utvm.cores import Core
from utvm.graph import Graph, Operator, Tensor
from utvm.kernels import KernelFamily
from utvm.lowering.budget import MOST_PLANS
from utvm.lowering.patches import Stripes
from utvm.lowering.placement import MOST_PLACED, SEARCH_ROUNDS
from utvm.lowering.recalled import Recalled
from utvm.lowering.select import Candidate

_MOST_PLACED = 1_200_000
"""Requests that all plans for one question may place: 60 plans of 80 layers, which take seconds."""
_LEAST_PLANS = 3
"""Plans of each lowering behind that."""


class Explored:
    """Candidates and stripes that were worked out. Core, families, choices and measurements are always the same.

    Attributes:
        lowerings: how many combinations of kernels were searched, of the graph or of one in stripes.
    """

    def __init__(self) -> None:
        self.lowerings = 0
        self._placed = 0
        self._candidates: dict[Hashable, list[Candidate]] = {}
        self._recalled: list[Recalled] = []
        self._stripes: dict[Graph, Stripes] = {}

    def candidates(self, op: Operator, work_out: Callable[[], list[Candidate]]) -> list[Candidate]:
        """Return the candidates of an operator: those of an equal one, as a stripe or a step, where there was one."""
        key = contents(op)
        if key not in self._candidates:
            self._candidates[key] = work_out()
        return self._candidates[key]

    def recalled(self, op: Operator, core: Core, families: Sequence[KernelFamily]) -> Recalled:
        """Return what earlier compilations found out about an operator's kernels."""
        recalled = Recalled.of(op, core, families)
        self._recalled.append(recalled)
        return recalled

    def keep(self) -> None:
        """Keep what was found out for later compilations."""
        for recalled in self._recalled:
            recalled.keep()

    @property
    def exhausted(self) -> bool:
        """Whether as many memory plans were made as all lowerings together may make."""
        return self._placed >= _MOST_PLACED

    def most_plans(self, calls: int) -> int:
        """Return how many memory plans of so many calls the next lowering may make."""
        return min(MOST_PLANS, max((_MOST_PLACED - self._placed) // _placed_by_one(calls), _LEAST_PLANS))

    def note_plans(self, plans: int, calls: int) -> None:
        """Count memory plans of so many calls that a lowering made."""
        self._placed += plans * _placed_by_one(calls)

    def stripes(self, graph: Graph) -> Stripes:
        """Return the ways to compute the first layers of a graph in stripes."""
        return self._stripes.setdefault(graph, Stripes(graph))


def _placed_by_one(calls: int) -> int:
    """Return about the most requests that one plan places: one of the output of each call, one of its scratch."""
    return max(min(2 * calls * SEARCH_ROUNDS, MOST_PLACED), 1)


def contents(op: Operator) -> Hashable:
    """Return all that a layer's kernels depend on: activations by their likes, constants themselves."""
    values = (getattr(op, field.name) for field in dataclasses.fields(op) if field.name != "name")
    activations = op.activations
    return type(op), tuple(map(_like, values)), tuple(activations.index(tensor) for tensor in activations)


def _like(value: Any) -> Hashable:
    if isinstance(value, Tensor):
        return value if value.is_constant else (value.shape, value.dtype, value.quant)
    if isinstance(value, tuple):
        return tuple(map(_like, value))
    hashable: Hashable = value
    return hashable
