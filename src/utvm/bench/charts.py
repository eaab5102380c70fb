"""Bar charts of a benchmark, as the talk drew them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from utvm.bench.run import Row
from utvm.errors import UtvmError


def write_chart(rows: Sequence[Row], path: Path) -> None:
    """Draw cycles of each row's first plan beside its peers', as SVG or PNG by the path's suffix.

    Raises:
        UtvmError: matplotlib is missing, or the file can't be written.
    """
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError as error:
        raise UtvmError("charts are drawn by matplotlib: `pip install 'utvm[bench]'`") from error
    shown = [row for row in rows if row.plan == "fast" and row.cycles is not None]
    peers = list(dict.fromkeys(name for row in shown for name, f in row.peers.items() if f.cycles is not None))
    width = 0.8 / (1 + len(peers))
    figure, axes = pyplot.subplots(figsize=(max(6.0, 1.6 * len(shown)), 4.5), layout="constrained")
    for position, label in enumerate(["µTVM", *peers]):
        places, heights = [], []
        for index, row in enumerate(shown):
            cycles = row.cycles if position == 0 else row.peers[label].cycles if label in row.peers else None
            if cycles is not None:
                places.append(index + (position - len(peers) / 2) * width)
                heights.append(cycles / 1e6)
        bars = axes.bar(places, heights, width, label=label)
        axes.bar_label(bars, fmt="%.2f", fontsize=7, rotation=90, padding=2)
    axes.set_xticks(range(len(shown)), [row.name for row in shown], rotation=20, ha="right", fontsize=8)
    source = next((row.cycles_source for row in shown if row.cycles_source), "")
    axes.set_ylabel("million cycles, modelled")
    axes.set_title(f"{shown[0].board if shown else ''}: {source}", fontsize=10)
    axes.margins(y=0.2)
    axes.legend(fontsize=8)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise UtvmError(f"the chart can't be written to {path}: {error}") from error
    finally:
        pyplot.close(figure)
