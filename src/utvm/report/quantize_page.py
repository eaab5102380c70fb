"""What quantising a network cost it, as a page with a histogram of each layer's values."""

from __future__ import annotations

import math

import numpy as np

from utvm.quantization import Distribution, JudgedLayer
from utvm.report.page import escape, html_page
from utvm.report.quantize import QuantizeReport, quantize_text

_BARS, _WIDTH, _HEIGHT = 96, 384, 56
_FULL_SNR = 60.0
"""dB of a full bar."""
_STYLE = """
td svg { display: block; }
.cut { fill: var(--bad); }
.seen { fill: var(--bar); }
.ends { stroke: var(--ink); stroke-dasharray: 3 2; }
.snr { width: 9rem; }
"""


def quantize_html(report: QuantizeReport) -> str:
    """Return the page. Bars are values that calibration saw, in steps of a logarithm; dashes the ends of eight bits."""
    parts = [f"<pre>{escape(quantize_text(report))}</pre>"]
    if report.kept:
        parts.append(_choices(report))
    layers = sorted(report.judgement.layers, key=lambda layer: layer.snr)
    rows = "\n".join(_row(layer, report.distributions.get(layer.name)) for layer in layers)
    parts.append(
        "<h2>Layers, the noisiest first</h2>\n"
        '<p class="faint">Signal over noise counts all errors up to the layer. Bars are how often calibration saw '
        "a value (logarithmic); dashed lines are the ends of what eight bits hold, red is what they cut off.</p>\n"
        '<table>\n<tr><th class="text">tensor</th><th class="text">operator</th><th>signal over noise</th>'
        '<th class="snr"></th><th>eight bits hold</th><th>seen</th><th class="text">values</th></tr>\n'
        f"{rows}\n</table>"
    )
    return html_page(f"{report.model}: float32 to int8", _STYLE, "\n".join(parts))


def _choices(report: QuantizeReport) -> str:
    lines = []
    for choice in report.kept:
        cost = choice.cost
        cycles = "" if cost is None or cost.cycles is None else f"{cost.cycles:,}"
        ram, flash = ("", "") if cost is None else (f"{cost.arena_bytes:,}", f"{cost.flash_bytes:,}")
        mark = ' class="total"' if choice is report.kept[-1] else ""
        names = "".join(
            f'<td class="text">{escape(", ".join(some) or "none")}</td>' for some in (choice.wide, choice.real)
        )
        lines.append(
            f"<tr{mark}><td>{len(choice.types)}</td><td>{choice.lost:.2f}</td><td>{cycles}</td><td>{ram}</td>"
            f"<td>{flash}</td>{names}</tr>"
        )
    rows = "\n".join(lines)
    return (
        "<h2>Operators that are not int8</h2>\n<table>\n<tr><th>operators</th><th>points lost</th>"
        "<th>modelled cycles</th><th>RAM</th><th>flash</th>"
        f'<th class="text">in int16</th><th class="text">in float32</th></tr>\n{rows}\n</table>'
    )


def _row(layer: JudgedLayer, distribution: Distribution | None) -> str:
    told = "no error" if layer.snr == math.inf else f"{layer.snr:.1f} dB"
    share = 100 * min(max(layer.snr / _FULL_SNR, 0.0), 1.0)
    seen = "" if distribution is None else f"{distribution.low:.4g} … {distribution.high:.4g}"
    picture = "" if distribution is None else _histogram(layer, distribution)
    return (
        f'<tr><td class="text">{escape(layer.name)}</td><td class="text">{layer.kind}</td><td>{told}</td>'
        f'<td class="snr"><div class="bar" style="width:{share:.0f}%"></div></td>'
        f"<td>{layer.low:.4g} … {layer.high:.4g}</td><td>{seen}</td><td>{picture}</td></tr>"
    )


def _histogram(layer: JudgedLayer, distribution: Distribution) -> str:
    """Return bars from the least to the largest of what was seen and what eight bits hold."""
    low, high = min(layer.low, distribution.low), max(layer.high, distribution.high)
    if not high > low:
        return ""
    kept = np.flatnonzero(distribution.counts)
    index = ((distribution.centres[kept] - low) / (high - low) * _BARS).astype(int).clip(0, _BARS - 1)
    counts = np.bincount(index, distribution.counts[kept], _BARS)
    heights = np.log1p(counts) / max(float(np.log1p(counts).max()), 1e-9) * _HEIGHT
    width = _WIDTH / _BARS
    bars = []
    for i, height in enumerate(heights):
        if height <= 0:
            continue
        middle = low + (i + 0.5) * (high - low) / _BARS
        kind = "seen" if layer.low <= middle <= layer.high else "cut"
        bars.append(
            f'<rect class="{kind}" x="{i * width:.1f}" y="{_HEIGHT - height:.1f}" width="{width - 0.5:.1f}" '
            f'height="{height:.1f}"/>'
        )
    ends = "".join(
        f'<line class="ends" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{_HEIGHT}"/>'
        for x in ((end - low) / (high - low) * _WIDTH for end in (layer.low, layer.high))
    )
    size = f'width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{"".join(bars)}{ends}</svg>'
