"""A learned cost model, and the search that it leads: gradient-boosted trees over knobs and workloads.

Chen et al., "Learning to optimize tensor programs" (NeurIPS 2018), rank candidates by such a model; here it is trained
on the logarithm of cycles over the median of the workload's, so that workloads of all sizes teach each other.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.prerequisites import how_to_add
from utvm.tuning.feature_vectors import features
from utvm.tuning.record import Record, RecordError
from utvm.tuning.search import Search
from utvm.tuning.space import FamilyConfig, Task

_PARAMETERS = {
    "objective": "regression", "num_leaves": 15, "min_data_in_leaf": 4, "learning_rate": 0.1, "verbosity": -1,
    "num_threads": 1, "deterministic": True, "force_row_wise": True,
}  # fmt: skip
_ROUNDS = 80
_OWN_WEIGHT = 8.0
_FEWEST = 6
_EXPLORE = 8

Example = tuple[list[float], float]
"""Features of a candidate, and the logarithm of its cost over the median of its workload."""


def examples(records: Sequence[Record]) -> list[Example]:
    """Return what records teach: of each workload, its trials relative to the median of those that worked."""
    by_workload: dict[str, list[Record]] = {}
    for record in records:
        if record.cost:
            by_workload.setdefault(record.workload, []).append(record)
    found = []
    for workload, same in by_workload.items():
        base = float(np.median([math.log(record.cost or 1) for record in same]))
        found += [
            (features(workload, record.family, record.config), math.log(record.cost or 1) - base) for record in same
        ]
    return found


class LearnedSearch(Search):
    """The candidates that the model ranks first; every eighth is drawn, and the first ones if nothing is known.

    Args:
        task, estimates, seed: as for every search; the model uses no estimates.
        others: what trials of other workloads taught.
    """

    name = "learned"

    def __init__(
        self, task: Task, *, estimates: Mapping[str, float], seed: int = 0, others: Sequence[Example] = ()
    ) -> None:
        super().__init__(task, estimates=estimates, seed=seed)
        self._others = list(others)
        self._features = {c.key: features(task.workload, c.family, c.config) for c in task.candidates}
        self._ranked: list[str] = []
        self._asked = 0

    def tell(self, candidate: FamilyConfig, cost: float | None) -> None:
        """Learn what a candidate costs; the ranking is made anew when the next is asked for."""
        super().tell(candidate, cost)
        self._ranked = []

    def _next(self) -> str:
        self._asked += 1
        own = sum(cost is not None for cost in self.costs.values())
        if (not self._others and own < _FEWEST) or self._asked % _EXPLORE == 0:
            return self.random.choice(list(self.left))
        if not self._ranked:
            self._ranked = self._rank()
        return next(key for key in self._ranked if key in self.left)

    def _rank(self) -> list[str]:
        own = {key: cost for key, cost in self.costs.items() if cost}
        base = float(np.median([math.log(cost) for cost in own.values()])) if own else 0.0
        rows = [features for features, _ in self._others] + [self._features[key] for key in own]
        targets = [target for _, target in self._others] + [math.log(cost) - base for cost in own.values()]
        weights = [1.0] * len(self._others) + [_OWN_WEIGHT] * len(own)
        keys = list(self.left)
        predicted = _predict(
            rows, targets, weights, [self._features[key] for key in keys], self.random.randrange(2**31)
        )
        return [keys[index] for index in np.argsort(predicted, kind="stable")]


def _predict(
    rows: list[list[float]], targets: list[float], weights: list[float], wanted: list[list[float]], seed: int
) -> NDArray[Any]:
    """Return the predicted targets of rows that are not known.

    Raises:
        RecordError: LightGBM is not installed.
    """
    try:
        import lightgbm
    except ImportError as error:
        raise RecordError(f"the learned search needs LightGBM: `{how_to_add('tune')}`") from error
    data = lightgbm.Dataset(np.array(rows), label=np.array(targets), weight=np.array(weights))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = lightgbm.train({**_PARAMETERS, "seed": seed}, data, num_boost_round=_ROUNDS)
        return np.asarray(model.predict(np.array(wanted)))
