"""The page of a tuning run: curves, what each knob is worth, the chosen kernels and their C."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from utvm.report.page import escape, html_page
from utvm.report.tuning import LayerTuning, TuningReport, candidate_text, count_text, gain_text, tuning_summary
from utvm.tuning import Record

_WIDTH, _HEIGHT = 460, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 10, 10, 24
_MOST = 2.0
_STYLE = """
section { border-top: 1px solid var(--rule); margin-top: 1.5rem; }
h2 { margin-bottom: 0; }
h2 + p { margin-top: 0; }
.pair { display: flex; flex-wrap: wrap; gap: 2rem; align-items: flex-start; }
.knobs { display: grid; grid-template-columns: max-content 16rem max-content; gap: .1rem .6rem; align-items: center; }
.knobs .first { margin-top: .5rem; }
.wrong { color: var(--bad); font-weight: bold; }
svg { font: 11px system-ui, sans-serif; fill: var(--ink); }
svg line { stroke: var(--rule); }
svg .default { stroke: var(--faint); stroke-dasharray: 4 3; }
svg circle { fill: var(--dot); }
svg polyline { fill: none; stroke: var(--line); stroke-width: 2; }
"""


def tuning_html(report: TuningReport) -> str:
    """Return a tuned network as one HTML file that needs neither network nor scripts."""
    rows = "\n".join(_row(number, layer) for number, layer in enumerate(report.layers))
    sections = "\n".join(_section(number, layer) for number, layer in enumerate(report.layers))
    memory = f", memory of {report.assume}" if report.assume else ""
    body = f"""<p>Core {escape(report.core)}{escape(memory)};
figures: {escape(report.source)}; search: {escape(report.search)}. {escape(tuning_summary(report))}</p>
<table>
<thead><tr><th class="text">layer</th><th>times</th><th>without tuning</th><th>tuned</th><th>gain</th><th>tried</th>
<th class="text">chosen (its C)</th></tr></thead>
<tbody>
{rows}
<tr class="total"><td class="text">all</td><td></td><td>{report.before:,}</td><td>{report.after:,}</td>
<td>{gain_text(report.before, report.after)}</td><td></td><td></td></tr>
</tbody>
</table>
{sections}"""
    return html_page(f"{report.model} tuned on {report.board}", _STYLE, body)


def _row(number: int, layer: LayerTuning) -> str:
    figures = (
        str(len(layer.operators)),
        _number(layer.before),
        _number(layer.after),
        gain_text(layer.before, layer.after),
        f"{len(layer.records)} of {layer.space}",
    )
    chosen = "" if layer.best is None else escape(candidate_text(layer.best))
    if layer.code:
        chosen = f'<a href="#c-{number}">{chosen}</a>'
    return (
        f'<tr><td class="text"><a href="#layer-{number}">{escape(layer.label)}</a></td>'
        f"{''.join(f'<td>{figure}</td>' for figure in figures)}"
        f'<td class="text">{chosen}</td></tr>'
    )


def _section(number: int, layer: LayerTuning) -> str:
    good = [record for record in layer.records if record.cost is not None]
    failed = [record for record in layer.records if record.cost is None]
    wrong = "".join(f'<p class="wrong">wrong result: {escape(candidate)}</p>' for candidate in layer.wrong)
    ends = "".join(f"<li>{escape(candidate_text(r))}: {escape(f'{r.outcome.value} {r.message}')}</li>" for r in failed)
    # Browsers open what a link leads into.
    code = f'<div id="c-{number}"><pre>{escape(layer.code)}</pre></div>'
    return f"""<section id="layer-{number}">
<h2>{escape(layer.label)}</h2>
<p class="faint">{escape(", ".join(layer.operators))}</p>{wrong}
<div class="pair">
{_curve(good, layer)}
{_knobs(good)}
</div>
{f"<details><summary>{len(failed)} failed</summary><ul>{ends}</ul></details>" if failed else ""}
{f"<details><summary>C of the chosen kernel</summary>{code}</details>" if layer.code else ""}
</section>"""


def _curve(records: Sequence[Record], layer: LayerTuning) -> str:
    """Return the cycles of each trial and of the best so far, relative to the default, over the trials."""
    ordered = sorted(records, key=lambda record: record.time)
    base = layer.default.cost if layer.default is not None else None
    costs = [record.cost / base for record in ordered if record.cost is not None and base]
    if not costs:
        return "<p>nothing measured</p>"
    # A kernel that is many times slower must not flatten what matters.
    top, low = min(max(max(costs), 1.0), _MOST), min(*costs, 1.0)
    room = (top - low) * 0.08 or 0.01
    bottom, height = low - room, top - low + 2 * room

    def at(index: int, value: float) -> tuple[float, float]:
        x = _LEFT + (_WIDTH - _LEFT - _RIGHT) * (index + 0.5) / len(costs)
        return x, _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * (min(value, top) - bottom) / height

    def rule(value: float, text: str, kind: str) -> str:
        y = at(0, value)[1]
        return (
            f'<line class="{kind}" x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}"/>'
            f'<text x="{_LEFT - 4}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'
        )

    points, best, steps = [], costs[0], []
    for index, cost in enumerate(costs):
        x, y = at(index, cost)
        cycles = f"{escape(candidate_text(ordered[index]))}: {ordered[index].cost:,}"
        points.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"><title>{cycles}</title></circle>')
        best = min(best, cost)
        steps.append("{:.1f},{:.1f}".format(*at(index, best)))
    rules = [rule(1.0, "default", "default")]
    if top - 1 > height / 8:
        rules.append(rule(top, f"{'≥ ' if max(costs) > top else ''}{top:.0%}", "other"))
    if 1 - low > height / 8:
        rules.append(rule(low, f"{low:.1%}", "other"))
    return (
        f"<div><p>Cycles of {count_text(len(costs), 'trial')}: dots; the best so far: line</p>"
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}">{"".join(rules)}{"".join(points)}<polyline points="{" ".join(steps)}"/>'
        f'<text x="{_LEFT}" y="{_HEIGHT - 6}">first trial</text>'
        f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 6}" text-anchor="end">best {best:.1%} of the default</text>'
        "</svg></div>"
    )


def _knobs(records: Sequence[Record]) -> str:
    """Return for each choice of each knob what the best config with it costs over the best of all."""
    best = min((record.cost for record in records if record.cost), default=0)
    rows = []
    for knob, choices in knob_worth(records).items():
        if len(choices) < 2:
            continue
        for number, (choice, cost) in enumerate(choices.items()):
            over, first = 100 * (cost / best - 1), "" if number else ' class="first"'
            rows.append(
                f"<span{first}>{escape(knob)} = {escape(choice)}</span>"
                f'<div{first}><div class="bar" style="width:{min(over, 100):.1f}%"></div></div>'
                f"<span{first}>{f'+{over:.1f} %' if cost > best else 'best'}</span>"
            )
    if not rows:
        return ""
    return (
        "<div><p>What a choice costs: the fewest cycles with it, over the best of all</p>"
        f'<div class="knobs">{"".join(rows)}</div></div>'
    )


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
