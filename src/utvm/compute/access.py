"""What follows from a computation: rows that are read, channels that belong together, work, memory that is shared.

Passes, stripes, cost and memory plans ask here. Nothing is promised by hand: where a computation changes, its facts do.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from utvm.compute.affine import Affine, Range
from utvm.compute.expressions import Apply, Compute, Expr, Load, Lookup, children, loads


def macs(compute: Compute) -> int:
    """Return the multiply-accumulates: terms of a sum that multiply two values that are read; else 0."""
    term = compute.term
    if compute.combine != "sum" or not compute.reduce or not isinstance(term, Apply) or term.operation != "*":
        return 0
    if not all(any(True for _ in loads(side)) for side in (term.left, term.right)):
        return 0
    return prod(compute.axes.values())


def rows_read(compute: Compute, name: str, rows: Range, *, dimension: int) -> Range | None:
    """Return the first and the last index of a dimension that an input is read at, for such indices of the output.

    Indices may lie outside of the input where loads say what is there.

    Args:
        compute: the computation.
        name: the buffer that is read.
        rows: the first and the last index of the output in `dimension`.
        dimension: of the input and of the output alike.

    Returns:
        None where the input is read at places that are computed, or has no such dimension.
    """
    found: list[Range] = []
    ranges = {**_ranges(compute), **_restricted(compute, rows, dimension)}
    for load in _reads(compute, name):
        if load is None or dimension >= len(load.index):
            return None
        found.append(load.index[dimension].range(ranges))
    return (min(low for low, _ in found), max(high for _, high in found)) if found else None


def reads_same_index(compute: Compute, name: str, *, dimension: int) -> bool:
    """Whether an input is read in `dimension` exactly where the output is written."""
    every = [*_reads(compute, name)]
    written = _moving(compute, compute.index[dimension])
    return bool(every) and all(
        load is not None and dimension < len(load.index) and _moving(compute, load.index[dimension]) == written
        for load in every
    )


def channel_offset(compute: Compute, name: str) -> int | None:
    """Return d where last index c of the output reads last index c + d of an input and no other; else None."""
    offsets: set[int | None] = set()
    for load in _reads(compute, name):
        if load is None or not load.index or not compute.index:
            return None
        difference = _moving(compute, load.index[-1] + compute.index[-1] * -1)
        offsets.add(None if difference.terms else difference.const)
    return offsets.pop() if len(offsets) == 1 else None


def is_in_place(compute: Compute, name: str, itemsizes: tuple[int, int]) -> bool:
    """Whether the output may take the place of an input: each point reads of it what lies where the point writes.

    Args:
        compute: the computation.
        name: the buffer that is read.
        itemsizes: bytes of an element of the input and of the output.
    """
    if itemsizes[0] != itemsizes[1] or compute.reduce:
        return False
    written = _moving(compute, compute.output.flat(compute.index))
    every = [*_reads(compute, name)]
    return bool(every) and all(
        load is not None
        and load.buffer.elements == compute.output.elements
        and _moving(compute, load.buffer.flat(load.index)) == written
        for load in every
    )


def min_lead(
    compute: Compute, name: str, itemsizes: tuple[int, int], *, outer: Sequence[str], block: int = 1
) -> int | None:
    """Return how many bytes before an input the output must start, if loops run in order; None if that is not known.

    While one turn of the outer loops runs, all that this turn and later ones read must be there. The result is negative
    where the output may start behind the input.

    Args:
        compute: the computation.
        name: the buffer that is read.
        itemsizes: bytes of an element of the input and of the output.
        outer: the axes of the output around all others, in their order.
        block: neighbouring points of these axes that make one turn.
    """
    every = [load for load in _reads(compute, name) if load is not None]
    if not every or len(every) < len(_reads(compute, name)):
        return None
    ends = _bounds(compute, compute.output.flat(compute.index), outer)[1] + 1
    needs = np.min([_first_inside(compute, load, outer) for load in every], axis=0)
    starts = np.arange(0, ends.size, block)
    needed = np.minimum.reduceat(needs, starts) * itemsizes[0]
    later = np.minimum.accumulate(needed[::-1])[::-1]
    lead = (np.maximum.reduceat(ends, starts) * itemsizes[1] - later).max()
    return int(max(-every[0].buffer.elements * itemsizes[0], lead))


def _first_inside(compute: Compute, load: Load, outer: Sequence[str]) -> NDArray[np.int64]:
    """Return the least element that each turn may read, with indices cut off at the ends of their dimensions."""
    place = np.array(0, np.int64)
    for index, size in zip(load.index, load.buffer.shape, strict=True):
        place = place * size + np.clip(_bounds(compute, index, outer)[0], 0, size)
    return np.minimum(place, load.buffer.elements)


def _bounds(compute: Compute, index: Affine, outer: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the least and the largest value of an index at each point of the outer axes."""
    names = set(outer)
    own = Affine(terms=tuple(t for t in index.terms if t[0] in names))
    rest = Affine(terms=tuple(t for t in index.terms if t[0] not in names), const=index.const)
    extents = [compute.space[name] for name in outer]
    grid = dict(zip(outer, np.meshgrid(*(np.arange(e) for e in extents), indexing="ij"), strict=True))
    values = np.broadcast_to(own.values(grid), extents).reshape(-1)
    low, high = rest.range(_ranges(compute))
    return values + low, values + high


def _reads(compute: Compute, name: str) -> tuple[Load | None, ...]:
    """Return the loads of a buffer; None stands for one at a place that is computed."""
    found: dict[Load | None, None] = {}

    def note(expr: Expr) -> None:
        if isinstance(expr, Load) and expr.buffer.name == name:
            found[expr] = None
        elif isinstance(expr, Lookup) and expr.buffer.name == name:
            found[None] = None
        for child in children(expr):
            note(child)

    for expr in (compute.init, compute.term, compute.epilogue):
        note(expr)
    return tuple(found)


def _moving(compute: Compute, index: Affine) -> Affine:
    """Return an index without axes of one turn, which are always 0."""
    axes = compute.axes
    return Affine(terms=tuple(t for t in index.terms if axes.get(str(t[0])) != 1), const=index.const)


def _ranges(compute: Compute) -> dict[str, Range]:
    return {name: (0, extent - 1) for name, extent in compute.axes.items()}


def _restricted(compute: Compute, rows: Range, dimension: int) -> dict[str, Range]:
    """Return the ranges of axes for which an index of the output lies in `rows`, where it is one axis."""
    index: Affine = compute.index[dimension]
    if index.is_axis:
        ((term, _),) = index.terms
        return {str(term): rows}
    return {}
