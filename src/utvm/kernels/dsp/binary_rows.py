"""Which rows of an element-wise operator are taken at once, and which operand has to be written out for them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from utvm.codegen import SIZES, CWriter
from utvm.graph import Add, Mul, Sub
from utvm.kernels.nest import broadcast_strides, row_major

_WORD = 4
"""Elements of a turn: a word of int8."""
_RUN_BYTES = 128
"""About the elements of a run: more cost scratch, fewer cost calls."""
_LONGEST_ROW = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Operand:
    """How a run reads an operand.

    - `outer`: strides of the outer loops;
    - `row`, `element`: strides from row to row and in a row;
    - `at`: where in scratch it is written out, None where it is read in place;
    - `once`: whether all runs read the same;
    - `c_type`: of an element.
    """

    outer: tuple[int, ...]
    row: int
    element: int
    at: int | None
    once: bool
    c_type: str = "int8_t"

    def write_out(self, w: CWriter, source: str, target: str, rows: RowRuns, count: int, first: str = "0") -> None:
        """Write the copy of `count` rows, from row `first` on, to scratch."""
        place = f"{source} + ({first} + r) * {self.row}" if self.row else source
        if first == "0" and self.row:
            place = f"{source} + r * {self.row}"
        if not self.element and rows.length % _WORD == 0 and self.c_type == "int8_t":
            with w.loop("r", count):
                w(f"const uint32_t word = 0x01010101U * (uint8_t)({place})[0];")
                w(f"uint32_t *const written = (uint32_t *)(void *)({target} + r * {rows.length});")
                with w.loop("i", rows.length // _WORD):
                    w("written[i] = word;")
            return
        with w.loop("r", count):
            w(f"const {self.c_type} *const values = {place};")
            w(f"{self.c_type} *const written = {target} + r * {rows.length};")
            with w.loop("i", rows.length):
                w(f"written[i] = values[{'i' if self.element else '0'}];")


@dataclass(frozen=True, slots=True, kw_only=True)
class RowRuns:
    """Runs of `at_once` of `count` rows of `length` elements, inside of loops of `outer` turns."""

    outer: tuple[int, ...]
    y_outer: tuple[int, ...]
    count: int
    length: int
    at_once: int
    a: Operand
    b: Operand

    @property
    def scratch_bytes(self) -> int:
        """Bytes that operands written out take."""
        written = [operand for operand in (self.a, self.b) if operand.at is not None]
        return sum(self._run_elements * SIZES[operand.c_type] for operand in written)

    @property
    def calls(self) -> int:
        """How many runs there are."""
        return math.prod(self.outer) * -(-self.count // self.at_once)

    @property
    def leaves_elements(self) -> bool:
        """Whether a run does not end with a whole word."""
        return bool(self.count % self.at_once * self.length % _WORD or self.at_once * self.length % _WORD)

    @property
    def written_elements(self) -> int:
        """Elements that are written out in all."""
        every = math.prod(self.outer) * self.count * self.length
        written = [operand for operand in (self.a, self.b) if operand.at is not None]
        return sum(self._run_elements if operand.once else every for operand in written)

    @property
    def _run_elements(self) -> int:
        return -(-self.at_once * self.length // _WORD) * _WORD


def rows_of(op: Add | Sub | Mul) -> RowRuns | None:
    """Return the runs of an operator, or None where outer loops leave rows that do not start at words."""
    shape = op.y.shape
    sizes = merged_sizes(shape, broadcast_strides(op.a.shape, shape), broadcast_strides(op.b.shape, shape))
    if len(sizes) == 1 and sizes[0][1] == sizes[0][2] == 1:
        return _rows([], (1, 0, 0), sizes[0], 1, op.y.dtype.c_type)
    if len(sizes) == 1:
        (total, a, b) = sizes[0]
        length = max(size for size in range(1, min(total, _LONGEST_ROW) + 1) if total % size == 0)
        sizes = [(total // length, a * length, b * length), (length, a, b)]
    *outer, rows, row = sizes
    if outer and rows[0] * row[0] % _WORD:
        return None
    fill = _WORD // math.gcd(row[0], _WORD)
    at_once = min(fill * max(1, round(_RUN_BYTES / (fill * row[0]))), rows[0])
    return _rows(outer, rows, row, at_once, op.y.dtype.c_type)


def _rows(
    outer: Sequence[tuple[int, int, int]],
    rows: tuple[int, int, int],
    row: tuple[int, int, int],
    at_once: int,
    c_type: str,
) -> RowRuns:
    length, operands, used = row[0], [], 0
    for which in (1, 2):
        dense = (row[which] == 1 and (rows[which] == length or rows[0] == 1)) or length == 1 == rows[which]
        operands.append(
            Operand(
                outer=tuple(size[which] for size in outer),
                row=rows[which],
                element=row[which],
                at=None if dense and not any(size[which] % _WORD for size in outer) else used,
                once=not dense and rows[which] == 0 and not any(size[which] for size in outer),
                c_type=c_type,
            )
        )
        if operands[-1].at is not None:
            used += -(-at_once * length // _WORD) * _WORD
    extents = tuple(size[0] for size in outer)
    return RowRuns(
        outer=extents,
        y_outer=tuple(stride * rows[0] * length for stride in row_major(extents)),
        count=rows[0],
        length=length,
        at_once=at_once,
        a=operands[0],
        b=operands[1],
    )


def merged_sizes(shape: Sequence[int], a: Sequence[int], b: Sequence[int]) -> list[tuple[int, int, int]]:
    """Return (size, stride of a, stride of b) of as few dimensions as possible, at least one."""
    kept: list[tuple[int, int, int]] = []
    for size, of_a, of_b in zip(shape, a, b, strict=True):
        if size == 1:
            continue
        if kept and kept[-1][1] == of_a * size and kept[-1][2] == of_b * size:
            kept[-1] = (kept[-1][0] * size, of_a, of_b)
        else:
            kept.append((size, of_a, of_b))
    return kept or [(1, 1, 1)]
