"""Movement of elements by vectors: rows of neighbours, or of elements that lie apart, whatever their type."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from math import prod

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
from utvm.kernels.base import Config, Kernel
from utvm.kernels.helium.movement import all_copies
from utvm.kernels.nest import Copy, index, loops
from utvm.kernels.portable.move import Moving, PortableMove, write_filled
from utvm.kernels.runs import RUN_HELPERS, WORD
from utvm.kernels.rvv.code import FILL, no_vectors, vector_function

_SIZES = (1, 2, 4)
"""Bytes of elements that a vector of integers has."""
_STEPS = ("rows", "count", "from_row", "to_row", "from_step", "to_step")
_CALL, _ROW, _STRIP = 30, 7, 9
"""Instructions of a call with its share of loops in C, of a row, and of a strip of one."""
_SINGLE, _RUN, _WORDS, _BYTES = 2.4, 1.5, 0.45, 2.6
"""Instructions of C: of an element by itself, of a run, and of a byte of a run that goes by words or by bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """Calls for a copy.

    Attributes:
        outer: the copy over starts of calls.
        size: bytes of an element.
        steps: the words of `_STEPS`, in bytes but for the counts.
    """

    outer: Copy
    size: int
    steps: tuple[int, ...]

    @property
    def function(self) -> CSupport:
        """What is called."""
        return _move_function(self.size, self.steps[4] == self.size, self.steps[5] == self.size)

    def instructions(self, core: Core) -> float:
        """Return about how many instructions all calls take."""
        rows, count = self.steps[:2]
        return prod(self.outer.extents) * (_CALL + rows * (_ROW + _STRIP * -(-count * self.size // core.zve32x)))


class RvvMove(PortableMove):
    """What `PortableMove` serves, where vectors take fewer instructions than C does."""

    name = "rvv"
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

    def lacks(self, core: Core) -> str | None:
        """Return that the core has no vector extension; None where it has it."""
        return no_vectors(core)

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return why vectors do not pay for `op`."""
        reason = super().refusal(op, core)
        if reason is not None:
            return reason
        assert isinstance(op, Moving)
        size = op.outputs[0].dtype.itemsize
        if size not in _SIZES:
            return f"elements have {size} bytes"
        copies = [copy for _, _, copy in all_copies(op)]
        plain = sum(_plain_instructions(copy.merged(), size) for copy in copies)
        if sum(_part(copy, size, core).instructions(core) for copy in copies) >= plain:
            return "its copies are of few or single elements"
        return None

    def about(self, op: Operator, core: Core) -> float | None:
        """Return about how many instructions all copies take."""
        assert isinstance(op, Moving)
        size = op.outputs[0].dtype.itemsize
        return sum(_part(copy, size, core).instructions(core) for _, _, copy in all_copies(op))

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a move."""
        assert isinstance(op, Moving)
        plain = super().build(op, core, config)
        w = CWriter()
        support: dict[str, CSupport] = {}
        if isinstance(op, Pad):
            _write_filled(w, op, op.value, support)
        elif isinstance(op, SpaceToBatch) and op.padding.any:
            _write_filled(w, op, op.x.zero_point, support)
        steps: list[int] = []
        for source, target, copy in all_copies(op):
            part = _part(copy, op.outputs[0].dtype.itemsize, core)
            support[part.function.name] = part.function
            with loops(w, part.outer.extents) as names:
                to = index(names, part.outer.to_strides, part.outer.to_start)
                read = index(names, part.outer.from_strides, part.outer.from_start)
                place = f"steps + {len(steps)}" if steps else "steps"
                w(f"{part.function.name}({target} + {to}, {source} + {read}, {place});")
            steps += part.steps
        constants = {name: a for name, a in plain.constants.items() if name.startswith("x")}
        constants["steps"] = CArray(c_type="int32_t", values=np.array(steps, np.int32))
        function = replace(
            plain.function,
            stem=f"{plain.function.stem}_rvv",
            parameters=(
                *(p for p in plain.function.parameters if p.name in constants or p.role != "constant"),
                CParameter(name="steps", c_type="int32_t", role="constant"),
            ),
            body=w.text,
            helpers=tuple(name for name in RUN_HELPERS if f"{name}(" in w.text),
            support=tuple(support.values()),
        )
        return replace(plain, function=function, constants=constants)


def _write_filled(w: CWriter, op: Pad | SpaceToBatch, value: float, support: dict[str, CSupport]) -> None:
    """Write the same value to all of y."""
    raw = np.array(value, op.y.dtype.value).tobytes()
    if len(set(raw)) > 1:
        write_filled(w, op.y, value)
        return
    support[FILL.name] = FILL
    y = "y" if op.y.dtype.c_type == "int8_t" else "(int8_t *)(void *)y"
    w(f"{FILL.name}({y}, {raw[0]}, {op.y.nbytes});")


@lru_cache(maxsize=256)
def _part(copy: Copy, size: int, core: Core) -> _Part:
    """Return the calls for a copy that take the fewest instructions."""
    forms = _forms(copy.merged(), size)
    parts = (part for form, nbytes in forms for part in _parts(form, size, nbytes))
    return min(parts, key=lambda part: part.instructions(core))


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
        steps = (row_count, count, from_row, to_row, from_step, to_step)
        yield _Part(outer=outer, size=element, steps=steps)


def _dimension(copy: Copy, dimension: int | None, size: int) -> tuple[int, int, int] | None:
    """Return the extent of a dimension and the bytes from index to index in both arrays."""
    if dimension is None:
        return None
    return copy.extents[dimension], copy.from_strides[dimension] * size, copy.to_strides[dimension] * size


def _plain_instructions(copy: Copy, size: int) -> float:
    """Return about how many instructions C takes."""
    if not copy.extents:
        return _SINGLE
    if copy.from_strides[-1] != 1 or copy.to_strides[-1] != 1:
        return _SINGLE * prod(copy.extents)
    steps = (copy.extents[-1], *copy.from_strides[:-1], *copy.to_strides[:-1], copy.from_start, copy.to_start)
    each = _BYTES if any(step * size % WORD for step in steps) else _WORDS
    return prod(copy.extents[:-1]) * (_RUN + copy.extents[-1] * size * each)


@lru_cache(maxsize=16)
def _move_function(size: int, reads_neighbours: bool, writes_neighbours: bool) -> CSupport:
    """Return `void name(void *to, const void *from, const int32_t *steps)`; see `_STEPS`."""
    bits = 8 * size
    lines = ["lw a3, 0(a2)", "lw a4, 4(a2)", "lw a5, 8(a2)", "lw a6, 12(a2)"]
    lines += [] if reads_neighbours else ["lw t1, 16(a2)"]
    lines += [] if writes_neighbours else ["lw t2, 20(a2)"]
    lines += ["1:", "mv t3, a0", "mv t4, a1", "mv t5, a4", "2:", f"vsetvli t0, t5, e{bits}, m8, ta, ma"]
    lines += [f"vle{bits}.v v0, (t4)" if reads_neighbours else f"vlse{bits}.v v0, (t4), t1", "sub t5, t5, t0"]
    lines += [f"vse{bits}.v v0, (t3)" if writes_neighbours else f"vsse{bits}.v v0, (t3), t2"]
    for at, step, neighbours in (("t4", "t1", reads_neighbours), ("t3", "t2", writes_neighbours)):
        if not neighbours:
            lines.append(f"mul t6, t0, {step}")
        elif size > 1:
            lines.append(f"slli t6, t0, {size // 2}")
        lines.append(f"add {at}, {at}, {'t0' if neighbours and size == 1 else 't6'}")
    lines += ["bnez t5, 2b", "add a0, a0, a6", "add a1, a1, a5", "addi a3, a3, -1", "bnez a3, 1b"]
    ends = ("" if reads_neighbours else "_gather") + ("" if writes_neighbours else "_scatter")
    name = f"utvm_rvv_move_{bits}{ends}"
    comment = f"rows of elements; steps: {', '.join(_STEPS)}"
    return vector_function(name, f"void {name}(void *to, const void *from, const int32_t *steps)", lines, comment)
