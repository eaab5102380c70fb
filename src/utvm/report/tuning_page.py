"""The page of a tuning run: one file without scripts, works offline. Curves, what each knob is worth, kernels, C."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from utvm.report.tuning import LayerTuning, TuningReport, gain_text, tuning_summary
from utvm.tuning import Record

_WIDTH, _HEIGHT, _MARGIN = 420, 170, 44
_STYLE = """
body { font: 14px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .15rem .6rem; text-align: right; border-bottom: 1px solid #e4e4e4; }
th:first-child, td:first-child, th:last-child, td:last-child { text-align: left; }
section { border-top: 1px solid #ccc; margin-top: 1.5rem; }
.pair { display: flex; flex-wrap: wrap; gap: 2rem; align-items: flex-start; }
.knobs { display: grid; grid-template-columns: max-content 16rem max-content; gap: .1rem .6rem; align-items: center; }
.bar { background: #3b7dd8; height: .7rem; border-radius: 2px; min-width: 1px; }
.wrong { color: #b00020; font-weight: bold; }
pre { background: #f6f6f6; padding: .8rem; overflow-x: auto; font-size: 12px; line-height: 1.35; }
"""


def tuning_html(report: TuningReport) -> str:
    """Return a tuned network as one HTML file that needs neither network nor scripts."""
    title = f"{report.model} tuned on {report.board}"
    rows = "\n".join(_row(layer) for layer in report.layers)
    sections = "\n".join(_section(layer) for layer in report.layers)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<style>{_STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
<p>Core {escape(report.core)}{escape(f", memory of {report.assume}" if report.assume else "")};
figures: {escape(report.source)}; search: {escape(report.search)}. {escape(tuning_summary(report))}</p>
<table>
<thead><tr><th>layer</th><th>times</th><th>before</th><th>after</th><th>gain</th><th>tried</th><th>chosen</th></tr></thead>
<tbody>
{rows}
<tr><td>all</td><td></td><td>{report.before:,}</td><td>{report.after:,}</td>
<td>{gain_text(report.before, report.after)}</td><td></td><td></td></tr>
</tbody>
</table>
{sections}
</body>
</html>
"""


def _row(layer: LayerTuning) -> str:
    cells = (
        layer.label,
        str(len(layer.operators)),
        _number(layer.before),
        _number(layer.after),
        gain_text(layer.before, layer.after),
        f"{len(layer.records)} of {layer.space}",
        "" if layer.best is None else layer.best.candidate,
    )
    return f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"


def _section(layer: LayerTuning) -> str:
    good = [record for record in layer.records if record.cost is not None]
    failed = [record for record in layer.records if record.cost is None]
    wrong = "".join(f'<p class="wrong">wrong result: {escape(candidate)}</p>' for candidate in layer.wrong)
    ends = "".join(f"<li>{escape(r.candidate)}: {escape(r.outcome.value)} {escape(r.message)}</li>" for r in failed)
    return f"""<section>
<h2>{escape(layer.label)}</h2>
<p>{escape(", ".join(layer.operators))}</p>{wrong}
<div class="pair">
{_curve(good, layer)}
{_knobs(good)}
</div>
{f"<details><summary>{len(failed)} failed</summary><ul>{ends}</ul></details>" if failed else ""}
{f"<details><summary>C of the chosen kernel</summary><pre>{escape(layer.code)}</pre></details>" if layer.code else ""}
</section>"""


def _curve(records: Sequence[Record], layer: LayerTuning) -> str:
    """Return the cycles of each trial and of the best so far, relative to the default, over the trials."""
    ordered = sorted(records, key=lambda record: record.time)
    base = layer.default.cost if layer.default is not None else None
    costs = [record.cost / base for record in ordered if record.cost is not None and base]
    if not costs:
        return "<p>nothing measured</p>"
    # A kernel that is many times slower must not flatten what matters.
    top, low = min(max(max(costs), 1.0), 2.0), min(*costs, 1.0)
    room = (top - low) * 0.08 or 0.01
    low, top = low - room, top + room

    def at(index: int, value: float) -> tuple[float, float]:
        x = _MARGIN + (_WIDTH - _MARGIN - 10) * (index + 0.5) / len(costs)
        return x, 10 + (_HEIGHT - 40) * (top - min(value, top)) / (top - low)

    points, best, steps = [], costs[0], []
    for index, cost in enumerate(costs):
        x, y = at(index, cost)
        points.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="#9bb8dd"/>')
        best = min(best, cost)
        steps.append("{:.1f},{:.1f}".format(*at(index, best)))
    _, one = at(0, 1.0)
    return (
        f'<svg class="curve" xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="11">'
        f'<line x1="{_MARGIN}" y1="{one:.1f}" x2="{_WIDTH - 10}" y2="{one:.1f}" stroke="#bbb" stroke-dasharray="4 3"/>'
        f'<text x="{_MARGIN - 4}" y="{one + 4:.1f}" text-anchor="end">default</text>{"".join(points)}'
        f'<polyline points="{" ".join(steps)}" fill="none" stroke="#1f4e9c" stroke-width="2"/>'
        f'<text x="{_WIDTH - 10}" y="{_HEIGHT - 8}" text-anchor="end">{len(costs)} trials; best '
        f"{100 * best:.1f} % of the default's cycles</text></svg>"
    )


def _knobs(records: Sequence[Record]) -> str:
    """Return for each choice of each knob what the best config with it costs over the best of all."""
    best = min((record.cost for record in records if record.cost), default=0)
    rows = []
    for knob, choices in knob_worth(records).items():
        if len(choices) < 2:
            continue
        for choice, cost in choices.items():
            over = 100 * (cost / best - 1)
            rows.append(
                f"<span>{escape(knob)} = {escape(choice)}</span>"
                f'<div class="bar" style="width:{min(over, 100):.1f}%"></div><span>+{over:.1f} %</span>'
            )
    if not rows:
        return ""
    return f'<div><p>Best with each choice, over the best of all</p><div class="knobs">{"".join(rows)}</div></div>'


def knob_worth(records: Sequence[Record]) -> Mapping[str, Mapping[str, int]]:
    """Return knob → choice → the fewest cycles with that choice. The family is a knob; others are named after it."""
    worth: dict[str, dict[str, int]] = {}
    for record in records:
        if record.cost is None:
            continue
        knobs = {"family": record.family, **{f"{record.family} {k}": str(v) for k, v in sorted(record.config.items())}}
        for knob, choice in knobs.items():
            known = worth.setdefault(knob, {})
            known[choice] = min(known.get(choice, record.cost), record.cost)
    return {knob: dict(sorted(choices.items())) for knob, choices in worth.items()}


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
