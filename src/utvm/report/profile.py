"""Where a network's time and memory go, operator by operator: table, JSON, and a page that needs no network."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from utvm.lowering import SlowerCall
from utvm.notebook import html_table, shortened
from utvm.report.page import escape, html_page

_PAGE_STYLE = """
.bars { display: grid; grid-template-columns: max-content 1fr max-content; gap: .2rem .8rem; align-items: center; }
.plan { overflow-x: auto; background: #fff; border-radius: 4px; width: fit-content; max-width: 100%; }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorProfile:
    """One kernel call. `cycles` is None where the board has no counter or model; `code_bytes` is the kernel's function,
    0 where an earlier call already pays for it."""

    index: int
    name: str
    kind: str
    family: str
    config: dict[str, int | str]
    macs: int
    instructions: int | None
    cycles: int | None
    scratch_bytes: int
    constant_bytes: int
    code_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileReport:
    """A profiled network: its calls one by one, and the whole run. `limit` is the core's least cycles a MAC.

    `slower` are operators that got a slower family than the core has for them, with shares of this run's cycles.
    `note` says what stood in for a board that was not at hand; it is empty where the board ran.
    """

    model: str
    board: str
    core: str
    plan: str
    limit: float
    operators: tuple[OperatorProfile, ...]
    macs: int
    instructions: int | None
    cycles: int | None
    cycles_source: str | None
    seconds: float | None
    arena_bytes: int
    flash_bytes: int
    slower: tuple[SlowerCall, ...] = ()
    note: str = ""

    def __repr__(self) -> str:
        """A few lines, without the operators."""
        return (
            f"ProfileReport({shortened(self.model)!r} on {self.board}, {len(self.operators)} operators, "
            f"{_number(self.instructions) or 'no'} instructions,\n"
            f"  {_number(self.cycles) or 'no'} cycles ({self.cycles_source}), "
            f"arena {self.arena_bytes:,} B, flash {self.flash_bytes:,} B)"
        )

    def _repr_html_(self) -> str:
        """The operators as a table, for notebooks."""
        headings = (
            "operator",
            "kernel",
            "MACs",
            "instructions",
            f"cycles ({self.cycles_source})",
            "cycles/MAC",
            "share",
        )
        return html_table(_title(self), headings, [_cells(op, self) for op in self.operators])

    @property
    def total(self) -> int:
        """What shares are taken of: the cycles of all calls, their instructions where there are no cycles."""
        return sum(_cost(op) for op in self.operators) or 1


def profile_json(report: ProfileReport) -> dict[str, Any]:
    """Return a profile as one JSON object."""
    rows = []
    for op in report.operators:
        row = asdict(op)
        row["cycles_per_mac"] = _ratio(op.cycles, op.macs)
        row["share"] = round(_cost(op) / report.total, 4)
        rows.append(row)
    return {**asdict(report), "operators": rows, "cycles_per_mac": _ratio(report.cycles, report.macs)}


def profile_table(report: ProfileReport) -> Table:
    """Return a profile as a table, one row a call."""
    cycles = f"cycles ({report.cycles_source})" if report.cycles is not None else "cycles"
    table = Table(title=_title(report), title_justify="left", caption=Text(_caption(report)), caption_justify="left")
    headings = ["operator", "kernel", "MACs", "instructions", cycles, "cycles/MAC", "share", "scratch", "flash"]
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="left" if index < 2 else "right", overflow="fold")
    for op in report.operators:
        table.add_row(*_cells(op, report), f"{op.scratch_bytes:,}", f"{op.constant_bytes + op.code_bytes:,}")
    table.add_section()
    table.add_row(
        "whole network",
        "",
        f"{report.macs:,}",
        _number(report.instructions),
        _number(report.cycles),
        _per_mac(report.cycles, report.macs),
        "",
        "",
        f"{report.flash_bytes:,}",
    )
    return table


def profile_html(report: ProfileReport, plan: str) -> str:
    """Return a page with a bar for each call, the arena over time (`plan`, an SVG) and the table, without scripts."""
    most = max((_cost(op) for op in report.operators), default=1) or 1
    bars = "\n".join(_bar(op, most, report.total) for op in report.operators)
    rows = "\n".join(_row(op, report) for op in report.operators)
    counted = "instructions" if report.cycles is None else f"cycles ({report.cycles_source})"
    body = f"""<p>{escape(_caption(report))}</p>
<h2>Time: shares of the {escape(counted)}</h2>
<div class="bars">
{bars}
</div>
<h2>Arena: what is in RAM while each operator runs</h2>
<div class="plan">
{plan}
</div>
<h2>Operators</h2>
<table>
<thead><tr><th class="text">operator</th><th class="text">kernel</th>
<th>MACs</th><th>instructions</th><th>cycles</th><th>cycles/MAC</th>
<th>share</th><th>scratch B</th><th>constants B</th><th>code B</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>"""
    return html_page(_title(report), _PAGE_STYLE, body)


def _bar(op: OperatorProfile, most: int, total: int) -> str:
    width, share = 100 * _cost(op) / most, 100 * _cost(op) / total
    return (
        f'<span title="{escape(op.name)}">{op.index} {escape(op.kind)}</span>'
        f'<div class="bar" style="width:{width:.2f}%"></div><span>{share:.1f} %</span>'
    )


def _row(op: OperatorProfile, report: ProfileReport) -> str:
    sizes = (op.scratch_bytes, op.constant_bytes, op.code_bytes)
    cells = (*_cells(op, report), *(f"{size:,}" for size in sizes))
    kinds = (' class="text"', ' class="text"', *[""] * (len(cells) - 2))
    return f"<tr>{''.join(f'<td{kind}>{escape(cell)}</td>' for kind, cell in zip(kinds, cells, strict=True))}</tr>"


def _cells(op: OperatorProfile, report: ProfileReport) -> tuple[str, ...]:
    """Return what table and page say alike of a call: name, kernel, MACs, instructions, cycles, a MAC's, share."""
    return (
        f"{op.index} {op.kind}",
        _kernel(op),
        f"{op.macs:,}" if op.macs else "",
        _number(op.instructions),
        _number(op.cycles),
        _per_mac(op.cycles, op.macs),
        f"{100 * _cost(op) / report.total:.1f} %",
    )


def _title(report: ProfileReport) -> str:
    return f"{report.model} on {report.board} ({report.core}), {report.plan} plan"


def _caption(report: ProfileReport) -> str:
    cycles = (
        "Cycles are neither counted nor modelled on this board."
        if report.cycles is None
        else f"Cycles: {report.cycles_source}; the core's multiplier allows {report.limit:g} cycles a MAC at best."
    )
    time = "" if report.seconds is None else f" {1000 * report.seconds:,.2f} ms at the board's clock."
    sizes = f" Arena {report.arena_bytes:,} B, flash {report.flash_bytes:,} B."
    lines = [f"{cycles}{time}{sizes}", *(f"Slower: {call}" for call in report.slower), report.note]
    return "\n".join(line for line in lines if line)


def _kernel(op: OperatorProfile) -> str:
    knobs = " ".join(f"{name}={value}" for name, value in op.config.items())
    return f"{op.family} {knobs}".strip()


def _cost(op: OperatorProfile) -> int:
    return op.cycles if op.cycles is not None else op.instructions or 0


def _ratio(cycles: int | None, macs: int) -> float | None:
    return None if cycles is None or not macs else round(cycles / macs, 3)


def _per_mac(cycles: int | None, macs: int) -> str:
    ratio = _ratio(cycles, macs)
    return "" if ratio is None else f"{ratio:.2f}"


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
