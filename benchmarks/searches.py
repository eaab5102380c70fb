"""How many trials each search needs to come within 2 % of the best, where spaces were searched exhaustively.

    utvm tune MODEL --board BOARD --search exhaustive --gain 0 --db exhaustive.sqlite      # for each MODEL, once
    python benchmarks/searches.py --board BOARD --records exhaustive.sqlite [--write] MODEL ...

Replays records: nothing is measured. The analytic default is left out of it, because it mostly is within 2 % itself:
every search begins with a drawn candidate, and the space in a drawn order. `learned, warm` was trained on the other
workloads. Only workloads of which every candidate is in the records, and not every second one would do, are counted.
--write puts the table into docs/tuning.md.
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tables import DOCS, write_table

from utvm import api
from utvm.model_tuning import model_tasks
from utvm.tuning import (
    EstimateSearch,
    ExhaustiveSearch,
    LearnedSearch,
    OptunaSearch,
    RandomSearch,
    Record,
    RecordStore,
    Search,
    Task,
    estimate,
    examples,
    read_lines,
)

SEEDS = 10
NEAR = 0.98
EASY = 0.5
FEWEST_CANDIDATES = 8

Make = Callable[[Task, Mapping[str, float], int, Sequence[Record]], Search]
SEARCHES: Mapping[str, Make] = {
    "estimate": lambda task, known, seed, _: EstimateSearch(task, estimates=known, seed=seed),
    "learned, warm": lambda task, known, seed, others: LearnedSearch(
        task, estimates=known, seed=seed, others=examples(others)
    ),
    "learned, cold": lambda task, known, seed, _: LearnedSearch(task, estimates=known, seed=seed),
    "optuna (TPE)": lambda task, known, seed, _: OptunaSearch(task, estimates=known, seed=seed),
    "random": lambda task, known, seed, _: RandomSearch(task, estimates=known, seed=seed),
    "exhaustive": lambda task, known, seed, _: ExhaustiveSearch(task, estimates=known, seed=seed),
}


def main() -> None:
    """Print a table in Markdown: workloads down, searches across, median / worst of ten seeds."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL")
    parser.add_argument("--board", default="qemu-cortex-m7")
    parser.add_argument("--records", type=Path, required=True, metavar="FILE", help="SQLite, .jsonl or .jsonl.gz")
    parser.add_argument("--write", action="store_true", help="replace the table in docs/tuning.md")
    arguments = parser.parse_args()
    records = [record for record in _read(arguments.records) if record.conditions.board == arguments.board]
    tasks = {task.workload: task for model in arguments.models for task in model_tasks(model, arguments.board)[1]}
    costs = {name: found for name, task in tasks.items() if (found := _costs(task, records)) is not None}
    core = api.as_board(arguments.board).core
    lines: list[str] = []

    def add(line: str) -> None:
        lines.append(line)
        print(line, flush=True)

    add(f"| workload | space | within 2 % | default | {' | '.join(SEARCHES)} |")
    add(f"|---|--:|--:|--:|{'--:|' * len(SEARCHES)}")
    needed: dict[str, list[int]] = {name: [] for name in SEARCHES}
    for workload, known in costs.items():
        task = tasks[workload]
        found = {c.key: estimate(task.op, core, c) for c in task.candidates}
        estimates = {key: cycles for key, cycles in found.items() if cycles is not None}
        others = [record for record in records if record.workload != workload]
        cells = []
        for name, make in SEARCHES.items():
            trials = [_trials(make(_drawn(task, seed), estimates, seed, others), known) for seed in range(SEEDS)]
            needed[name] += trials
            cells.append(f"{statistics.median(trials):g} / {max(trials)}")
        best = min(cost for cost in known.values() if cost)
        near = sum(cost is not None and cost <= best / NEAR for cost in known.values())
        default = known[task.default.key]
        worse = "failed" if default is None else f"+{100 * (default / best - 1):.1f} %"
        add(f"| {task.label} | {len(known)} | {near} | {worse} | {' | '.join(cells)} |")
    every = [f"{statistics.median(trials):g} / {max(trials)}" for trials in needed.values()]
    add(f"| **all** | | | | {' | '.join(every)} |")
    add(f"| **mean** | | | | {' | '.join(f'{statistics.mean(trials):.1f}' for trials in needed.values())} |")
    if arguments.write:
        write_table(DOCS / "tuning.md", "searches", lines)


def _read(path: Path) -> list[Record]:
    if path.name.endswith((".jsonl", ".jsonl.gz")):
        return list(read_lines(path))
    with RecordStore(path) as store:
        return store.records()


def _costs(task: Task, records: Sequence[Record]) -> dict[str, int | None] | None:
    """Return what each candidate costs (None: it failed), or None if the workload is not worth a comparison."""
    held = {record.candidate: record.cost for record in records if record.workload == task.workload}
    if len(task.candidates) < FEWEST_CANDIDATES or any(candidate.key not in held for candidate in task.candidates):
        return None
    costs = {candidate.key: held[candidate.key] for candidate in task.candidates}
    good = [cost for cost in costs.values() if cost]
    near = sum(cost <= min(good) / NEAR for cost in good)
    return costs if near < EASY * len(costs) else None


def _drawn(task: Task, seed: int) -> Task:
    """Return a task whose candidates are in a drawn order: the first takes the part of the default."""
    return replace(task, candidates=tuple(random.Random(seed).sample(task.candidates, len(task.candidates))))


def _trials(search: Search, costs: Mapping[str, int | None]) -> int:
    """Return after how many trials a search is within 2 % of the best."""
    enough = min(cost for cost in costs.values() if cost) / NEAR
    for count in range(1, len(costs) + 1):
        candidate = search.ask()
        assert candidate is not None
        cost = costs[candidate.key]
        if cost is not None and cost <= enough:
            return count
        search.tell(candidate, None if cost is None else float(cost))
    raise AssertionError("a search left out the best candidate")


if __name__ == "__main__":
    main()
