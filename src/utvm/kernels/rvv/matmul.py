"""Products of two matrices of activations by vectors: columns or rows of the result are lanes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import prod

import numpy as np

from utvm.codegen import CArray, CFunction, CParameter, CSupport, CWriter
from utvm.cores import Core
from utvm.graph import BatchMatMul, Operator
from utvm.graph.arithmetic import Requantization, requantization
from utvm.kernels.base import Config, Kernel
from utvm.kernels.dsp.assembly import short_digest
from utvm.kernels.nest import broadcast_strides, index, loops
from utvm.kernels.rvv.code import OUTPUT, RvvFamily, vector_function
from utvm.kernels.rvv.finish import clamped, narrowed, rescaled
from utvm.kernels.workload_keys import dims, workload

_GROUP = 4
_MOST_ROWS = 4
"""Rows whose sums have registers."""
_STEPS = ("blocks", "lanes", "depth", "row", "term", "other_term", "other_lane", "y_row", "y_lane")
_PLACES = tuple(f"s{number}" for number in range(len(_STEPS)))
_SUMS = ("v8", "v12", "v16", "v20")
_CALL, _STRIP, _FINISH = 40, 24, 18
"""Instructions of a call, of a strip of lanes and of a row's finish in it, beside its terms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """How one operand is read: bytes from row or lane to the next, from term to term, and its zero point."""

    step: int
    term: int
    zero: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """Which of the operands gives lanes, and what its function reads.

    Attributes:
        rows, lanes: of the result, as the function sees them.
        names: operands, that of rows first.
        single, vector: how they are read.
        y_row, y_lane: bytes from row to row and from lane to lane of the result.
    """

    rows: int
    lanes: int
    names: tuple[str, str]
    single: _Side
    vector: _Side
    y_row: int
    y_lane: int

    @property
    def parts(self) -> list[tuple[int, int, int]]:
        """Rows at once, the first of them, and how many blocks: of the most rows, and what is left."""
        blocks, left = divmod(self.rows, _MOST_ROWS)
        every = [(_MOST_ROWS, 0, blocks), (left, blocks * _MOST_ROWS, 1)]
        return [part for part in every if part[0] and part[2]]

    def steps(self, blocks: int, depth: int) -> list[int]:
        """Return the words of `_STEPS`."""
        single, vector = self.single, self.vector
        last = vector.term, vector.step, self.y_row, self.y_lane
        return [blocks, self.lanes, depth, single.step, single.term, *last]

    def instructions(self, depth: int, elements: int) -> float:
        """Return about how many instructions a matrix takes; `elements`: of a vector of sums."""
        total = 0.0
        for rows, _, blocks in self.parts:
            term = 5 + (self.vector.zero != 0) + rows * (3 + (self.single.zero != 0))
            total += _CALL + blocks * -(-self.lanes // elements) * (_STRIP + depth * term + rows * _FINISH)
        return total


class RvvBatchMatMul(RvvFamily):
    """BatchMatMul of any shapes, turned or not, with a constant bias or none."""

    name = "rvv"
    kinds = (BatchMatMul,)

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return why `op` has no exact finish, or that its bias is no constant."""
        if not isinstance(op, BatchMatMul):
            return super().refusal(op, core)
        if op.bias is not None and not op.bias.is_constant:
            return "its bias is no constant"
        factor = _factor(op)
        bias = 0 if op.bias is None else int(np.abs(op.bias.values.astype(np.int64)).max(initial=0))
        if factor.shift < -31 or (factor.shift > 0 and (_depth(op) * 255 * 255 + bias) << factor.shift >= 1 << 31):
            return "its scale is far from its sums'"
        return self.lacks(core)

    def about(self, op: Operator, core: Core) -> float | None:
        """Return about how many instructions all matrices take."""
        assert isinstance(op, BatchMatMul)
        matrix = _way(op, core).instructions(_depth(op), core.zve32x // 32 * _GROUP)
        return prod(op.y.shape[:-2]) * matrix

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of products of matrices."""
        assert isinstance(op, BatchMatMul)
        way, depth = _way(op, core), _depth(op)
        batches = op.y.shape[:-2]
        operands = {"a": op.a, "b": op.b}
        strides = {name: _batch_strides(t.shape, batches) for name, t in operands.items()}
        strides["y"] = _batch_strides(op.y.shape, batches)
        steps: list[int] = []
        support: list[CSupport] = []
        w = CWriter()
        with loops(w, batches) as names:
            for rows, first, blocks in way.parts:
                function = _function(way, rows, _factor(op), (op.y.zero_point, *op.clamp), bias=op.bias is not None)
                support.append(function)
                single, vector = way.names
                starts = {single: first * way.single.step, vector: 0, "y": first * way.y_row}
                places = [f"{n} + {index(names, strides[n], starts[n])}" for n in (single, vector, "y")]
                at = f"steps + {len(steps)}" if steps else "steps"
                w(f"{function.name}({', '.join(places)}, {at}{', bias' if op.bias is not None else ''});")
                steps += way.steps(blocks, depth)
        constants = {name: CArray.of(t.values) for name, t in operands.items() if t.is_constant}
        if op.bias is not None:
            constants["bias"] = CArray.of(op.bias.values.reshape(-1))
        constants["steps"] = CArray(c_type="int32_t", values=np.array(steps, np.int32))
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"batchmatmul_{dims(op.y.shape)}_rvv",
                comment=f"{workload(op)}\nfamily {self.name}",
                parameters=(
                    *(
                        CParameter(name=name, c_type="int8_t", role="constant" if t.is_constant else "input")
                        for name, t in operands.items()
                    ),
                    *(
                        CParameter(name=n, c_type="int32_t", role="constant")
                        for n in ("bias", "steps")
                        if n in constants
                    ),
                    OUTPUT,
                ),
                body=w.text,
                support=tuple(dict.fromkeys(support)),
            ),
            constants=constants,
        )


