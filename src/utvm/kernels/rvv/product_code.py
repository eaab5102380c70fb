"""Products of several pixels and all channels, as one function: channels are the lanes of vectors.

A step of the sum loads a vector of weights once for all pixels, widens it to 16 bits, and adds its products with a byte
of each pixel to sums of 32 bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from utvm.codegen import CSupport
from utvm.kernels.helium.finish import VectorFinish
from utvm.kernels.rvv.code import group, vector_function
from utvm.kernels.rvv.finish import clamped, finish_instructions, multiple, narrowed, requantized, way

MOST_PIXELS = {4: 6, 8: 2}
"""How many pixels have room, by the registers of a group of sums."""
_UNROLLED = 4
_POINTERS = ("t0", "t1", "t2", "t3", "t4", "t5")
SHAPE_WORDS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductSpec:
    """A function: how many pixels at once, how many registers a vector of sums has, and the way to int8."""

    pixels: int
    group: int
    finish: VectorFinish

    @property
    def name(self) -> str:
        """Its symbol."""
        return f"utvm_rvv_product_{self.pixels}x{self.group}{way(self.finish)}"


def shape(
    *, rows: int, run: int, row_stride: int, pitch: int, channels: int, out_pitch: int, finish: VectorFinish
) -> tuple[int, ...]:
    """Return the words that tell a function of `product_function` where its operands are.

    Args:
        rows: runs of inputs of a pixel.
        run: bytes of each.
        row_stride: bytes from one to the next.
        pitch: bytes from pixel to pixel.
        channels: outputs of a pixel that are made.
        out_pitch: bytes from pixel to pixel of the output.
        finish: the way to int8.
    """
    return rows, run, row_stride - run, pitch, channels, out_pitch, finish.zero_point, finish.low, finish.high


@lru_cache(maxsize=64)
def product_function(spec: ProductSpec) -> CSupport:
    """Return `void name(x, weights, finish, shape, y)`.

    `weights` are [taps, channels], `finish` the biases [channels] and what `finish.constants` has, `shape` as above.
    """
    size, pixels = spec.group, range(spec.pixels)
    # The weights' bytes and their wide form lie where the finish has its constants.
    first, second = group(0, size, 0), group(0, size, 1)
    wide, sums = second, [group(2 * size, size, p) for p in pixels]
    places = _POINTERS[: spec.pixels]
    words, halves = f"e32, m{size}, ta, ma", f"e16, {multiple(size, 2)}, ta, ma"

    def step(offset: int) -> list[str]:
        lines = [f"vle8.v {first}, (t6)", "add t6, t6, a6", f"vsext.vf2 {wide}, {first}"]
        for p, place in enumerate(places):
            byte = ("s2", "s3")[p % 2]
            lines += [f"lb {byte}, {offset}({place})", f"vwmacc.vx {sums[p]}, {byte}, {wide}"]
        return lines

    lines = ["lw a5, 16(a3)", "mv a6, a5", "1:", f"vsetvli s7, a5, {words}", f"vle32.v {sums[0]}, (a2)"]
    lines += [f"vmv.v.v {other}, {sums[0]}" for other in sums[1:]]
    lines += ["lw s1, 0(a3)", "lw s5, 4(a3)", "lw s6, 8(a3)", "lw s4, 12(a3)", "mv t6, a1", "mv t0, a0"]
    lines += [f"add {place}, {before}, s4" for before, place in pairwise(places)]
    lines += [f"vsetvli x0, x0, {halves}", "2:", f"srli s0, s5, {_UNROLLED.bit_length() - 1}", "beqz s0, 4f", "3:"]
    for offset in range(_UNROLLED):
        lines += step(offset)
    lines += [f"addi {place}, {place}, {_UNROLLED}" for place in places]
    lines += ["addi s0, s0, -1", "bnez s0, 3b", "4:", f"andi s0, s5, {_UNROLLED - 1}", "beqz s0, 6f", "5:", *step(0)]
    lines += [f"addi {place}, {place}, 1" for place in places]
    lines += ["addi s0, s0, -1", "bnez s0, 5b", "6:", "addi s1, s1, -1", "beqz s1, 7f"]
    lines += [f"add {place}, {place}, s6" for place in places]
    lines += ["j 2b", "7:", f"vsetvli x0, x0, {words}"]
    lines += ["lw s0, 24(a3)", "lw s1, 28(a3)", "lw s2, 32(a3)", "slli s3, a6, 2", "add s4, a2, s3", "lw s5, 20(a3)"]
    for value in sums:
        lines += ["mv t0, s4", *requantized(value, spec.finish, at="t0", step="s3", first=first, second=second)]
        lines += clamped(value, zero_point="s0", low="s1", high="s2")
    lines += narrowed(sums, size)
    lines += ["mv t0, a4"]
    for p, value in enumerate(sums):
        lines += [*(["add t0, t0, s5"] if p else []), f"vse8.v {value}, (t0)"]
    lines += ["add a4, a4, s7", "add a1, a1, s7", "slli t0, s7, 2", "add a2, a2, t0", "sub a5, a5, s7", "bnez a5, 1b"]
    operands = "const int8_t *x, const int8_t *weights, const int32_t *finish, const int32_t *shape, int8_t *y"
    return vector_function(
        spec.name,
        f"void {spec.name}({operands})",
        lines,
        f"{spec.pixels} pixels by all channels; shape: runs, their bytes and distance, pixels' distance, channels, ...",
        saved=8,
    )


def product_instructions(spec: ProductSpec, *, rows: int, run: int, channels: int, lanes: int) -> float:
    """Return the instructions of a call.

    Args:
        spec: the function.
        rows, run, channels: as in `shape`.
        lanes: elements of 32 bits of a vector register.
    """
    blocks = -(-channels // (lanes * spec.group))
    m = spec.pixels
    whole, rest = divmod(run, _UNROLLED)
    step = 3 + 2 * m
    row = whole * (_UNROLLED * step + m + 2) + rest * (step + m + 2) + 7 + m
    return 24 + blocks * (34 + 2 * m + rows * row + m * finish_instructions(spec.finish))
