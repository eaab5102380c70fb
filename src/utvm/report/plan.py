"""The memory plan for people: a table and a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from utvm.lowering import MemoryPlan, Program, Request
from utvm.report.page import escape

if TYPE_CHECKING:
    from rich.table import Table


def plan_table(program: Program) -> Table:
    """Return the arena, one row a buffer: what is in it, where it is, from which call to which it lives."""
    from rich.table import Table

    memory = program.memory
    table = Table(
        title=f"{program.name}: arena {memory.arena_bytes:,} B, lower bound {memory.lower_bound:,} B",
        title_justify="left",
    )
    for heading, justify in (("buffer", "left"), ("holds", "left"), ("offset", "right"), ("bytes", "right")):
        table.add_column(heading, justify="right" if justify == "right" else "left", overflow="fold")
    table.add_column("live", justify="right")
    for request, offset in sorted(memory.offsets.items(), key=lambda item: (item[0].first, item[1])):
        table.add_row(
            request.label,
            _contents(request),
            f"{offset:,}",
            f"{request.nbytes:,}",
            _life(request, len(program.calls)),
        )
    return table


def plan_text(program: Program) -> str:
    """Return the plan as plain text, one line a buffer; stable, for files and diffs."""
    memory = program.memory
    lines = [
        f"arena {memory.arena_bytes} bytes, lower bound {memory.lower_bound} bytes",
        "offset bytes live buffer",
    ]
    for request, offset in sorted(memory.offsets.items(), key=lambda item: (item[0].first, item[1])):
        lines.append(f"{offset} {request.nbytes} {_life(request, len(program.calls))} {_contents(request)}")
    return "\n".join(lines) + "\n"


def plan_svg(program: Program) -> str:
    """Return the plan as a picture: calls from left to right, bytes of the arena from bottom to top."""
    return _Picture(program).render()


def _contents(request: Request) -> str:
    return " = ".join(t.name for t in request.tensors) or request.label


def _life(request: Request, calls: int) -> str:
    first = "in" if request.first < 0 else str(request.first)
    return f"{first}–{'out' if request.last >= calls else request.last}"


class _Picture:
    """Geometry of the plan's SVG."""

    left, top, height, column = 70, 34, 300, 46

    def __init__(self, program: Program) -> None:
        self.program = program
        self.memory: MemoryPlan = program.memory
        self.columns = len(program.calls) + 2
        self.width = self.left + self.columns * self.column + 20

    def render(self) -> str:
        total = max(self.memory.arena_bytes, 1)
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" height="{self.top + self.height + 60}" '
            f'viewBox="0 0 {self.width} {self.top + self.height + 60}" font-family="sans-serif" font-size="10">',
            f'<text x="{self.left}" y="18" font-size="13">{escape(self.program.name)}: arena '
            f"{self.memory.arena_bytes:,} B, lower bound {self.memory.lower_bound:,} B</text>",
        ]
        parts += [self._tick(total * step // 4, total) for step in range(5)]
        for position, (request, offset) in enumerate(self.memory.offsets.items()):
            parts.append(self._box(request, offset, position, total))
        parts += [self._column_label(index) for index in range(self.columns)]
        bound = self._y(self.memory.lower_bound, total)
        parts.append(
            f'<line x1="{self.left}" x2="{self.width - 20}" y1="{bound:.1f}" y2="{bound:.1f}" stroke="#c00" '
            'stroke-dasharray="4 3"/>'
        )
        parts.append("</svg>\n")
        return "\n".join(parts)

    def _y(self, nbytes: int, total: int) -> float:
        return self.top + self.height * (1 - nbytes / total)

    def _tick(self, nbytes: int, total: int) -> str:
        y = self._y(nbytes, total)
        return (
            f'<line x1="{self.left - 4}" x2="{self.width - 20}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
            f'<text x="{self.left - 8}" y="{y + 3:.1f}" text-anchor="end">{nbytes:,}</text>'
        )

    def _box(self, request: Request, offset: int, position: int, total: int) -> str:
        x = self.left + (request.first + 1) * self.column
        width = (request.last - request.first + 1) * self.column
        y = self._y(offset + request.nbytes, total)
        height = max(self.height * request.nbytes / total, 1)
        hue = position * 67 % 360
        title = (
            f"{_contents(request)}: {request.nbytes:,} B at {offset:,}, live {_life(request, len(self.program.calls))}"
        )
        label = escape(request.label[: max(3, width // 6)])
        text = f'<text x="{x + 4}" y="{y + 11:.1f}">{label}</text>' if height >= 12 else ""
        return (
            f'<g><title>{escape(title)}</title><rect x="{x + 1}" y="{y:.1f}" width="{width - 2}" height="{height:.1f}" '
            f'fill="hsl({hue},60%,80%)" stroke="hsl({hue},40%,45%)"/>{text}</g>'
        )

    def _column_label(self, index: int) -> str:
        calls = self.program.calls
        text = "input" if index == 0 else "output" if index == self.columns - 1 else calls[index - 1].op.kind
        x, y = self.left + (index + 0.5) * self.column, self.top + self.height + 12
        return f'<text x="{x:.0f}" y="{y}" transform="rotate(30 {x:.0f} {y})">{escape(text)}</text>'
