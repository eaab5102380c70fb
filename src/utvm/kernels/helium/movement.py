"""Movement of bytes by vectors: rows of neighbours, transposed blocks by words, and patterns of places by gathers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import lcm, prod

import numpy as np

from utvm.codegen import CArray, CParameter, CSupport, CWriter
from utvm.cores import Core
from utvm.cores.timing import Timing
from utvm.graph import (
    BatchToSpace,
    Concatenation,
    DType,
    Operator,
    Pad,
    ResizeNearestNeighbor,
    SpaceToBatch,
    Split,
    StridedSlice,
    Transpose,
)
from utvm.graph.arithmetic import nearest_indices
from utvm.kernels.base import Config, Kernel
from utvm.kernels.dsp.assembly import no_scheduled_code
from utvm.kernels.helium.family import no_vectors
from utvm.kernels.helium.gather_code import (
    LANES,
    MOST_OFFSET,
    MOST_VECTORS,
    gather_cycles,
    gather_function,
    padded,
)
from utvm.kernels.helium.rows_code import VECTOR, RowsSpec, rows_function
from utvm.kernels.helium.transpose_code import SHORT, TransposeSpec, transpose_function
from utvm.kernels.nest import Copy, index, loops
from utvm.kernels.portable.move import Moving, PortableMove, copies_of, write_filled
from utvm.kernels.runs import RUN_HELPERS, WORD

_LEAST = 64
"""Bytes from which vectors are worth a call."""
_SINGLE_CYCLES, _RUN_CYCLES, _ODD_RUN_CYCLES, _BYTE_CYCLES, _CALL_CYCLES = 2.2, 3, 6, 0.32, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
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


class HeliumMove(PortableMove):
    """What `PortableMove` serves, of bytes, where vectors take fewer cycles than single bytes do."""

    name = "helium"
    kinds = (
        Pad,
        Concatenation,
        Split,
        StridedSlice,
        Transpose,
        ResizeNearestNeighbor,
        SpaceToBatch,
        BatchToSpace,
    )
    dtypes = (DType.INT8, DType.UINT8, DType.BOOL)

    def lacks(self, core: Core) -> str | None:
        """Return that the core has no vector extension, or that its pipeline is not known; None where it serves."""
        return no_vectors(core) or no_scheduled_code(core)

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return why vectors do not pay for `op`."""
        reason = super().refusal(op, core)
        if reason is not None:
            return reason
        assert isinstance(op, Moving)
        assert core.timing is not None
        if all(planned is None for planned in _plans(op, core.timing)):
            return "its copies are of few or single bytes"
        return None

    def about(self, op: Operator, core: Core) -> float | None:
        """Return about how many cycles all copies take."""
        assert isinstance(op, Moving)
        assert core.timing is not None
        filled = op.outputs[0].elements / VECTOR if isinstance(op, Pad) else 0.0
        plans = zip(all_copies(op), _plans(op, core.timing), strict=True)
        return filled + sum(_cycles(copy.merged(), parts) for (_, _, copy), parts in plans)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a move."""
        assert isinstance(op, Moving)
        assert core.timing is not None
        plain = super().build(op, core, config)
        w = CWriter()
        if isinstance(op, Pad):
            write_filled(w, op.y, op.value)
        elif isinstance(op, SpaceToBatch) and op.padding.any:
            write_filled(w, op.y, op.x.zero_point)
        constants = {name: a for name, a in plain.constants.items() if name.startswith("x")}
        support: dict[str, CSupport] = {}
        for (source, target, copy), parts in zip(all_copies(op), _plans(op, core.timing), strict=True):
            if parts is None:
                copy.write(w, source, target, 1, anywhere=core.unaligned)
            else:
                _write_parts(w, parts, source, target, support, constants)
        tables = tuple(
            CParameter(name=name, c_type=a.c_type, role="constant")
            for name, a in constants.items()
            if not name.startswith("x")
        )
        kept = tuple(p for p in plain.function.parameters if p.name in constants or p.role != "constant")
        function = replace(
            plain.function,
            stem=f"{plain.function.stem}_helium",
            comment=plain.function.comment.replace("family portable", f"family {self.name}"),
            parameters=(*kept, *tables),
            body=w.text,
            helpers=tuple(name for name in RUN_HELPERS if f"{name}(" in w.text),
            support=tuple(support.values()),
        )
        return replace(plain, family=self.name, function=function, constants=constants)


def copy_cycles(copy: Copy, timing: Timing) -> float:
    """Return about how many cycles `write_copy` makes of a copy."""
    return _cycles(copy.merged(), _worthwhile(copy.merged(), timing))


def write_copy(
    w: CWriter,
    copy: Copy,
    source: str,
    target: str,
    core: Core,
    support: dict[str, CSupport],
    constants: dict[str, CArray],
) -> None:
    """Write a copy of bytes by vectors, or in C where that is as fast.

    Args:
        w: what to write to.
        copy: of elements of one byte.
        source, target: names of arrays that start at words.
        core: where it runs.
        support, constants: gain the functions that it calls and the arrays that these read.
    """
    assert core.timing is not None
    parts = _worthwhile(copy.merged(), core.timing)
    if parts is None:
        copy.write(w, source, target, 1, anywhere=core.unaligned)
    else:
        _write_parts(w, parts, source, target, support, constants)


def _worthwhile(copy: Copy, timing: Timing) -> list[_Part] | None:
    parts = _plan(copy, timing)
    return parts if parts is not None and _cycles(copy, parts) < _plain_cycles(copy) else None


def _write_parts(
    w: CWriter,
    parts: list[_Part],
    source: str,
    target: str,
    support: dict[str, CSupport],
    constants: dict[str, CArray],
) -> None:
    for part in parts:
        support[part.function.name] = part.function
        _write_calls(w, part, source, target, constants)


def _write_calls(w: CWriter, part: _Part, source: str, target: str, constants: dict[str, CArray]) -> None:
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


def all_copies(op: Moving) -> list[tuple[str, str, Copy]]:
    """Return (source, target, copy) one after another; rows that a resizing repeats are copied from above."""
    if not isinstance(op, ResizeNearestNeighbor):
        return copies_of(op)
    times = whole_times(op)
    if times is None:
        return []
    batch, height, width, channels = op.x.shape
    down, across = times
    row = width * across * channels
    found = [
        (
            "x",
            "y",
            Copy(
                extents=(batch * height, width, across, channels),
                from_strides=(width * channels, channels, 0, 1),
                to_strides=(down * row, across * channels, channels, 1),
            ),
        )
    ]
    if down > 1:
        repeated = Copy(
            extents=(batch * height, down - 1, row),
            from_strides=(down * row, 0, 1),
            to_strides=(down * row, row, 1),
            to_start=row,
        )
        found.append(("y", "y", repeated))
    return found


def whole_times(op: ResizeNearestNeighbor) -> tuple[int, int] | None:
    """Return how often each row and column follows; None where they do not follow equally often."""
    found = []
    for axis, indices in zip((1, 2), nearest_indices(op), strict=True):
        times, rest = divmod(op.y.shape[axis], op.x.shape[axis])
        if rest or not np.array_equal(indices, np.repeat(np.arange(op.x.shape[axis]), times)):
            return None
        found.append(times)
    return found[0], found[1]


def _plans(op: Moving, timing: Timing) -> list[list[_Part] | None]:
    """Return the calls of each copy, None for those of bytes that C writes apart; none at all where C is as fast."""
    copies = [copy.merged() for _, _, copy in all_copies(op)]
    found = [_plan(copy, timing) for copy in copies]
    cycles = sum(_cycles(copy, parts) for copy, parts in zip(copies, found, strict=True))
    worth = sum(prod(copy.extents) for copy in copies) >= _LEAST and cycles < sum(map(_plain_cycles, copies))
    return found if worth else [None] * len(copies)


def _plan(copy: Copy, timing: Timing) -> list[_Part] | None:
    """Return the fastest calls for a copy, None where none are known."""
    if not copy.extents:
        return None
    found = [parts for parts in (_rows(copy), _transposed(copy, timing), _gathered(copy)) if parts is not None]
    return min(found, key=lambda parts: _cycles(copy, parts), default=None)


def _cycles(copy: Copy, parts: list[_Part] | None) -> float:
    return _plain_cycles(copy) if parts is None else sum(part.total for part in parts)


def _plain_cycles(copy: Copy) -> float:
    """Return about how many cycles C takes that moves runs by words and vectors, or single bytes."""
    if not copy.extents:
        return _SINGLE_CYCLES
    *outer, last = copy.extents
    if copy.from_strides[-1] == copy.to_strides[-1] == 1:
        steps = (last, *copy.from_strides[:-1], *copy.to_strides[:-1], copy.from_start, copy.to_start)
        run = _ODD_RUN_CYCLES if any(step % WORD for step in steps) else _RUN_CYCLES
        return prod(outer) * (run + last * _BYTE_CYCLES)
    return _SINGLE_CYCLES * prod(copy.extents)


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


def _rows(copy: Copy) -> list[_Part] | None:
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
    return [_Part(outer=_without(copy, *inside), function=rows_function(spec), cycles=spec.cycles)]


def _transposed(copy: Copy, timing: Timing) -> list[_Part] | None:
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
        parts = [_Part(outer=outer, function=function, cycles=cycles)]
        if kept < copy.extents[short]:
            rest = _gathered(_from(copy, short, kept))
            if rest is None:
                continue
            parts += rest
        return parts
    return None


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


def _gathered(copy: Copy) -> list[_Part] | None:
    """Return calls of gathers: as many inner dimensions as make up whole vectors, whose output is neighbours."""
    if copy.to_strides[-1] != 1:
        return None
    best: list[_Part] | None = None
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


def _patterns(copy: Copy, dimension: int, inner: list[int], size: int, period: int) -> _Part | None:
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
    return _Part(
        outer=replace(outer, from_start=outer.from_start + low),
        function=function,
        cycles=gather_cycles(runs, count),
        offsets=offsets,
    )
