"""How a copy of bytes is made by vectors: rows of neighbours, transposed blocks, and patterns of places by gathers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import lcm, prod

import numpy as np

from utvm.codegen import CArray, CSupport, CWriter
from utvm.cores import Core
from utvm.cores.timing import Timing
from utvm.kernels.helium.gather_code import (
    LANES,
    MOST_OFFSET,
    MOST_VECTORS,
    gather_cycles,
    gather_function,
    padded,
)
from utvm.kernels.helium.interleave_code import WAYS, InterleaveSpec, interleave_function
from utvm.kernels.helium.rows_code import VECTOR, RowsSpec, rows_function
from utvm.kernels.helium.transpose_code import SHORT, TransposeSpec, transpose_function
from utvm.kernels.nest import Copy, index, loops
from utvm.kernels.runs import WORD

_JOINED_CYCLES = 0.7
"""A byte of two or four rows that become columns, of which GCC makes vectors."""
_SINGLE_CYCLES, _WORD_CYCLES, _RUN_CYCLES, _ODD_RUN_CYCLES, _BYTE_CYCLES, _CALL_CYCLES = 2.2, 2, 3, 6, 0.32, 8
"""Of C: single bytes, starts of runs of a word, of words, of others, a byte of a run. Of vectors: a call. Measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyCalls:
    """One call for a part of a copy, and what is left outside of it.

    Attributes:
        outer: the copy over starts of calls.
        function: what is called with a place to write to and one to read from.
        cycles: modelled, of a call.
        offsets: what its third argument points to, where it has one.
    """

    outer: Copy
    function: CSupport
    cycles: float
    offsets: tuple[int, ...] = ()

    @property
    def total(self) -> float:
        """Modelled cycles of all calls."""
        return prod(self.outer.extents) * (self.cycles + _CALL_CYCLES)


def copy_cycles(copy: Copy, timing: Timing) -> float:
    """Return about how many cycles `write_copy` makes of a copy."""
    return planned_cycles(copy.merged(), plan_copy(copy.merged(), timing))


def write_copy(
    w: CWriter,
    copy: Copy,
    source: str,
    target: str,
    core: Core,
    support: dict[str, CSupport],
    constants: dict[str, CArray],
) -> None:
    """Write a copy of bytes by vectors, or in C where none are known.

    Args:
        w: what to write to.
        copy: of elements of one byte.
        source, target: names of arrays that start at words.
        core: where it runs.
        support, constants: gain the functions that it calls and the arrays that these read.
    """
    assert core.timing is not None
    parts = plan_copy(copy.merged(), core.timing)
    if parts is None:
        copy.write(w, source, target, 1, anywhere=core.unaligned)
    else:
        write_parts(w, parts, source, target, support, constants)


def write_parts(
    w: CWriter,
    parts: list[CopyCalls],
    source: str,
    target: str,
    support: dict[str, CSupport],
    constants: dict[str, CArray],
) -> None:
    for part in parts:
        support[part.function.name] = part.function
        _write_calls(w, part, source, target, constants)


def _write_calls(w: CWriter, part: CopyCalls, source: str, target: str, constants: dict[str, CArray]) -> None:
    third = ""
    if part.offsets:
        values = np.array(part.offsets, np.uint16).view(np.int16)
        known = (n for n, a in constants.items() if a.c_type == "int16_t" and np.array_equal(a.values, values))
        name = next(known, f"offsets{len(constants)}")
        constants[name] = CArray(c_type="int16_t", values=values)
        third = f", {name}"
    with loops(w, part.outer.extents) as names:
        to = index(names, part.outer.to_strides, part.outer.to_start)
        read = index(names, part.outer.from_strides, part.outer.from_start)
        w(f"{part.function.name}({target} + {to}, {source} + {read}{third});")


def plan_copy(copy: Copy, timing: Timing) -> list[CopyCalls] | None:
    """Return the fastest calls for a copy, None where none are known."""
    if not copy.extents:
        return None
    found = [
        parts
        for parts in (_rows(copy), _interleaved(copy), _transposed(copy, timing), _gathered(copy))
        if parts is not None
    ]
    return min(found, key=lambda parts: planned_cycles(copy, parts), default=None)


