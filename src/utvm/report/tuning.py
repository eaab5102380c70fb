"""What tuning found: spaces, progress, before and after, and records, for the console."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from utvm.notebook import html_table, shortened
from utvm.tuning import FamilyConfig, Outcome, Progress, Record, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerTuning:
    """One workload. `default` and `best` are None while nothing of it is measured.

    `trials` are those of this run, `reused` what records already told, `records` the newest of each candidate that the
    search knows, `code` the C of the best.
    """

    label: str
    operators: tuple[str, ...]
    macs: int
    space: int
    trials: int
    reused: int
    wrong: tuple[str, ...]
    default: Record | None
    best: Record | None
    records: tuple[Record, ...]
    code: str

    @property
    def before(self) -> int | None:
        """Cycles of all its operators without tuning."""
        return self._cost(self.default)

    @property
    def after(self) -> int | None:
        """Cycles of all its operators with the best."""
        return self._cost(self.best)

    def _cost(self, record: Record | None) -> int | None:
        cost = None if record is None else record.cost
        return None if cost is None else cost * len(self.operators)


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningReport:
    """A tuned network. Sums of layers leave out what calling them costs.

    `ended` says why no more was tried, `records` where the trials are.
    """

    model: str
    board: str
    core: str
    assume: str
    search: str
    seconds: float
    ended: str
    records: str
    layers: tuple[LayerTuning, ...]

    def __repr__(self) -> str:
        """A few lines, without the layers' records."""
        return (
            f"TuningReport({shortened(self.model)!r} on {self.board}, {len(self.layers)} layers,\n"
            f"  {self.before:,} before, {self.after:,} after, {self.source}; {shortened(self.ended)})"
        )

    def _repr_html_(self) -> str:
        """The layers as a table, for notebooks."""
        rows = [
            (layer.label, len(layer.operators), _number(layer.before), _number(layer.after), len(layer.records))
            for layer in self.layers
        ]
        title = f"{self.model} on {self.board}: {self.source}"
        return html_table(title, ("layer", "times", "before", "after", "tried"), rows)

    @property
    def before(self) -> int:
        """Cycles of all layers that are measured, without tuning."""
        return sum(layer.before or 0 for layer in self.layers if layer.after is not None)

    @property
    def after(self) -> int:
        """Cycles of the same layers with the best of each."""
        return sum(layer.after or 0 for layer in self.layers if layer.before is not None)

    @property
    def source(self) -> str:
        """Where the figures come from."""
        known = (layer.best for layer in self.layers if layer.best is not None)
        return next((figure_source(record) for record in known), "nothing measured")


def figure_source(record: Record) -> str:
    """Return what a record's cost is: cycles of a named source, or instructions."""
    return "instructions (exact)" if record.cycles is None else f"cycles ({record.cycles_source})"


def candidate_text(candidate: Record | FamilyConfig) -> str:
    """Return a family and its knobs, for people."""
    knobs = " ".join(f"{name}={value}" for name, value in candidate.config.items())
    return f"{candidate.family} {knobs}".strip()


def tuning_table(report: TuningReport) -> Table:
    """Return before and after, one row a workload."""
    title = f"{report.model} on {report.board}: {report.source}"
    table = Table(title=title, title_justify="left", caption=tuning_summary(report), caption_justify="left")
    for index, heading in enumerate(("layer", "times", "before", "after", "gain", "tried", "chosen")):
        table.add_column(heading, justify="left" if index in (0, 6) else "right", overflow="fold")
    for layer in report.layers:
        tried = f"{len(layer.records)} of {layer.space}"
        chosen = "" if layer.best is None else candidate_text(layer.best)
        table.add_row(
            layer.label,
            str(len(layer.operators)),
            _number(layer.before),
            _number(layer.after),
            gain_text(layer.before, layer.after),
            tried,
            chosen,
        )
    table.add_section()
    before, after = report.before, report.after
    table.add_row("all", "", _number(before), _number(after), gain_text(before, after), "", "")
    return table


def tuning_summary(report: TuningReport) -> str:
    """Return how many trials, in which time, why no more, and what was wrong."""
    trials = sum(layer.trials for layer in report.layers)
    reused = sum(layer.reused for layer in report.layers)
    text = f"{count_text(trials, 'trial')} in {report.seconds:.0f} s"
    text += f", {reused} more were in the records" if reused else ""
    text += f"; {report.ended}. Records: {report.records}."
    wrong = [candidate for layer in report.layers for candidate in layer.wrong]
    if wrong:
        text += f" {len(wrong)} WRONG RESULTS, a bug of µTVM, please report: {', '.join(wrong)}."
    return text


def tuning_json(report: TuningReport) -> dict[str, Any]:
    """Return what tuning found as one JSON object."""
    return {
        "model": report.model,
        "board": report.board,
        "core": report.core,
        "assume": report.assume or None,
        "search": report.search,
        "seconds": round(report.seconds, 3),
        "ended": report.ended,
        "records": report.records,
        "figures": report.source,
        "before": report.before,
        "after": report.after,
        "layers": [
            {
                "layer": layer.label,
                "operators": list(layer.operators),
                "before": layer.before,
                "after": layer.after,
                "space": layer.space,
                "trials": layer.trials,
                "reused": layer.reused,
                "wrong": list(layer.wrong),
                "chosen": None if layer.best is None else layer.best.candidate,
            }
            for layer in report.layers
        ],
    }


