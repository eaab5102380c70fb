"""Pooling windows with equally many pixels inside of the input: rows of windows, and stretches of a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from utvm.codegen import CWriter
from utvm.graph import AveragePool2D, MaxPool2D

Pool = MaxPool2D | AveragePool2D


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Windows beside each other that have `taps` columns inside of the input.

    `first` is the number of the first window, `start` its first column; the next one starts a stride further.
    """

    first: int
    windows: int
    taps: int
    start: int


def stretches(op: Pool) -> list[Stretch]:
    """Return the stretches of a row of windows; windows that are cut on the left start at the same column."""
    found: list[Stretch] = []
    for place in range(op.y.shape[2]):
        taps, start = _inside(op, 1, place)
        last = found[-1] if found else None
        if last is not None and last.taps == taps and start == last.start + last.windows * op.stride[1]:
            found[-1] = Stretch(first=last.first, windows=last.windows + 1, taps=taps, start=last.start)
        else:
            found.append(Stretch(first=place, windows=1, taps=taps, start=start))
    return found


def row_counts(op: Pool) -> dict[int, int]:
    """Return the numbers of rows that windows have inside of the input, the most frequent first, and how frequent."""
    found: dict[int, int] = {}
    for place in range(op.y.shape[1]):
        count, _ = _inside(op, 0, place)
        found[count] = found.get(count, 0) + 1
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def write_calls(w: CWriter, op: Pool, calls: Callable[[int], list[str]]) -> None:
    """Write the lines that `calls` returns for each number of rows inside, chosen by `count_y`."""
    counts = list(row_counts(op))
    if len(counts) == 1:
        w("(void)count_y;", *calls(counts[0]))
        return
    for index, count in enumerate(counts):
        last = index == len(counts) - 1
        with w.block("else" if last else f"{'else ' if index else ''}if (count_y == {count})"):
            w(*calls(count))


def _inside(op: Pool, axis: int, place: int) -> tuple[int, int]:
    """Return how many pixels of a window are inside along an axis, 0 is down, and the first of them."""
    start = place * op.stride[axis] - (op.padding.top, op.padding.left)[axis]
    first = max(start, 0)
    return min(start + op.filter[axis], op.x.shape[1 + axis]) - first, first