def planned_cycles(copy: Copy, parts: list[CopyCalls] | None) -> float:
    return plain_cycles(copy) if parts is None else sum(part.total for part in parts)


def plain_cycles(copy: Copy) -> float:
    """Return about how many cycles C takes that moves runs by words and vectors, or single bytes."""
    if not copy.extents:
        return _SINGLE_CYCLES
    *outer, last = copy.extents
    if copy.from_strides[-1] == copy.to_strides[-1] == 1:
        steps = (last, *copy.from_strides[:-1], *copy.to_strides[:-1], copy.from_start, copy.to_start)
        odd = any(step % WORD for step in steps)
        run = _ODD_RUN_CYCLES if odd else _WORD_CYCLES if last == WORD else _RUN_CYCLES
        return prod(outer) * (run + last * _BYTE_CYCLES)
    sides = _columns(copy)
    joins = sides is not None and sides[0]
    return (_JOINED_CYCLES if joins else _SINGLE_CYCLES) * prod(copy.extents)


def _without(copy: Copy, *dimensions: int) -> Copy:
    """Return the copy of the first elements along some dimensions, which are left out."""
    kept = [d for d in range(len(copy.extents)) if d not in dimensions]
    return replace(
        copy,
        extents=tuple(copy.extents[d] for d in kept),
        from_strides=tuple(copy.from_strides[d] for d in kept),
        to_strides=tuple(copy.to_strides[d] for d in kept),
    )


def _longest(copy: Copy, candidates: Iterator[int]) -> int | None:
    return max(candidates, key=lambda d: copy.extents[d], default=None)


def _rows(copy: Copy) -> list[CopyCalls] | None:
    """Return calls for rows of neighbours: each of the longest dimension, written as often as another one says."""
    last = len(copy.extents) - 1
    if copy.from_strides[-1] != 1 or copy.to_strides[-1] != 1:
        return None
    again = _longest(copy, (d for d in range(last) if copy.from_strides[d] == 0))
    long = _longest(copy, (d for d in range(last) if d != again))
    spec = RowsSpec(
        count=1 if long is None else copy.extents[long],
        nbytes=copy.extents[-1],
        pitch=0 if long is None else copy.from_strides[long],
        out_pitch=0 if long is None else copy.to_strides[long],
        times=1 if again is None else copy.extents[again],
        step=0 if again is None else copy.to_strides[again],
    )
    inside = [d for d in (last, again, long) if d is not None]
    return [CopyCalls(outer=_without(copy, *inside), function=rows_function(spec), cycles=spec.cycles)]


def _transposed(copy: Copy, timing: Timing) -> list[CopyCalls] | None:
    """Return calls for blocks by words, and those for what is left of one side."""
    last = len(copy.extents) - 1
    beside = next((d for d in range(last) if copy.from_strides[d] == 1), None)
    if beside is None or copy.to_strides[-1] != 1:
        return None
    outer = _without(copy, beside, last)
    for gathers in (True, False):
        short = beside if gathers else last
        kept = copy.extents[short] // SHORT * SHORT
        spec = TransposeSpec(
            rows=copy.extents[-1] if gathers else kept,
            columns=kept if gathers else copy.extents[beside],
            pitch=copy.from_strides[-1],
            out_pitch=copy.to_strides[beside],
            gathers=gathers,
        )
        steps = (*outer.from_strides, outer.from_start) if gathers else (*outer.to_strides, outer.to_start)
        if not spec.fits or any(step % SHORT for step in steps):
            continue
        function, cycles = transpose_function(spec, timing)
        parts = [CopyCalls(outer=outer, function=function, cycles=cycles)]
        if kept < copy.extents[short]:
            rest = _gathered(_from(copy, short, kept))
            if rest is None:
                continue
            parts += rest
        return parts
    return None


