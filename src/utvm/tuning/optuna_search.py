"""Optuna's tree-structured Parzen estimator, by its ask-and-tell interface."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from utvm.prerequisites import how_to_add
from utvm.tuning.record import RecordError
from utvm.tuning.search import Search
from utvm.tuning.space import FamilyConfig, Task

_PROPOSALS = 30
_STARTUP_TRIALS = 6


class OptunaSearch(Search):
    """What TPE proposes of family and knobs; illegal and known configs are refused, and a drawn one taken after 30."""

    name = "optuna"

    def __init__(self, task: Task, *, estimates: Mapping[str, float], seed: int = 0) -> None:
        super().__init__(task, estimates=estimates, seed=seed)
        try:
            import optuna
        except ImportError as error:
            raise RecordError(f"this search needs Optuna: `{how_to_add('tune')}`") from error
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._optuna = optuna
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=_STARTUP_TRIALS)
        self._study = optuna.create_study(sampler=sampler)
        self._asked: dict[str, Any] = {}
        self._by_parameters: dict[frozenset[tuple[str, Any]], str] = {
            frozenset(_parameters(c).items()): c.key for c in task.candidates
        }
        choices: dict[str, dict[str | int, None]] = {}
        for candidate in task.candidates:
            for name, value in _parameters(candidate).items():
                choices.setdefault(name, {})[value] = None
        self._choices = {name: list(values) for name, values in choices.items()}

    def tell(self, candidate: FamilyConfig, cost: float | None) -> None:
        """Learn what a candidate costs."""
        super().tell(candidate, cost)
        trial = self._asked.pop(candidate.key, None)
        states = self._optuna.trial.TrialState
        if trial is not None:
            self._study.tell(trial, None if cost is None else math.log(cost), None if cost else states.FAIL)
        elif cost:
            parameters = _parameters(candidate)
            categories = self._optuna.distributions.CategoricalDistribution
            kinds: dict[str, Any] = {name: categories(self._choices[name]) for name in parameters}
            self._study.add_trial(
                self._optuna.trial.create_trial(params=parameters, distributions=kinds, value=math.log(cost))
            )

    def _next(self) -> str:
        for _ in range(_PROPOSALS):
            trial = self._study.ask()
            family = trial.suggest_categorical("family", self._choices["family"])
            knobs = [name for name in self._choices if name.startswith(f"{family} ")]
            chosen = {name: trial.suggest_categorical(name, self._choices[name]) for name in knobs}
            key = self._by_parameters.get(frozenset({"family": family, **chosen}.items()))
            if key is not None and key in self.left:
                self._asked[key] = trial
                return key
            self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
        return self.random.choice(list(self.left))


def _parameters(candidate: FamilyConfig) -> dict[str, str | int]:
    return {"family": candidate.family, **{f"{candidate.family} {k}": v for k, v in candidate.config.items()}}
