"""Two or four rows of bytes that become columns, or columns that become rows, by the loads and stores made for that.

These access memory by words: where columns lie begins at a multiple of four, and so does each run of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from utvm.codegen import CSupport
from utvm.kernels.dsp.assembly import assembler_function
from utvm.kernels.helium.code import constant

WAYS = (2, 4)
VECTOR = 16
_CALL_CYCLES, _RUN_CYCLES, _ROW_CYCLES = 30, 12, 4.3


@dataclass(frozen=True, slots=True, kw_only=True)
class InterleaveSpec:
    """A transposition of bytes with a side of two or four.

    Attributes:
        joins: whether rows become columns; else columns become rows.
        ways: how many, 2 or 4.
        count: bytes of a row, at least 16.
        pitch: from a row to the next.
        runs: how many such transpositions follow one another.
        in_pitch, out_pitch: from one of them to the next.
    """

    joins: bool
    ways: int
    count: int
    pitch: int
    runs: int
    in_pitch: int
    out_pitch: int

    @property
    def cycles(self) -> float:
        """About how many modelled cycles the function takes."""
        return _CALL_CYCLES + self.runs * (_RUN_CYCLES + -(-self.count // VECTOR) * self.ways * _ROW_CYCLES)


@lru_cache(maxsize=64)
def interleave_function(spec: InterleaveSpec) -> CSupport:
    """Return `void name(void *to, const void *from)`; the last vectors may lie over others."""
    rows = [f"r{4 + way}" for way in range(spec.ways)]
    vectors = [f"q{way}" for way in range(spec.ways)]
    several = ", ".join(vectors)
    name, apart, beside = ("vst", "r1", "r0") if spec.joins else ("vld", "r0", "r1")
    accesses = [f"{name}{spec.ways}{k}.8 {{{several}}}, [r3]{'!' * (k + 1 == spec.ways)}" for k in range(spec.ways)]
    if spec.joins:
        loads = (f"vldrb.u8 {vector}, [{row}], #{VECTOR}" for vector, row in zip(vectors, rows, strict=True))
        body = [*loads, *accesses]
    else:
        stores = (f"vstrb.8 {vector}, [{row}], #{VECTOR}" for vector, row in zip(vectors, rows, strict=True))
        body = [*accesses, *stores]
    blocks, left = divmod(spec.count, VECTOR)
    lines = ["push {r4-r10, lr}", *constant("r8", spec.pitch), *constant("r9", spec.in_pitch)]
    lines += [*constant("r10", spec.out_pitch), *constant("r2", spec.runs), "4:", f"mov r3, {beside}"]
    lines += [f"mov {rows[0]}, {apart}"]
    lines += [f"add {row}, {before}, r8" for before, row in pairwise(rows)]
    lines += [*constant("r12", blocks), "dls lr, r12", "1:", *body, "le lr, 1b"]
    if left:
        back = VECTOR - left
        lines += [f"sub.w {row}, {row}, #{back}" for row in rows]
        lines += [f"sub.w r3, r3, #{back * spec.ways}", *body]
    lines += ["add r0, r0, r10", "add r1, r1, r9", "subs.w r2, r2, #1", "bne.w 4b", "pop {r4-r10, pc}"]
    numbers = (spec.ways, spec.count, spec.pitch, spec.runs, spec.in_pitch, spec.out_pitch)
    label = "_".join(f"m{-each}" if each < 0 else str(each) for each in numbers)
    function = f"utvm_helium_{'join' if spec.joins else 'part'}_{label}"
    comment = f"{spec.runs} times {spec.ways} rows of {spec.count} bytes"
    return assembler_function(function, f"void {function}(void *to, const void *from)", lines, comment)