def _interleaved(copy: Copy) -> list[CopyCalls] | None:
    """Return calls for two or four rows that become columns, or columns that become rows.

    The columns' side is accessed by words, also where the last vectors lie over others.
    """
    sides = _columns(copy)
    if sides is None:
        return None
    joins, beside, last = sides
    ways, count = copy.extents[last if joins else beside], copy.extents[beside if joins else last]
    run = _longest(copy, (d for d in range(last) if d != beside))
    spec = InterleaveSpec(
        joins=joins,
        ways=ways,
        count=count,
        pitch=copy.from_strides[last] if joins else copy.to_strides[beside],
        runs=1 if run is None else copy.extents[run],
        in_pitch=0 if run is None else copy.from_strides[run],
        out_pitch=0 if run is None else copy.to_strides[run],
    )
    outer = _without(copy, *(d for d in (last, beside, run) if d is not None))
    if joins:
        steps = (*outer.to_strides, outer.to_start, spec.out_pitch, ways * count)
    else:
        steps = (*outer.from_strides, outer.from_start, spec.in_pitch, ways * count)
    if any(step % WORD for step in steps):
        return None
    return [CopyCalls(outer=outer, function=interleave_function(spec), cycles=spec.cycles)]


def _columns(copy: Copy) -> tuple[bool, int, int] | None:
    """Return whether rows become columns, and the dimensions of source neighbours and of target neighbours."""
    last = len(copy.extents) - 1
    beside = next((d for d in range(last) if copy.from_strides[d] == 1), None)
    if beside is None or copy.to_strides[-1] != 1:
        return None
    joins = copy.to_strides[beside] == copy.extents[last] in WAYS
    parts = copy.from_strides[last] == copy.extents[beside] in WAYS
    long = copy.extents[beside if joins else last]
    return (joins, beside, last) if (joins or parts) and long >= VECTOR else None


def _from(copy: Copy, dimension: int, first: int) -> Copy:
    """Return the part of a copy from an index on along a dimension."""
    extents = list(copy.extents)
    extents[dimension] -= first
    return replace(
        copy,
        extents=tuple(extents),
        from_start=copy.from_start + first * copy.from_strides[dimension],
        to_start=copy.to_start + first * copy.to_strides[dimension],
    )


def _gathered(copy: Copy) -> list[CopyCalls] | None:
    """Return calls of gathers: as many inner dimensions as make up whole vectors, whose output is neighbours."""
    if copy.to_strides[-1] != 1:
        return None
    best: list[CopyCalls] | None = None
    inner, size = [0], 1
    for dimension in reversed(range(len(copy.extents))):
        if copy.to_strides[dimension] != size:
            break
        period = lcm(size, LANES)
        if period // LANES > MOST_VECTORS:
            break
        part = _patterns(copy, dimension, inner, size, period)
        if part is not None and (best is None or part.total < best[0].total):
            best = [part]
        step = copy.from_strides[dimension]
        inner = [at * step + place for at in range(copy.extents[dimension]) for place in inner]
        size *= copy.extents[dimension]
    return best


def _patterns(copy: Copy, dimension: int, inner: list[int], size: int, period: int) -> CopyCalls | None:
    """Return the call over patterns of some turns of a dimension around `size` bytes at the places `inner`."""
    step = copy.from_strides[dimension]
    turns = period // size
    places = [at * step + place for at in range(turns) for place in inner]
    low = min(places)
    if max(places) - low > MOST_OFFSET or copy.extents[dimension] * size < LANES:
        return None
    others = (d for d in range(dimension) if copy.extents[d] > 1)
    long = _longest(copy, others)
    count = copy.extents[dimension] * size
    runs = 1 if long is None else copy.extents[long]
    offsets = padded([place - low for place in places])
    function = gather_function(
        offsets,
        turns * step,
        count,
        runs,
        0 if long is None else copy.from_strides[long],
        0 if long is None else copy.to_strides[long],
    )
    inside = [*range(dimension, len(copy.extents)), *([] if long is None else [long])]
    outer = _without(copy, *inside)
    return CopyCalls(
        outer=replace(outer, from_start=outer.from_start + low),
        function=function,
        cycles=gather_cycles(runs, count),
        offsets=offsets,
    )