def _factor(op: BatchMatMul) -> Requantization:
    return requantization(op.a.scale * op.b.scale / op.y.scale)


def _depth(op: BatchMatMul) -> int:
    return op.a.shape[-2 if op.turned_a else -1]


def _batch_strides(shape: tuple[int, ...], batches: tuple[int, ...]) -> tuple[int, ...]:
    """Return the elements from batch to batch along each of their dimensions."""
    matrix = prod(shape[-2:])
    return tuple(stride * matrix for stride in broadcast_strides(shape[:-2], batches))


def _way(op: BatchMatMul, core: Core) -> _Way:
    """Return the way of the fewest instructions. A bias belongs to columns, which are lanes then."""
    elements = core.zve32x // 32 * _GROUP
    ways = _ways(op)
    if op.bias is not None:
        return next(ways)
    return min(ways, key=lambda way: (way.instructions(_depth(op), elements), way.y_lane))


def _ways(op: BatchMatMul) -> Iterator[_Way]:
    rows, columns = op.y.shape[-2:]
    depth = _depth(op)
    a = (1, rows) if op.turned_a else (depth, 1)
    b = (depth, 1) if op.turned_b else (1, columns)
    left = _Side(step=a[0], term=a[1], zero=op.a.zero_point)
    right = _Side(step=b[0], term=b[1], zero=op.b.zero_point)
    yield _Way(rows=rows, lanes=columns, names=("a", "b"), single=left, vector=right, y_row=columns, y_lane=1)
    yield _Way(rows=columns, lanes=rows, names=("b", "a"), single=right, vector=left, y_row=1, y_lane=columns)


