"""Movement of elements by calls of one function: rows of neighbours, or of elements that lie apart, of any type.

A family says what its function is and what a call costs. The dimensions of rows and of their elements are those of the
least cost.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from math import prod
from typing import ClassVar

import numpy as np

from utvm.codegen import CArray, CParameter, CSupport, CWriter
from utvm.cores import Core
from utvm.graph import (
    BatchToSpace,
    Concatenation,
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
from utvm.kernels.nest import Copy, index, loops
from utvm.kernels.portable.move import Moving, PortableMove, copies_of, write_filled
from utvm.kernels.runs import RUN_HELPERS, WORD

_SIZES = (1, 2, 4)
"""Bytes of elements that are moved at once."""
_PIXEL = 8.0
"""What C costs more for a pixel of a resizing, whose place comes from a table."""
STEPS = ("rows", "count", "from_row", "to_row", "from_step", "to_step")
"""The words that a function reads, in bytes but for the counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveCall:
    """A call: the bytes of an element, and what `STEPS` says."""

    size: int
    rows: int
    count: int
    from_row: int
    to_row: int
    from_step: int
    to_step: int

    @property
    def reads_neighbours(self) -> bool:
        """Whether the elements of a row are read one after another."""
        return self.from_step == self.size

    @property
    def writes_neighbours(self) -> bool:
        """Whether they are written so."""
        return self.to_step == self.size

    @property
    def steps(self) -> tuple[int, ...]:
        """The words of `STEPS`."""
        return self.rows, self.count, self.from_row, self.to_row, self.from_step, self.to_step


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """Calls for a copy: the copy over starts of calls, and each call."""

    outer: Copy
    call: MoveCall


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainCosts:
    """Cycles or instructions of C.

    Attributes:
        single: of an element by itself.
        run: of neighbours, beside their bytes.
        words: of a byte of a run that goes by words.
        bytes: of one that goes by bytes.
    """

    single: float
    run: float
    words: float
    bytes: float

    def of(self, copy: Copy, size: int) -> float:
        """Return about what a copy of elements of `size` bytes in as few dimensions as possible costs."""
        if not copy.extents:
            return self.single
        if copy.from_strides[-1] != 1 or copy.to_strides[-1] != 1:
            return self.single * prod(copy.extents)
        steps = (copy.extents[-1], *copy.from_strides[:-1], *copy.to_strides[:-1], copy.from_start, copy.to_start)
        each = self.bytes if any(step * size % WORD for step in steps) else self.words
        return prod(copy.extents[:-1]) * (self.run + copy.extents[-1] * size * each)


class MoveByCalls(PortableMove):
    """What `PortableMove` serves, where calls cost less than C does."""

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
    filler: ClassVar[CSupport]
    """`void name(int8_t *to, int32_t value, int32_t count)`, which fills bytes."""
    plain: ClassVar[PlainCosts]

    @abstractmethod
    def mover(self, call: MoveCall) -> CSupport:
        """Return `void name(void *to, const void *from, const int32_t *steps)` for a call; see `STEPS`."""

    @abstractmethod
    def call_cost(self, call: MoveCall, core: Core) -> float:
        """Return about what a call costs, cycles or instructions, with its share of loops in C."""

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return why calls do not pay for `op`."""
        reason = super().refusal(op, core)
        if reason is not None:
            return reason
        assert isinstance(op, Moving)
        size = op.outputs[0].dtype.itemsize
        if size not in _SIZES:
            return f"elements have {size} bytes"
        if isinstance(op, ResizeNearestNeighbor) and _whole_times(op) is None:
            return "its pixels do not repeat equally often"
        plain = sum(self.plain.of(copy.merged(), size) for _, _, copy in all_copies(op))
        if isinstance(op, ResizeNearestNeighbor):
            plain += _PIXEL * op.x.shape[0] * op.x.shape[1] * op.y.shape[2]
        return "its copies are of few or single elements" if self._cost(op, core) >= plain else None

    def about(self, op: Operator, core: Core) -> float | None:
        """Return about what all copies cost."""
        assert isinstance(op, Moving)
        return self._cost(op, core)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a move."""
        assert isinstance(op, Moving)
        plain = super().build(op, core, config)
        w = CWriter()
        support: dict[str, CSupport] = {}
        if isinstance(op, Pad):
            self._write_filled(w, op, op.value, support)
        elif isinstance(op, SpaceToBatch) and op.padding.any:
            self._write_filled(w, op, op.x.zero_point, support)
        steps: list[int] = []
        for source, target, copy in all_copies(op):
            part = self._part(copy, op.outputs[0].dtype.itemsize, core)
            moved = self.mover(part.call)
            support[moved.name] = moved
            with loops(w, part.outer.extents) as names:
                to = index(names, part.outer.to_strides, part.outer.to_start)
                read = index(names, part.outer.from_strides, part.outer.from_start)
                place = f"steps + {len(steps)}" if steps else "steps"
                w(f"{moved.name}({target} + {to}, {source} + {read}, {place});")
            steps += part.call.steps
        constants = {name: a for name, a in plain.constants.items() if name.startswith("x")}
        constants["steps"] = CArray(c_type="int32_t", values=np.array(steps, np.int32))
        function = replace(
            plain.function,
            stem=f"{plain.function.stem}_{self.name}",
            parameters=(
                *(p for p in plain.function.parameters if p.name in constants or p.role != "constant"),
                CParameter(name="steps", c_type="int32_t", role="constant"),
            ),
            body=w.text,
            helpers=tuple(name for name in RUN_HELPERS if f"{name}(" in w.text),
            support=tuple(support.values()),
        )
        return replace(plain, function=function, constants=constants)

    def _cost(self, op: Moving, core: Core) -> float:
        size = op.outputs[0].dtype.itemsize
        parts = (self._part(copy, size, core) for _, _, copy in all_copies(op))
        return sum(prod(part.outer.extents) * self.call_cost(part.call, core) for part in parts)

    def _part(self, copy: Copy, size: int, core: Core) -> _Part:
        """Return the calls for a copy that cost the least."""
        return min(parts_of(copy.merged(), size), key=lambda p: prod(p.outer.extents) * self.call_cost(p.call, core))

    def _write_filled(self, w: CWriter, op: Pad | SpaceToBatch, value: float, support: dict[str, CSupport]) -> None:
        """Write the same value to all of y."""
        raw = np.array(value, op.y.dtype.value).tobytes()
        if len(set(raw)) > 1:
            write_filled(w, op.y, value)
            return
        support[self.filler.name] = self.filler
        y = "y" if op.y.dtype.c_type == "int8_t" else "(int8_t *)(void *)y"
        w(f"{self.filler.name}({y}, {raw[0]}, {op.y.nbytes});")


