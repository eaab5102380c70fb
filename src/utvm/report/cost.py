"""What a network costs on a board by estimate alone, on one or on many: values, JSON and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from utvm.notebook import html_table, shortened

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorCost:
    """One kernel call. `cycles` are modelled, None on a core without a model."""

    name: str
    kind: str
    family: str
    macs: int
    cycles: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CostReport:
    """What a network is estimated to cost on a board.

    Attributes:
        cycles: modelled cycles of a run, None on a core without a model.
        cycles_source: what the cycles come from.
        arena_bytes: RAM of activations and scratch.
        ram_bytes: RAM of the board that data may lie in; its stack comes out of it too.
        flash_bytes: code and constants, about.
        storage_bytes: memory of the board for code and constants.
    """

    model: str
    board: str
    core: str
    clock_hz: int
    macs: int
    cycles: int | None
    cycles_source: str
    arena_bytes: int
    ram_bytes: int
    flash_bytes: int
    storage_bytes: int
    operators: tuple[OperatorCost, ...]

    def __repr__(self) -> str:
        """A few lines, without the operators."""
        cycles = "no modelled cycles" if self.cycles is None else f"{self.cycles:,} modelled cycles"
        return (
            f"CostReport({shortened(self.model)!r} on {self.board}, {len(self.operators)} operators, {cycles},\n"
            f"  arena {self.arena_bytes:,} B, flash about {self.flash_bytes:,} B)"
        )

    def _repr_html_(self) -> str:
        """The operators as a table, for notebooks."""
        rows = [(op.name, op.kind, op.family, op.macs, _number(op.cycles)) for op in self.operators]
        title = f"{self.model} on {self.board}: an estimate, nothing was compiled or run"
        return html_table(title, ("name", "operator", "kernel", "MACs", f"cycles ({self.cycles_source})"), rows)

    @property
    def seconds(self) -> float | None:
        """Modelled seconds of a run."""
        return None if self.cycles is None else self.cycles / self.clock_hz

    @property
    def inferences_per_second(self) -> float | None:
        """Modelled runs a second."""
        return 1 / self.seconds if self.seconds else None

    @property
    def lacks(self) -> str:
        """What does not fit the board, and by how much; empty where everything fits."""
        problems = []
        if self.arena_bytes > self.ram_bytes:
            problems.append(f"RAM {self.arena_bytes - self.ram_bytes:,} bytes too small")
        if self.flash_bytes > self.storage_bytes:
            problems.append(f"flash {self.flash_bytes - self.storage_bytes:,} bytes too small")
        return ", ".join(problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A board for which a network can't be lowered, and why."""

    board: str
    core: str
    reason: str


def cost_json(report: CostReport) -> dict[str, Any]:
    """Return a cost as one JSON object."""
    return {
        **asdict(report),
        "seconds": report.seconds,
        "inferences_per_second": report.inferences_per_second,
        "fits": not report.lacks,
        "lacks": report.lacks,
    }


def comparison_json(reports: Sequence[CostReport | Refused]) -> list[dict[str, Any]]:
    """Return the costs on several boards as JSON values, without their operators."""
    found = []
    for report in reports:
        if isinstance(report, Refused):
            found.append({**asdict(report), "fits": False, "lacks": report.reason})
        else:
            found.append({key: value for key, value in cost_json(report).items() if key != "operators"})
    return found


def cost_table(report: CostReport) -> Table:
    """Return a cost as a table, one row an operator."""
    from rich.table import Table

    title = f"{report.model} on {report.board}: an estimate, nothing was compiled or run"
    table = Table(title=title, title_justify="left", caption=_caption(report), caption_justify="left")
    for index, heading in enumerate(("operator", "kernel", "MACs", f"cycles ({report.cycles_source})", "share")):
        table.add_column(heading, justify="left" if index < 2 else "right", overflow="fold")
    total = report.cycles or 0
    for op in report.operators:
        share = f"{100 * (op.cycles or 0) / total:.1f} %" if total else ""
        table.add_row(f"{op.kind} {op.name}", op.family, f"{op.macs:,}", _number(op.cycles), share)
    table.add_section()
    table.add_row("whole network", "", f"{report.macs:,}", _number(report.cycles), "")
    return table


def comparison_table(reports: Sequence[CostReport | Refused]) -> Table:
    """Return the costs on several boards, a row each."""
    from rich.table import Table

    name = next((r.model for r in reports if isinstance(r, CostReport)), "")
    table = Table(title=f"{name}: estimates, modelled; nothing was compiled or run", title_justify="left")
    headings = ("board", "core", "clock", "cycles", "time", "a second", "arena", "of RAM", "flash", "of it", "fits")
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="left" if index in (0, 1, 10) else "right", overflow="fold")
    for report in reports:
        if isinstance(report, Refused):
            table.add_row(report.board, report.core, *[""] * 8, f"no: {report.reason}")
            continue
        table.add_row(
            report.board,
            report.core,
            f"{report.clock_hz / 1e6:g} MHz",
            _number(report.cycles),
            "" if report.seconds is None else f"{1000 * report.seconds:,.2f} ms",
            "" if report.inferences_per_second is None else f"{report.inferences_per_second:,.1f}",
            f"{report.arena_bytes:,}",
            _percent(report.arena_bytes, report.ram_bytes),
            f"{report.flash_bytes:,}",
            _percent(report.flash_bytes, report.storage_bytes),
            f"no: {report.lacks}" if report.lacks else "yes",
        )
    return table


def _caption(report: CostReport) -> str:
    parts = []
    if report.seconds is not None and report.inferences_per_second is not None:
        parts.append(
            f"{1000 * report.seconds:,.2f} ms at {report.clock_hz / 1e6:g} MHz, "
            f"{report.inferences_per_second:,.1f} inferences a second (modelled)"
        )
    parts.append(f"arena {report.arena_bytes:,} B, {_percent(report.arena_bytes, report.ram_bytes)} of the RAM")
    parts.append(f"flash about {report.flash_bytes:,} B, {_percent(report.flash_bytes, report.storage_bytes)} of it")
    if report.lacks:
        parts.append(f"does not fit: {report.lacks}")
    return "\n".join(parts)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else ""


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
