"""Bilinear resizing by vectors: two rows are blended into a line, and the columns of the line into pixels.

Sums are those of four products of the definition, since the weights of a pixel are products of a row's and a column's.
Lanes have 16 bits where all fractions are sixteenths, else 32. Pixels of few channels are gathered from the line.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from utvm.codegen import CArray, CSupport, CWriter
from utvm.cores import Core
from utvm.cores.microkernel import Block, code_cycles, schedule
from utvm.cores.timing import Timing
from utvm.graph import Operator, ResizeBilinear
from utvm.graph.arithmetic import BILINEAR_FRACTION_BITS, BilinearPositions, bilinear_positions
from utvm.kernels.base import Config, Kernel
from utvm.kernels.dsp.assembly import assembler_function
from utvm.kernels.helium.code import constant, move
from utvm.kernels.helium.family import ScheduledVectors
from utvm.kernels.resize_calls import line_kernel

_NARROW_BITS = 4
"""Bits of fractions from which sums of bytes fit 16 bits."""
_FEW = 5
"""Channels from which pixels are worth a turn each."""
_AT_ONCE = 4
"""Vectors of a turn, as many as registers hold."""
_VECTOR = 16
_CALL_CYCLES, _ROW_CYCLES, _PIXEL_CYCLES = 60, 90, 9
_MOST_OFFSETS = 1 << 16
_POOL = tuple(f"q{number}" for number in range(1, 8))


class HeliumResizeBilinear(ScheduledVectors):
    """ResizeBilinear of any sizes and alignment."""

    name = "helium"
    kinds = (ResizeBilinear,)

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return that rows are too long, or what the core lacks."""
        if not isinstance(op, ResizeBilinear):
            return super().refusal(op, core)
        if op.x.shape[2] * op.x.shape[3] >= _MOST_OFFSETS:
            return "its rows have 65,536 elements and more"
        return self.lacks(core)

    def estimate(self, op: Operator, core: Core, config: Config) -> float | None:
        """Return the cycles of all rows."""
        del config
        assert isinstance(op, ResizeBilinear)
        assert core.timing is not None
        batch, height, width, channels = op.y.shape
        fraction_bits = _fraction_bits(op)
        down, across = _blend(fraction_bits), _across(fraction_bits, channels, core.timing)
        lanes = _lanes(fraction_bits)
        row = -(-op.x.shape[2] * channels // lanes) * _turn_cycles(down, core.timing)
        if channels < _FEW:
            row += -(-width * channels // lanes) * _turn_cycles(across[0], core.timing)
        else:
            row += width * (_PIXEL_CYCLES + across[1])
        return _CALL_CYCLES + batch * height * (_ROW_CYCLES + row)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a bilinear resize."""
        assert isinstance(op, ResizeBilinear)
        assert core.timing is not None
        batch, height, width, channels = op.x.shape
        _, out_height, out_width, _ = op.y.shape
        bits, row = _fraction_bits(op), width * channels
        down, (across, _) = _blend(bits), _across(bits, channels, core.timing)
        rows, columns = bilinear_positions(op)
        gathers = channels < _FEW
        tables = {"rows": CArray(c_type="int32_t", values=_words(rows, bits))}
        if gathers:
            tables["columns"] = CArray(c_type="int16_t", values=_elements(columns, bits, channels))
        else:
            tables["columns"] = CArray(c_type="int32_t", values=_words(columns, bits))
        w = CWriter()
        with w.loop("n", batch), w.loop("oy", out_height):
            w(f"const int32_t fraction = rows[oy] & {(1 << bits) - 1};")
            w(f"const int8_t *const from = x + (n * {height} + (rows[oy] >> {bits})) * {row};")
            w(f"int8_t *const to = y + (n * {out_height} + oy) * {out_width * channels};")
            w(f"{down.name}(line, from, fraction ? from + {row} : from, fraction, {row});")
            w(f"{across.name}(line, to, columns, {out_width * (channels if gathers else 1)});")
        # The last column is blended with what follows it, and whole vectors are read; neither counts.
        line = (row + channels) * (_VECTOR // _lanes(bits)) + _VECTOR
        remark = f", lanes of {128 // _lanes(bits)} bits"
        return line_kernel(op, self.name, config, w.text, tables, (down, across), line=("int8_t", line), remark=remark)


def _fraction_bits(op: ResizeBilinear) -> int:
    """Return how many bits the fractions have: few where all are multiples of a sixteenth."""
    every = np.concatenate([each.fraction for each in bilinear_positions(op)])
    unit = 1 << (BILINEAR_FRACTION_BITS - _NARROW_BITS)
    return _NARROW_BITS if not (every % unit).any() else BILINEAR_FRACTION_BITS


def _lanes(fraction_bits: int) -> int:
    return 8 if fraction_bits == _NARROW_BITS else 4


def _words(positions: BilinearPositions, bits: int) -> np.ndarray:
    """Return the first pixel of each output pixel, and below it the fraction in so many bits. int32."""
    return (positions.first << bits) | (positions.fraction >> (BILINEAR_FRACTION_BITS - bits))


def _elements(positions: BilinearPositions, bits: int, channels: int) -> np.ndarray:
    """Return places in the line and fractions of elements: a vector of places, one of fractions, and so on. int16."""
    lanes = _lanes(bits)
    places = (positions.first[:, None] * channels + np.arange(channels)).reshape(-1)
    fractions = np.repeat(positions.fraction >> (BILINEAR_FRACTION_BITS - bits), channels)
    padding = (0, -len(places) % lanes)
    pairs = [np.pad(values, padding).reshape(-1, lanes) for values in (places, fractions)]
    return np.stack(pairs, axis=1).reshape(-1).astype(np.uint16).view(np.int16)


@lru_cache(maxsize=2)
def _blend(fraction_bits: int) -> CSupport:
    """Return the function that blends two rows of bytes into a line of lanes.

    `void name(void *line, const int8_t *first, const int8_t *second, int32_t fraction, int32_t count)`.
    """
    bits, lanes = 128 // _lanes(fraction_bits), _lanes(fraction_bits)
    name = f"utvm_helium_blend_{bits}"
    lines = [
        "push {r4, lr}",
        "ldr r4, [sp, #8]",
        f"rsb.w r12, r3, #{1 << fraction_bits}",
        f"wlstp.{bits} lr, r4, 2f",
        "1:",
        f"vldrb.s{bits} q0, [r1], #{lanes}",
        f"vldrb.s{bits} q1, [r2], #{lanes}",
        f"vmul.i{bits} q0, q0, r12",
        f"vmla.s{bits} q0, q1, r3",
        f"vstr{_suffix(bits)}.{bits} q0, [r0], #16",
        "letp lr, 1b",
        "2:",
        "pop {r4, pc}",
    ]
    arguments = "void *line, const int8_t *first, const int8_t *second, int32_t fraction, int32_t count"
    comment = f"count elements of two rows, by fractions of {1 << fraction_bits}"
    return assembler_function(name, f"void {name}({arguments})", lines, comment)


def _across(fraction_bits: int, channels: int, timing: Timing) -> tuple[CSupport, float]:
    """Return the function that blends columns of a line, and its cycles for a pixel if it goes by pixels."""
    return (_gathered(fraction_bits, channels), 0.0) if channels < _FEW else _pixels(fraction_bits, channels, timing)


@lru_cache(maxsize=16)
def _gathered(fraction_bits: int, channels: int) -> CSupport:
    """Return `void name(const void *line, int8_t *y, const int16_t *columns, int32_t count)`, over elements."""
    lanes = _lanes(fraction_bits)
    bits, scale = 128 // lanes, "uxtw #1" if lanes == 8 else "uxtw #2"
    name = f"utvm_helium_columns_{bits}_of_{channels}"
    lines = [
        "push {r4, lr}",
        f"add.w r12, r0, #{channels * bits // 8}",
        f"wlstp.{bits} lr, r3, 2f",
        "1:",
        f"vldrh.u{bits} q0, [r2], #{2 * lanes}",
        f"vldrh.u{bits} q1, [r2], #{2 * lanes}",
        f"vldr{_suffix(bits)}.u{bits} q2, [r0, q0, {scale}]",
        f"vldr{_suffix(bits)}.u{bits} q3, [r12, q0, {scale}]",
        f"vsub.i{bits} q3, q3, q2",
        f"vmul.i{bits} q3, q3, q1",
        f"vshl.i{bits} q2, q2, #{fraction_bits}",
        f"vadd.i{bits} q2, q2, q3",
        *_rounded("q2", "q3", fraction_bits),
        f"vstrb.{bits} q2, [r1], #{lanes}",
        "letp lr, 1b",
        "2:",
        "pop {r4, pc}",
    ]
    prototype = f"void {name}(const void *line, int8_t *y, const int16_t *columns, int32_t count)"
    return assembler_function(name, prototype, lines, f"count elements of pixels of {channels} channels")


@lru_cache(maxsize=64)
def _pixels(fraction_bits: int, channels: int, timing: Timing) -> tuple[CSupport, float]:
    """Return `void name(const void *line, int8_t *y, const int32_t *columns, int32_t pixels)`, and a pixel's cycles.

    Raises:
        ScheduleError: it can't be scheduled.
    """
    lanes = _lanes(fraction_bits)
    bits = 128 // lanes
    whole, rest = divmod(channels, lanes)
    turns, left = divmod(whole, _AT_ONCE)
    lines: list[str] = []
    cycles = 0.0
    if turns:
        turn = schedule(_vectors(fraction_bits, _AT_ONCE), timing, pool=_POOL)
        steps = [*move("r5", _AT_ONCE * _VECTOR), *move("r6", _AT_ONCE * _VECTOR), *move("r1", _AT_ONCE * lanes)]
        lines += [f"movs r8, #{turns}" if turns < 256 else f"movw r8, #{turns}", ".balign 4", "3:", *turn.lines, *steps]
        lines += ["subs.w r8, r8, #1", "bne.w 3b"]
        cycles += turns * (turn.cycles + 6)
    block = _vectors(fraction_bits, left)
    if rest:
        # The last vector has a predicate, which the scheduler would part from its store.
        _vector(block, fraction_bits, left, "q0")
    if left or rest:
        done = schedule(block, timing, pool=_POOL, fixed={"%q0": "q0"} if rest else None)
        lines += done.lines
        cycles += done.cycles
    if rest:
        lines += ["vpst", f"vstrbt.{bits} q0, [r1, #{left * lanes}]"]
    lines += move("r1", left * lanes + rest)
    name = f"utvm_helium_columns_{bits}_{channels}"
    size = channels * bits // 8
    function = [
        "push {r4-r8, lr}",
        "vpush {d8-d15}",
        *constant("r12", size),
        *([*constant("r4", rest), f"vctp.{bits} r4"] if rest else []),
        "dls lr, r3",
        "4:",
        "ldr r4, [r2], #4",
        f"lsr.w r5, r4, #{fraction_bits}",
        "mla r5, r5, r12, r0",
        f"ubfx r4, r4, #0, #{fraction_bits}",
        "add.w r6, r5, r12",
        f"rsb.w r7, r4, #{1 << fraction_bits}",
        *lines,
        "le lr, 4b",
        "vpop {d8-d15}",
        "pop {r4-r8, pc}",
    ]
    prototype = f"void {name}(const void *line, int8_t *y, const int32_t *columns, int32_t pixels)"
    return assembler_function(name, prototype, function, f"pixels of {channels} channels"), cycles


def _vectors(fraction_bits: int, count: int) -> Block:
    """Return the code of whole vectors of a pixel: columns at r5 and r6 by r7 and r4 into r1."""
    block, lanes = Block(), _lanes(fraction_bits)
    for number in range(count):
        _vector(block, fraction_bits, number, f"%v{number}")
        block(f"vstrb.{128 // lanes} %v{number}, [r1, #{number * lanes}]")
    return block


def _vector(block: Block, fraction_bits: int, number: int, total: str) -> None:
    bits, other = 128 // _lanes(fraction_bits), f"%o{number}"
    for register, pointer in ((total, "r5"), (other, "r6")):
        block(f"vldr{_suffix(bits)}.u{bits} {register}, [{pointer}, #{_VECTOR * number}]")
    block(f"vmul.i{bits} {total}, {total}, r7", f"vmla.s{bits} {total}, {other}, r4")
    block(*_rounded(total, f"%s{number}", fraction_bits))


def _rounded(total: str, sign: str, fraction_bits: int) -> list[str]:
    """Return the division of a sum by both weights' sums, to nearest, halves away from zero."""
    bits = 128 // _lanes(fraction_bits)
    # The least sum of 16 bits has no room for the 1 that is taken from it, and needs none.
    add = "vqadd.s16" if bits == 16 else "vadd.i32"
    return [
        f"vshr.s{bits} {sign}, {total}, #{bits - 1}",
        f"{add} {total}, {total}, {sign}",
        f"vrshr.s{bits} {total}, {total}, #{2 * fraction_bits}",
    ]


def _suffix(bits: int) -> str:
    return "h" if bits == 16 else "w"


def _turn_cycles(function: CSupport, timing: Timing) -> float:
    """Return the cycles of a turn of a loop of vectors."""
    lines = function.assembly
    turn = tuple(lines[lines.index("1:") + 1 : lines.index("letp lr, 1b")])
    return code_cycles(turn, timing, context=turn)