def space_table(name: str, board: str, tasks: Sequence[Task]) -> Table:
    """Return the workloads of a model, their families and how many configs each has."""
    total = sum(len(task.candidates) for task in tasks)
    table = Table(title=f"{name} on {board}: {total} candidates", title_justify="left")
    for index, heading in enumerate(("layer", "operators", "MACs", "families", "space", "default")):
        table.add_column(heading, justify="right" if index in (2, 4) else "left", overflow="fold")
    for task in tasks:
        families = Counter(candidate.family for candidate in task.candidates)
        listed = ", ".join(f"{family} {count}" for family, count in families.items())
        table.add_row(
            task.label,
            ", ".join(task.names),
            _number(task.macs),
            listed,
            str(len(task.candidates)),
            candidate_text(task.default),
        )
    return table


def space_json(tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """Return the workloads of a model and all candidates of each."""
    return [
        {
            "workload": task.workload,
            "operators": list(task.names),
            "macs": task.macs,
            "default": task.default.key,
            "candidates": [candidate.key for candidate in task.candidates],
        }
        for task in tasks
    ]


def records_table(records: Sequence[Record]) -> Table:
    """Return what a store holds, one row for each workload and board: trials, the best, the newest."""
    table = Table()
    for index, heading in enumerate(("workload", "board", "trials", "failed", "fewest", "by", "newest")):
        table.add_column(heading, justify="right" if index in (2, 3, 4) else "left", overflow="fold")
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record.workload, _place(record)), []).append(record)
    for (workload, place), same in groups.items():
        good = [record for record in same if record.cost is not None]
        best = min(good, key=lambda record: record.cost or 0, default=None)
        failed = Counter(record.outcome.value for record in same if record.outcome is not Outcome.OK)
        table.add_row(
            workload,
            place,
            str(len(same)),
            ", ".join(f"{count} {outcome}" for outcome, count in failed.items()),
            "" if best is None else _number(best.cost),
            "" if best is None else candidate_text(best),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(max(record.time for record in same))),
        )
    return table


def trials_tables(records: Sequence[Record]) -> list[Table]:
    """Return single trials, a table for each workload, the fastest first."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.workload, []).append(record)
    return [_trials_table(workload, same) for workload, same in groups.items()]


def _trials_table(workload: str, records: Sequence[Record]) -> Table:
    table = Table(title=workload, title_justify="left")
    headings = ("candidate", "board", "outcome", "cost", "figures", "scratch", "flash", "build", "load", "run")
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="right" if index in (3, *range(5, 10)) else "left", overflow="fold")
    for record in sorted(records, key=lambda record: (record.cost is None, record.cost)):
        seconds = (record.build_seconds, record.load_seconds, record.run_seconds)
        table.add_row(
            candidate_text(record),
            _place(record),
            f"{record.outcome.value} {record.message}".strip(),
            _number(record.cost),
            figure_source(record) if record.cost is not None else "",
            f"{record.scratch_bytes:,}",
            f"{record.flash_bytes:,}",
            *(f"{value * 1e3:.0f} ms" for value in seconds),
        )
    return table


def _place(record: Record) -> str:
    board, assume = record.conditions.board, record.conditions.assume
    return f"{board} ({assume})" if assume else board


class TuningProgress:
    """Live lines on the terminal, plain ones where that is none: best so far, gain, rate, time left."""

    def __init__(self, *, trials: int | None, seconds: float | None) -> None:
        self._trials, self._seconds = trials, seconds
        self._console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._live = Live(console=self._console, transient=True, auto_refresh=False)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
            self._live.update("building the first candidates", refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def __call__(self, progress: Progress) -> None:
        """Show one trial."""
        record = progress.record
        if record.outcome is Outcome.WRONG:
            self._console.print(
                f"WRONG RESULT (a bug of µTVM, please report): {progress.task.label}, {record.candidate}: "
                f"{record.message}",
                style="bold red",
            )
        line = self._line(progress)
        if self._console.is_terminal:
            self._live.update(line, refresh=True)
        else:
            cost = record.outcome.value if record.cost is None else f"{record.cost:,} {_unit(record)}"
            self._console.print(f"{line}  {progress.task.label}: {candidate_text(record)}: {cost}", soft_wrap=True)

    def _line(self, progress: Progress) -> str:
        spent = max(time.time() - progress.started, 1e-6)
        rate = progress.trials / spent
        parts = [f"trial {progress.trials}", f"{rate * 60:.0f} a minute"]
        if progress.best_cycles is not None and progress.default_cycles:
            gain = 1 - progress.best_cycles / progress.default_cycles
            fewer = f"{gain:.2%} fewer than" if gain else "as"
            parts.append(f"best {progress.best_cycles:,.0f} {_unit(progress.record)} ({fewer} without tuning)")
        left = [progress.left / rate]
        if self._trials is not None:
            left.append((self._trials - progress.trials) / rate)
        if self._seconds is not None:
            left.append(self._seconds - spent)
        parts.append(f"at most {max(min(left), 0):.0f} s left")
        return ", ".join(parts)


def _unit(record: Record) -> str:
    return "instructions" if record.cycles is None and record.instructions is not None else "cycles"


def count_text(number: int, noun: str) -> str:
    """Return how many there are of something, as text."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def gain_text(before: float | None, after: float | None) -> str:
    """Return which part of the cycles is saved, as text."""
    return "" if not before or after is None else f"{100 * (1 - after / before):.2f} %"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"
