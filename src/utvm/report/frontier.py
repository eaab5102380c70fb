"""The frontier of cycles, RAM and flash: as a table, a picture and JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from utvm.notebook import html_table, shortened
from utvm.report.page import escape

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 760, 420, 90, 40, 60
_FEW, _MANY = (0x1F, 0x4E, 0x9C), (0xE0, 0x8A, 0x1E)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanPoint:
    """A combination of kernels. `cycles` is a sum of kernels alone; `measured` whether all of them were measured.

    `kernels` are operator, family and config. Bytes are exact: the arena, and the linked image.
    """

    cycles: int
    measured: bool
    arena_bytes: int
    flash_bytes: int
    kernels: tuple[tuple[str, str, dict[str, int | str]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontierReport:
    """The points of a model on a board, the fewest cycles first."""

    model: str
    board: str
    core: str
    points: tuple[PlanPoint, ...]

    def __repr__(self) -> str:
        """One line, without the points."""
        return f"FrontierReport({shortened(self.model)!r} on {self.board}, {len(self.points)} points, {self.figures})"

    def _repr_html_(self) -> str:
        """The points as a table, for notebooks."""
        rows = [(point.cycles, point.arena_bytes, point.flash_bytes) for point in self.points]
        return html_table(f"{self.model} on {self.board}", (self.figures, "arena B", "flash B"), rows)

    @property
    def figures(self) -> str:
        """What the cycles are."""
        return "cycles of measured kernels" if all(p.measured for p in self.points) else "estimated cycles"


def frontier_table(report: FrontierReport) -> Table:
    """Return the points, one row each, with the options that compile them."""
    table = Table(title=f"{report.model} on {report.board}", title_justify="left")
    for heading in (report.figures, "arena", "flash"):
        table.add_column(heading, justify="right")
    table.add_column("compiled by")
    for point in report.points:
        options = f"--ram {point.arena_bytes} --flash {point.flash_bytes}"
        table.add_row(f"{point.cycles:,}", f"{point.arena_bytes:,} B", f"{point.flash_bytes:,} B", options)
    return table


def frontier_json(report: FrontierReport) -> dict[str, Any]:
    """Return the points as one JSON object."""
    return {**asdict(report), "figures": report.figures}


def frontier_svg(report: FrontierReport) -> str:
    """Return cycles over flash as a picture; the colour of a point is its arena, blue for few bytes."""
    points = report.points
    most_cycles, most_flash = max(p.cycles for p in points), max(p.flash_bytes for p in points)
    arenas = [p.arena_bytes for p in points]
    marks = []
    for point in points:
        x = _LEFT + (_WIDTH - _LEFT - 110) * point.flash_bytes / most_flash
        y = _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - point.cycles / most_cycles)
        share = (point.arena_bytes - min(arenas)) / ((max(arenas) - min(arenas)) or 1)
        colour = "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in zip(_FEW, _MANY, strict=True))
        title = f"{point.cycles:,} cycles, arena {point.arena_bytes:,} B, flash {point.flash_bytes:,} B"
        marks.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="{colour}"><title>{escape(title)}</title></circle>'
            f'<text x="{x + 9:.1f}" y="{y + 4:.1f}">{point.arena_bytes / 1024:.1f} KB</text>'
        )
    bottom = _HEIGHT - _BOTTOM
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>'
        f'<text x="{_LEFT}" y="20" font-size="13">{escape(report.model)} on {escape(report.board)}: '
        f"{escape(report.figures)} over flash; labels are the arena</text>"
        f'<path d="M{_LEFT},{_TOP}V{bottom}H{_WIDTH - 20}" fill="none" stroke="#888"/>'
        f'<text x="{_LEFT - 6}" y="{_TOP + 4}" text-anchor="end">{most_cycles:,}</text>'
        f'<text x="{_LEFT - 6}" y="{bottom + 4}" text-anchor="end">0</text>'
        f'<text x="{_WIDTH - 110}" y="{bottom + 18}" text-anchor="middle">{most_flash:,} B</text>'
        f'<text x="{_LEFT}" y="{bottom + 18}" text-anchor="middle">0</text>{"".join(marks)}</svg>\n'
    )
