"""Sums of taps by vectors of lanes, and how they become averages, as one function.

A division is one instruction of a vector: averages of pooling divide as TFLite does. Those of Mean are rescaled.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from utvm.codegen import CSupport
from utvm.graph import AverageRounding
from utvm.graph.arithmetic import Requantization
from utvm.kernels.dsp.assembly import short_digest
from utvm.kernels.rvv.code import vector_function
from utvm.kernels.rvv.finish import clamped, narrowed, rescaled

_GROUP = 8
_LOWEST = -128


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotient:
    """The average of the taps of a window, rounded, then clamped."""

    rounding: AverageRounding
    low: int
    high: int

    def lines(self, value: str, spare: str) -> list[str]:
        """Return the lines from sums to averages; t6 is the count of taps."""
        clamp = [f"li t5, {self.low}", f"vmax.vx {value}, {value}, t5"]
        clamp += [f"li t5, {self.high}", f"vmin.vx {value}, {value}, t5"]
        if self.rounding is AverageRounding.HALF_UP:
            # Counted from -128, sums are not negative.
            shifted = ["slli t4, t6, 7", "srli t5, t6, 1", "add t4, t4, t5", f"vadd.vx {value}, {value}, t4"]
            shifted += [f"vdivu.vx {value}, {value}, t6", f"li t5, {_LOWEST}", f"vadd.vx {value}, {value}, t5"]
            return [*shifted, *clamp]
        away = [
            "srli t4, t6, 1",
            # A half with the sign of the sum.
            f"vsra.vi {spare}, {value}, 31",
            f"vsub.vv {value}, {value}, {spare}",
            f"vxor.vx {spare}, {spare}, t4",
            f"vadd.vv {value}, {value}, {spare}",
        ]
        half = away if self.rounding is AverageRounding.HALF_AWAY else []
        return [*half, f"vdiv.vx {value}, {value}, t6", *clamp]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescaled:
    """A sum, less the zero points of its terms, at the scale of the output.

    Attributes:
        less: the sum of the zero points.
        factor: from the sum to the output.
        zero_point: the output's.
    """

    less: int
    factor: Requantization
    zero_point: int

    def lines(self, value: str, spare: str) -> list[str]:
        """Return the lines from sums to outputs."""
        start = [f"li t4, {-self.less}", f"vadd.vx {value}, {value}, t4"] if self.less else []
        start += [f"li t4, {self.factor.multiplier}"]
        end = [f"li t4, {self.zero_point}", "li t5, -128", "li t6, 127"]
        return [
            *start,
            *rescaled(value, self.factor, multiplier="t4", spare=spare),
            *end,
            *clamped(value, zero_point="t4", low="t5", high="t6"),
        ]


@lru_cache(maxsize=64)
def average_function(finish: Quotient | Rescaled, *, strided: bool) -> CSupport:
    """Return `void name(x, y, steps, rows, taps, lanes)`.

    `steps` are the bytes from row to row of taps, from tap to tap, and from lane to lane where these are `strided`.
    """
    value, byte, half, spare = "v0", "v8", "v12", "v16"
    load = f"vlse8.v {byte}, (t4), t1" if strided else f"vle8.v {byte}, (t4)"
    lines = ["lw a6, 0(a2)", "lw a7, 4(a2)", *(["lw t1, 8(a2)"] if strided else [])]
    lines += ["1:", f"vsetvli t0, a5, e32, m{_GROUP}, ta, ma", f"vmv.v.i {value}, 0", "mv t2, a0", "mv t3, a3"]
    lines += [f"vsetvli x0, x0, e16, m{_GROUP // 2}, ta, ma", "2:", "mv t4, t2", "mv t5, a4"]
    lines += ["3:", load, "add t4, t4, a7", f"vsext.vf2 {half}, {byte}", f"vwadd.wv {value}, {value}, {half}"]
    lines += ["addi t5, t5, -1", "bnez t5, 3b", "add t2, t2, a6", "addi t3, t3, -1", "bnez t3, 2b"]
    lines += [f"vsetvli x0, x0, e32, m{_GROUP}, ta, ma"]
    lines += ["mul t6, a3, a4"] if isinstance(finish, Quotient) else []
    lines += [*finish.lines(value, spare), *narrowed([value], _GROUP), f"vse8.v {value}, (a1)", "add a1, a1, t0"]
    lines += ["sub a5, a5, t0", *(["mul t0, t0, t1"] if strided else []), "add a0, a0, t0", "bnez a5, 1b"]
    name = f"utvm_rvv_average_{short_digest(lines)}"
    operands = "const int8_t *x, int8_t *y, const int32_t *steps, int32_t rows, int32_t taps, int32_t lanes"
    comment = "averages of rows of taps; steps: bytes from row to row, from tap to tap, from lane to lane"
    return vector_function(name, f"void {name}({operands})", lines, comment)
