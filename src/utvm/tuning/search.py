"""Searches: each proposes candidates of one task and learns from what they cost. All know the whole space."""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Mapping

from utvm.tuning.space import FamilyConfig, Task

_GUESSED_GAIN = 0.05


class Search(ABC):
    """Proposes the candidates of a task, the analytic default first, each once.

    Args:
        task: what is tuned.
        estimates: cycles that families model, by key of candidate; may be incomplete.
        seed: of what is drawn.
    """

    name: str

    def __init__(self, task: Task, *, estimates: Mapping[str, float], seed: int = 0) -> None:
        self.task = task
        self.estimates = estimates
        self.random = random.Random(seed)
        self.left = {candidate.key: candidate for candidate in task.candidates}
        self.costs: dict[str, float | None] = {}

    def ask(self) -> FamilyConfig | None:
        """Return what to measure next, or None when all was proposed."""
        if not self.left:
            return None
        default = self.task.default.key
        key = default if default in self.left else self._next()
        return self.left.pop(key)

    def take(self, key: str) -> FamilyConfig | None:
        """Return a candidate as if `ask` had proposed it; None if it was proposed, or there is no such candidate."""
        return self.left.pop(key, None)

    def tell(self, candidate: FamilyConfig, cost: float | None) -> None:
        """Learn what a candidate costs; None is that it failed. It need not be one that was proposed."""
        self.left.pop(candidate.key, None)
        self.costs[candidate.key] = cost

    @property
    def best(self) -> float | None:
        """The fewest cycles so far."""
        return min((cost for cost in self.costs.values() if cost is not None), default=None)

    @property
    def default_cost(self) -> float | None:
        """The cycles of what is used without tuning, once they are known."""
        return self.costs.get(self.task.default.key)

    def expected_gain(self) -> float:
        """Return the cycles that the next trial is expected to save; infinite before the default is proposed.

        Without a model of costs: a new candidate is the best of n + 1 once in n + 1 times, and then saves what was
        typical so far.
        """
        if not self.left or self._waiting:
            return 0.0
        best, default = self.best, self.default_cost
        if best is None or default is None:
            return math.inf
        typical = max(_GUESSED_GAIN, 1 - best / default)
        return best * typical / (len(self.costs) + 1)

    @property
    def _waiting(self) -> bool:
        """Whether the default was proposed and its cost is not known yet."""
        return self.task.default.key not in self.left and self.task.default.key not in self.costs

    @abstractmethod
    def _next(self) -> str:
        """Return the key of one that is left; the default was proposed before."""


class ExhaustiveSearch(Search):
    """The whole space in its order."""

    name = "exhaustive"

    def _next(self) -> str:
        return next(iter(self.left))


class RandomSearch(Search):
    """The whole space in a drawn order."""

    name = "random"

    def _next(self) -> str:
        return self.random.choice(list(self.left))


class EstimateSearch(Search):
    """The fewest estimated cycles first. Families that estimate nothing come last: they are made to be general.

    How far estimates were off so far says what the next one may save: the expected improvement of a normal variable.
    """

    name = "estimate"
    _OFF_AT_FIRST = 0.03
    _LEAST_OFF = 0.003

    def _next(self) -> str:
        known = [key for key in self.left if key in self.estimates]
        return min(known, key=self.predicted) if known else next(iter(self.left))

    def expected_gain(self) -> float:
        """Return the most that any candidate that is left is expected to save."""
        best = self.best
        known = [key for key in self.left if key in self.estimates]
        if best is None or self.default_cost is None or not known or self._waiting:
            return super().expected_gain()
        off = self._off()
        return max(_expected_improvement(best, self.predicted(key), off * self.predicted(key)) for key in known)

    def predicted(self, key: str) -> float:
        """Return the expected cycles of a candidate: its estimate, corrected by how far those of others were off."""
        return self.estimates[key] * self._ratio(key.split("/")[0])

    def _ratio(self, family: str) -> float:
        """Return measured over estimated cycles: of the family's best, else of all."""
        known = {key: cost for key, cost in self.costs.items() if cost and self.estimates.get(key)}
        same = {key: cost for key, cost in known.items() if key.startswith(f"{family}/")} or known
        if not same:
            return 1.0
        ratios = sorted(cost / self.estimates[key] for key, cost in same.items())
        return ratios[len(ratios) // 2]

    def _off(self) -> float:
        """Return by which part of their cycles corrected estimates are off."""
        known = [key for key, cost in self.costs.items() if cost and self.estimates.get(key)]
        if len(known) < 3:
            return self._OFF_AT_FIRST
        errors = [self.predicted(key) / (self.costs[key] or 1.0) - 1 for key in known]
        return max(self._LEAST_OFF, math.sqrt(sum(error * error for error in errors) / len(errors)))


def _expected_improvement(best: float, mean: float, deviation: float) -> float:
    """Return E[max(0, best - X)] of a normal X."""
    if deviation <= 0:
        return max(0.0, best - mean)
    z = (best - mean) / deviation
    density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    below = (1 + math.erf(z / math.sqrt(2))) / 2
    return (best - mean) * below + deviation * density
