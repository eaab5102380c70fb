"""Autotuning: generate, build, load into RAM, measure on the device, learn."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from utvm.tuning.build import Builder, BuiltCandidate, build_candidate
    from utvm.tuning.known import NO_RECORDS, measurements
    from utvm.tuning.learned import LearnedSearch, examples
    from utvm.tuning.measure import BoardLostError, Expectation, Measurer, Trial, expectation
    from utvm.tuning.optuna_search import OptunaSearch
    from utvm.tuning.rack import LocalRack, Rack, board_kind
    from utvm.tuning.record import (
        Conditions,
        Outcome,
        Record,
        RecordError,
        candidate_key,
        read_lines,
        select,
        superseded,
        write_lines,
    )
    from utvm.tuning.search import EstimateSearch, ExhaustiveSearch, RandomSearch, Search
    from utvm.tuning.searches import DEFAULT_SEARCH, SEARCHES, search_maker
    from utvm.tuning.space import FamilyConfig, Task, estimate, family_of, tasks_of
    from utvm.tuning.store import RecordStore, default_database
    from utvm.tuning.tuner import Job, Limits, Progress, Tuner, conditions_of
else:
    from utvm.lazy import exports

    __getattr__ = exports(__name__, __file__)

__all__ = [
    "DEFAULT_SEARCH",
    "NO_RECORDS",
    "SEARCHES",
    "BoardLostError",
    "Builder",
    "BuiltCandidate",
    "Conditions",
    "EstimateSearch",
    "ExhaustiveSearch",
    "Expectation",
    "FamilyConfig",
    "Job",
    "LearnedSearch",
    "Limits",
    "LocalRack",
    "Measurer",
    "OptunaSearch",
    "Outcome",
    "Progress",
    "Rack",
    "RandomSearch",
    "Record",
    "RecordError",
    "RecordStore",
    "Search",
    "Task",
    "Trial",
    "Tuner",
    "board_kind",
    "build_candidate",
    "candidate_key",
    "conditions_of",
    "default_database",
    "estimate",
    "examples",
    "expectation",
    "family_of",
    "measurements",
    "read_lines",
    "search_maker",
    "select",
    "superseded",
    "tasks_of",
    "write_lines",
]