@lru_cache(maxsize=64)
def _function(way: _Way, rows: int, factor: Requantization, ends: tuple[int, int, int], *, bias: bool) -> CSupport:
    """Return `void name(single, vector, y, steps[, bias])`: blocks of `rows` rows; see `_STEPS`.

    Args:
        way: how operands are read.
        rows: at once.
        factor: from sums to the output.
        ends: the output zero point and the clamp.
        bias: whether sums start from a bias, of each lane.
    """
    places = dict(zip(_STEPS, _PLACES, strict=True))
    sums, pointers = _SUMS[:rows], ("t2", "t3", "t4", "t5")[:rows]
    near, y_near = way.vector.step == 1, way.y_lane == 1
    words, halves = f"e32, m{_GROUP}, ta, ma", f"e16, m{_GROUP // 2}, ta, ma"
    lines = [f"lw {register}, {4 * place}(a3)" for place, register in enumerate(_PLACES)]
    lines += [f"li s10, {way.vector.zero}"] if way.vector.zero else []
    lines += ["1:", f"mv t1, {places['lanes']}", "mv a5, a1", "mv a6, a2", *(["mv a7, a4"] if bias else [])]
    lines += ["2:", f"vsetvli t0, t1, {words}", f"vle32.v {sums[0]}, (a7)" if bias else f"vmv.v.i {sums[0]}, 0"]
    lines += [f"vmv.v.v {other}, {sums[0]}" for other in sums[1:]]
    lines += ["mv t2, a0"]
    lines += [f"add {to}, {before}, {places['row']}" for before, to in pairwise(pointers)]
    lines += ["mv t6, a5", f"mv s9, {places['depth']}", f"vsetvli x0, x0, {halves}", "3:"]
    lines += ["vle8.v v0, (t6)" if near else f"vlse8.v v0, (t6), {places['other_lane']}"]
    lines += [f"add t6, t6, {places['other_term']}", "vsext.vf2 v2, v0"]
    lines += ["vsub.vx v2, v2, s10"] if way.vector.zero else []
    for value, pointer in zip(sums, pointers, strict=True):
        lines += [f"lb s11, 0({pointer})", f"add {pointer}, {pointer}, {places['term']}"]
        lines += [f"addi s11, s11, {-way.single.zero}"] if way.single.zero else []
        lines.append(f"vwmacc.vx {value}, s11, v2")
    lines += ["addi s9, s9, -1", "bnez s9, 3b", f"vsetvli x0, x0, {words}"]
    lines += [f"li t2, {factor.multiplier}", *(f"li t{3 + n}, {value}" for n, value in enumerate(ends))]
    for value in sums:
        lines += rescaled(value, factor, multiplier="t2", spare="v0")
        lines += clamped(value, zero_point="t3", low="t4", high="t5")
    lines += [*narrowed(list(sums), _GROUP), "mv t6, a6"]
    for number, value in enumerate(sums):
        lines += [f"add t6, t6, {places['y_row']}"] if number else []
        lines.append(f"vse8.v {value}, (t6)" if y_near else f"vsse8.v {value}, (t6), {places['y_lane']}")
    for at, step, close in (("a5", "other_lane", near), ("a6", "y_lane", y_near)):
        lines += [f"add {at}, {at}, t0"] if close else [f"mul t2, t0, {places[step]}", f"add {at}, {at}, t2"]
    lines += ["slli t2, t0, 2", "add a7, a7, t2"] if bias else []
    lines += ["sub t1, t1, t0", "bnez t1, 2b"]
    lines += [f"add a0, a0, {places['row']}", f"add a2, a2, {places['y_row']}"] * rows
    lines += [f"addi {places['blocks']}, {places['blocks']}, -1", f"bnez {places['blocks']}, 1b"]
    name = f"utvm_rvv_matmul_{rows}_{short_digest(lines)}"
    operands = "const int8_t *single, const int8_t *vector, int8_t *y, const int32_t *steps"
    prototype = f"void {name}({operands}{', const int32_t *bias' if bias else ''})"
    return vector_function(name, prototype, lines, f"{rows} rows at once; steps: {', '.join(_STEPS)}", saved=12)