@lru_cache(maxsize=64)
def parts_of(copy: Copy, size: int) -> tuple[_Part, ...]:
    """Return the calls for every choice of an element and of the dimensions of rows and elements."""
    return tuple(part for form, nbytes in _forms(copy, size) for part in _parts(form, size, nbytes))


def _forms(copy: Copy, size: int) -> Iterator[tuple[Copy, int]]:
    """Yield a copy and the bytes of an element, also with several neighbours as one: arrays start at words.

    Strides stay those of the array's elements.
    """
    yield copy, size
    if not copy.extents or copy.from_strides[-1] != 1 or copy.to_strides[-1] != 1:
        return
    for wider in (wide for wide in _SIZES if wide > size):
        times = wider // size
        strides = [(*each[:-1], times) for each in (copy.from_strides, copy.to_strides)]
        steps = (copy.extents[-1], copy.from_start, copy.to_start, *strides[0], *strides[1])
        if all(step % times == 0 for step in steps):
            extents = (*copy.extents[:-1], copy.extents[-1] // times)
            yield replace(copy, extents=extents, from_strides=strides[0], to_strides=strides[1]), wider


def _parts(copy: Copy, size: int, nbytes: int) -> Iterator[_Part]:
    """Yield the calls for every choice of the dimensions of lanes and of rows.

    Args:
        copy: what is moved.
        size: bytes of what its strides count.
        nbytes: bytes of what it moves at once.
    """
    dimensions = range(len(copy.extents))
    for lanes, rows in product(dimensions or (None,), (None, *dimensions)):
        if lanes == rows is not None:
            continue
        count, from_step, to_step = _dimension(copy, lanes, size) or (1, nbytes, nbytes)
        row_count, from_row, to_row = _dimension(copy, rows, size) or (1, 0, 0)
        element = nbytes
        if from_step == to_step == nbytes:
            # Neighbours are moved as bytes: so they need no alignment.
            count, from_step, to_step, element = count * nbytes, 1, 1, 1
        kept = [d for d in dimensions if d not in (lanes, rows)]
        outer = replace(
            copy,
            extents=tuple(copy.extents[d] for d in kept),
            from_strides=tuple(copy.from_strides[d] for d in kept),
            to_strides=tuple(copy.to_strides[d] for d in kept),
        )
        call = MoveCall(
            size=element,
            rows=row_count,
            count=count,
            from_row=from_row,
            to_row=to_row,
            from_step=from_step,
            to_step=to_step,
        )
        yield _Part(outer=outer, call=call)


def _dimension(copy: Copy, dimension: int | None, size: int) -> tuple[int, int, int] | None:
    """Return the extent of a dimension and the bytes from index to index in both arrays."""
    if dimension is None:
        return None
    return copy.extents[dimension], copy.from_strides[dimension] * size, copy.to_strides[dimension] * size


def all_copies(op: Moving) -> list[tuple[str, str, Copy]]:
    """Return (source, target, copy) one after another; rows that a resizing repeats are copied from above."""
    if not isinstance(op, ResizeNearestNeighbor):
        return copies_of(op)
    times = _whole_times(op)
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


def _whole_times(op: ResizeNearestNeighbor) -> tuple[int, int] | None:
    """Return how often each row and column follows; None where they do not follow equally often."""
    found = []
    for axis, indices in zip((1, 2), nearest_indices(op), strict=True):
        times, rest = divmod(op.y.shape[axis], op.x.shape[axis])
        if rest or not np.array_equal(indices, np.repeat(np.arange(op.x.shape[axis]), times)):
            return None
        found.append(times)
    return found[0], found[1]
