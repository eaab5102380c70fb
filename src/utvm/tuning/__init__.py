"""Autotuning: generate, build, load into RAM, measure on the device, learn."""

from utvm.tuning.build import Builder, Built, build_candidate
from utvm.tuning.known import NO_RECORDS, measurements
from utvm.tuning.learned import LearnedSearch, examples
from utvm.tuning.measure import Measurer, Trial
from utvm.tuning.optuna_search import OptunaSearch
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
from utvm.tuning.space import Candidate, Task, estimate, family_of, tasks_of
from utvm.tuning.store import RecordStore, default_database
from utvm.tuning.tuner import Job, Limits, Progress, Tuner, conditions_of

__all__ = [
    "DEFAULT_SEARCH",
    "NO_RECORDS",
    "SEARCHES",
    "Builder",
    "Built",
    "Candidate",
    "Conditions",
    "EstimateSearch",
    "ExhaustiveSearch",
    "Job",
    "LearnedSearch",
    "Limits",
    "Measurer",
    "OptunaSearch",
    "Outcome",
    "Progress",
    "RandomSearch",
    "Record",
    "RecordError",
    "RecordStore",
    "Search",
    "Task",
    "Trial",
    "Tuner",
    "build_candidate",
    "candidate_key",
    "conditions_of",
    "default_database",
    "estimate",
    "examples",
    "family_of",
    "measurements",
    "read_lines",
    "search_maker",
    "select",
    "superseded",
    "tasks_of",
    "write_lines",
]
