"""The searches by name, and the one that is used unless another is asked for."""

from __future__ import annotations

from collections.abc import Mapping

from utvm.errors import UtvmError
from utvm.tuning.learned import LearnedSearch, examples
from utvm.tuning.optuna_search import OptunaSearch
from utvm.tuning.record import Conditions
from utvm.tuning.search import EstimateSearch, ExhaustiveSearch, RandomSearch, Search
from utvm.tuning.space import Task
from utvm.tuning.store import RecordStore
from utvm.tuning.tuner import MakeSearch

SEARCHES: Mapping[str, type[Search]] = {
    search.name: search for search in (EstimateSearch, LearnedSearch, OptunaSearch, RandomSearch, ExhaustiveSearch)
}
DEFAULT_SEARCH = EstimateSearch.name
"""docs/tuning.md has the comparison that chose it."""


def search_maker(name: str, store: RecordStore, conditions: Conditions, *, seed: int = 0) -> MakeSearch:
    """Return what makes the search of a task; a learned one learns from what the store holds of these conditions.

    Raises:
        UtvmError: no search has that name, or its package is not installed.
    """
    if name not in SEARCHES:
        raise UtvmError(f"no search is named '{name}'; known: {', '.join(SEARCHES)}")
    kind = SEARCHES[name]
    known = store.records(conditions=conditions) if kind is LearnedSearch else []

    def make(task: Task, estimates: Mapping[str, float]) -> Search:
        if kind is LearnedSearch:
            others = examples([record for record in known if record.workload != task.workload])
            return LearnedSearch(task, estimates=estimates, seed=seed, others=others)
        return kind(task, estimates=estimates, seed=seed)

    return make
