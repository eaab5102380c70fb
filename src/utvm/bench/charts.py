"""Bar charts of a benchmark, as the talk drew them: a panel for each network or layer, a bar for each contender."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from utvm.bench.figures import Figures
from utvm.bench.run import Row
from utvm.errors import UtvmError
from utvm.prerequisites import how_to_add

_SUFFIXES = (".svg", ".png")
_COLUMNS = 2
_OURS = "µTVM"
_COLOURS = ("#0b6e4f", "#c0392b", "#d98880", "#7f8c8d", "#bdc3c7", "#34495e")
_STYLE = {"svg.fonttype": "none", "svg.hashsalt": "utvm", "font.size": 9}
"""Text stays text, and the same rows make the same bytes."""


def check_chart(path: Path) -> None:
    """Make sure, before anything is measured, that a chart can be drawn for this file name.

    Raises:
        UtvmError: matplotlib is missing, or the suffix is neither .svg nor .png.
    """
    _matplotlib()
    if path.suffix not in _SUFFIXES:
        raise UtvmError(f"the chart can't be written to {path}: give it the suffix {' or '.join(_SUFFIXES)}")


def write_chart(rows: Sequence[Row], path: Path) -> None:
    """Draw cycles of each row's first plan beside its peers', as SVG or PNG by the path's suffix.

    Raises:
        UtvmError: as for `check_chart`; no row has cycles; or the file can't be written.
    """
    check_chart(path)
    shown = [row for row in rows if row.plan == "fast" and row.cycles is not None]
    if not shown:
        raise UtvmError("there is nothing to draw: no row has cycles on this board")
    pyplot = _matplotlib().pyplot
    names = list(dict.fromkeys([_OURS, *(name for row in shown for name, _ in _contenders(row))]))
    colours = {name: _COLOURS[index % len(_COLOURS)] for index, name in enumerate(names)}
    columns = min(_COLUMNS, len(shown))
    lines = -(-len(shown) // columns)
    with _matplotlib().rc_context(_STYLE):
        most = max(sum(1 for _ in _contenders(row)) for row in shown)
        size = (6.5 * columns, 0.8 + lines * (0.7 + 0.28 * most))
        figure, grid = pyplot.subplots(lines, columns, figsize=size, squeeze=False, layout="constrained")
        panels = grid.flatten().tolist()
        for panel, row in zip(panels, shown, strict=False):
            _draw(panel, row, colours)
        for panel in panels[len(shown) :]:
            panel.remove()
        title = f"Cycles on {shown[0].board} ({shown[0].cycles_source}); x: how many times those of {_OURS}"
        figure.suptitle(title, fontsize=10)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path, dpi=120, metadata={"Date": None} if path.suffix == ".svg" else {})
        except OSError as error:
            raise UtvmError(f"the chart can't be written to {path}: {error}") from error
        finally:
            pyplot.close(figure)


def _contenders(row: Row) -> Iterator[tuple[str, Row | Figures]]:
    yield _OURS, row
    yield from ((name, figures) for name, figures in row.peers.items() if figures.cycles is not None)


def _draw(panel: Any, row: Row, colours: dict[str, str]) -> None:
    contenders = list(_contenders(row))
    assert row.cycles is not None
    cycles = [each.cycles or 0 for _, each in contenders]
    bars = panel.barh(range(len(contenders)), cycles, color=[colours[name] for name, _ in contenders], height=0.75)
    labels = []
    for (name, each), value in zip(contenders, cycles, strict=True):
        times = "" if name == _OURS else f", {value / row.cycles:.1f}x"
        lacks = f", without {each.leaves_out}" if isinstance(each, Figures) and each.leaves_out else ""
        instructions = "" if each.instructions is None else f" ({_short(each.instructions)} instructions{lacks})"
        labels.append(f"{_short(value)}{times}{instructions}")
    panel.bar_label(bars, labels, padding=3, fontsize=7)
    panel.set_yticks(range(len(contenders)), [name for name, _ in contenders])
    panel.invert_yaxis()
    panel.set_xlim(0, max(cycles) * 2.2)
    panel.set_xticks([])
    panel.spines[["top", "right", "bottom"]].set_visible(False)
    macs = f", {_short(row.macs)} MACs" if row.macs else ""
    panel.set_title(f"{row.name}{macs}", fontsize=9, loc="left")


def _short(count: int) -> str:
    """Return a count to three digits."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if count >= size:
            digits = 2 if count < 10 * size else 1 if count < 100 * size else 0
            return f"{count / size:.{digits}f} {unit}"
    return str(count)


def _matplotlib() -> Any:
    try:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot
    except ImportError as error:
        raise UtvmError(f"charts are drawn by matplotlib: `{how_to_add('bench')}`") from error
    return matplotlib
