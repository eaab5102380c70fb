"""Depthwise sums of a few pixels and all channels, as one function: channels are the lanes of vectors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from utvm.codegen import CSupport
from utvm.kernels.helium.finish import VectorFinish
from utvm.kernels.rvv.code import group, vector_function
from utvm.kernels.rvv.finish import clamped, finish_instructions, narrowed, requantized, way

MOST_PIXELS = 4
_GROUP = 4
_POINTERS = ("t0", "t1", "t2", "t3")


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthwiseSpec:
    """A function: how many pixels at once, whether a channel is spread over several outputs, and the way to int8."""

    pixels: int
    spread: bool
    finish: VectorFinish

    @property
    def name(self) -> str:
        """Its symbol."""
        return f"utvm_rvv_depthwise_{self.pixels}{'s' * self.spread}{way(self.finish)}"


def shape(
    *, tap: int, row: int, weight_row: int, pitch: int, channels: int, zero: int, outputs: int, finish: VectorFinish
) -> tuple[int, ...]:
    """Return the words that tell a function of `depthwise_function` where its operands are.

    Args:
        tap: bytes from tap to tap of a row.
        row: bytes from row to row of taps.
        weight_row: bytes from row to row of the weights.
        pitch: bytes from pixel to pixel of the input.
        channels: channels of weights and output.
        zero: the input's zero point.
        outputs: channels of the output for each of the input.
        finish: the way to int8.
    """
    return tap, row, weight_row, pitch, channels, zero, finish.zero_point, finish.low, finish.high, outputs


@lru_cache(maxsize=64)
def depthwise_function(spec: DepthwiseSpec) -> CSupport:
    """Return `void name(x, weights, finish, shape, y, rows, taps)`, for windows of so many rows and taps a row.

    `weights` are [row, tap, channel], `finish` the biases [channel] and what `finish.constants` has, `shape` as above.
    Taps outside of the input are left out by the caller: inputs count from their zero point.
    """
    pixels = range(spec.pixels)
    byte, weight_byte, weight, spread = "v0", "v1", "v2", "v28"
    values = [group(4, 2, p) for p in pixels]
    sums = [group(12, _GROUP, p) for p in pixels]
    places = _POINTERS[: spec.pixels]
    lines = ["lw a7, 16(a3)", "mv s0, a7", "lw s1, 0(a3)", "lw s2, 20(a3)", "lw s3, 12(a3)"]
    lines += ["1:", "vsetvli s7, s0, e32, m4, ta, ma", f"vle32.v {sums[0]}, (a2)"]
    lines += [f"vmv.v.v {other}, {sums[0]}" for other in sums[1:]]
    if spec.spread:
        # Where the channel of each lane is, from the first one on.
        lines += ["vsetvli x0, x0, e16, m2, ta, ma", f"vid.v {spread}", "sub t5, a7, s0", "lw t6, 36(a3)"]
        lines += [f"vadd.vx {spread}, {spread}, t5", f"vdivu.vx {spread}, {spread}, t6"]
    lines += ["blez a5, 4f", "blez a6, 4f", "mv s4, a5", "mv s5, a0", "mv s6, a1", "2:", "mv t0, s5"]
    lines += [f"add {place}, {before}, s3" for before, place in pairwise(places)]
    lines += ["mv t5, a6", "mv t6, s6", "3:", "vsetvli x0, x0, e8, m1, ta, ma"]
    lines += [f"vle8.v {weight_byte}, (t6)", "add t6, t6, a7", f"vwadd.vx {weight}, {weight_byte}, x0"]
    for value, place in zip(values, places, strict=True):
        lines.append(f"vluxei16.v {byte}, ({place}), {spread}" if spec.spread else f"vle8.v {byte}, ({place})")
        lines += [f"add {place}, {place}, s1", f"vwsub.vx {value}, {byte}, s2"]
    lines.append("vsetvli x0, x0, e16, m2, ta, ma")
    lines += [f"vwmacc.vv {total}, {value}, {weight}" for total, value in zip(sums, values, strict=True)]
    lines += ["addi t5, t5, -1", "bnez t5, 3b", "lw t5, 4(a3)", "add s5, s5, t5", "lw t5, 8(a3)", "add s6, s6, t5"]
    lines += ["addi s4, s4, -1", "bnez s4, 2b", "4:", "vsetvli x0, x0, e32, m4, ta, ma"]
    lines += ["lw t1, 24(a3)", "lw t2, 28(a3)", "lw t3, 32(a3)", "slli t4, a7, 2", "add t5, a2, t4"]
    for total in sums:
        lines += ["mv t0, t5", *requantized(total, spec.finish, at="t0", step="t4", first="v0", second="v4")]
        lines += clamped(total, zero_point="t1", low="t2", high="t3")
    lines += [*narrowed(sums, _GROUP), "mv t0, a4"]
    for p, total in enumerate(sums):
        lines += [*(["add t0, t0, a7"] if p else []), f"vse8.v {total}, (t0)"]
    lines += [
        "add a4, a4, s7",
        *([] if spec.spread else ["add a0, a0, s7"]),
        "add a1, a1, s7",
        "slli t0, s7, 2",
        "add a2, a2, t0",
    ]
    lines += ["sub s0, s0, s7", "bnez s0, 1b"]
    operands = "const int8_t *x, const int8_t *weights, const int32_t *finish, const int32_t *shape, int8_t *y"
    return vector_function(
        spec.name,
        f"void {spec.name}({operands}, int32_t rows, int32_t taps)",
        lines,
        f"{spec.pixels} pixels; shape: distances of taps, rows, rows of weights, pixels; channels, zero point, ...",
        saved=8,
    )


def depthwise_instructions(spec: DepthwiseSpec, *, rows: int, taps: int, channels: int, lanes: int) -> float:
    """Return the instructions of a call for windows of `rows` rows of `taps` taps."""
    m = spec.pixels
    block = 26 + 6 * spec.spread + m + rows * (10 + m + taps * (7 + 4 * m)) + m * finish_instructions(spec.finish)
    return 26 + -(-channels // (lanes * _GROUP)) * block
