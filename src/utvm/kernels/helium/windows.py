"""The assembler of windows by vectors: the most or the mean of a window's taps, channel by channel.

Maxima are of sixteen bytes, means of eight lanes of 16 bits, or of four of 32 where a sum of the window needs them. The
mean of a pooling is the high half of a product of the sum, as an unsigned number, and a shift: compared with the
definition for all sums. That of a Mean or a sum is requantised. The last vector of the channels is predicated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from utvm.codegen import CSupport
from utvm.cores.microkernel import Block, code_cycles, schedule
from utvm.cores.timing import Timing
from utvm.graph import AverageRounding
from utvm.kernels.dsp.assembly import assembler_function, short_digest
from utvm.kernels.helium.code import constant, framed, move

_POOL = ("q1", "q2", "q3", "q4")
_STRAIGHT = 16
"""Taps that are written one after another."""
MOST_COLUMNS = 32
"""Those of a row, of a window that is written out."""
_PART = 8
"""Those of a turn over many neighbours."""
_FRAME = 4
_STACKED = _FRAME + 4 * 9 + 64
"""Where the fifth argument is, behind the frame and what is saved."""
_BYTE_OFFSET = 127
_CALL_CYCLES, _WINDOW_CYCLES, _LOOP_CYCLES = 60, 12, 4
_NARROW_TAPS = 256
"""Taps whose sum of bytes fits 16 bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowSpec:
    """What a function computes for windows beside each other. Sizes and offsets in bytes.

    Attributes:
        bits: of a lane: those of an element for maxima, 16 or 32 for means.
        channels: of a pixel.
        row: from a row of the input to the next.
        step: from a window to the next.
        window: rows and columns of taps; None where they are arguments.
        clamp: of the result.
        signed: whether negative sums are rounded otherwise than others.
        requantizes: whether a sum of 32 bits is requantised instead of divided.
        least: whether elements are the least of a window, not the most.
    """

    bits: int
    channels: int
    row: int
    step: int
    window: tuple[int, int] | None
    clamp: tuple[int, int]
    signed: bool = False
    requantizes: bool = False
    least: bool = False

    element: ClassVar[int] = 1
    """Bytes of an element."""

    @property
    def pixel(self) -> int:
        """Bytes of a pixel."""
        return self.channels * self.element

    @property
    def moved(self) -> int:
        """Bytes of the elements of a vector."""
        return self.lanes * self.element

    @property
    def full(self) -> tuple[int, int]:
        """The ends of the range of an element."""
        half = 1 << 8 * self.element - 1
        return -half, half - 1

    @property
    def is_most(self) -> bool:
        """Whether maxima are computed, in lanes of an element."""
        return self.bits == 8 * self.element

    @property
    def load(self) -> str:
        """What loads a vector of elements."""
        memory = "vldrb" if self.element == 1 else "vldrh"
        return f"{memory}.u{self.bits}" if self.is_most else f"{memory}.s{self.bits}"

    @property
    def lanes(self) -> int:
        """Channels of a vector."""
        return 128 // self.bits

    @property
    def parts(self) -> tuple[int, int, tuple[int, ...], tuple[int, ...]]:
        """Return (turns, bytes from turn to turn, offsets of the taps of a turn, of those behind all turns)."""
        assert self.window is not None
        rows, columns = self.window
        if rows * columns <= _STRAIGHT:
            return 1, 0, tuple(y * self.row + x * self.pixel for y in range(rows) for x in range(columns)), ()
        if columns * self.pixel == self.row or rows == 1:
            turns, rest = divmod(rows * columns, _PART)
            return turns, _PART * self.pixel, self._beside(_PART), self._beside(rest)
        return rows, self.row, self._beside(columns), ()

    def _beside(self, count: int) -> tuple[int, ...]:
        return tuple(k * self.pixel for k in range(count))


class WideWindowSpec(WindowSpec):
    """The same on int16: maxima in lanes of 16 bits, means in those of 32."""

    element: ClassVar[int] = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """How a sum becomes a mean: `((sum + below * [sum < 0] + start) * factor >> bits) >> shift`, less 128 or 32768."""

    start: int
    factor: int
    shift: int
    below: int

    @property
    def words(self) -> list[int]:
        """As the functions read it."""
        return [self.start, self.factor, -self.shift, -self.below]


def lane_bits(taps: int) -> int:
    """Return the bits of the lanes that sums of so many taps need."""
    return 16 if taps <= _NARROW_TAPS and division(taps, 16, AverageRounding.HALF_UP) is not None else 32


@lru_cache(maxsize=256)
def division(count: int, bits: int, rounding: AverageRounding) -> Division | None:
    """Return how sums of `count` bytes are divided in lanes of `bits`; None where no product and shift is exact."""
    half, below = _rounded_by(count, rounding)
    # From the least sum, which is 0, to one that is rounded up beside the most.
    values = np.arange(256 * count, dtype=np.uint64)
    wanted = values // np.uint64(count)
    shift = count.bit_length() - 1
    upward = -(-(1 << (bits + shift)) // count)
    # A power of two takes one bit of its shift from the product; the greatest factor stands for one.
    choices = [(upward, shift, 0), (upward - 1, shift, 1), (upward // 2, shift - 1, 0)]
    for factor, right, more in choices:
        if not 0 < factor < 1 << bits or right < 0 or 256 * count + more > 1 << bits:
            continue
        if bool(((((values + np.uint64(more)) * np.uint64(factor)) >> np.uint64(bits + right)) == wanted).all()):
            return Division(start=128 * count + half + more, factor=factor, shift=right, below=below)
    return None


def wide_division(count: int, rounding: AverageRounding) -> Division:
    """Return how sums of `count` values of int16, at most 2^14 of them, are divided in lanes of 32 bits.

    With s the bits of the count less one, the factor is 2^(32 + s) / count, rounded up by less than one: a quotient
    u / count, u <= 65537 * count, is too large by less than 1 / count, so that its floor is exact.
    """
    half, below = _rounded_by(count, rounding)
    shift = count.bit_length() - 1
    factor, right, more = -(-(1 << (32 + shift)) // count), shift, 0
    if count == 1:
        factor, more = factor - 1, 1
    elif factor == 1 << 32:
        factor, right = factor // 2, shift - 1
    return Division(start=32768 * count + half + more, factor=factor, shift=right, below=below)


def _rounded_by(count: int, rounding: AverageRounding) -> tuple[int, int]:
    """Return what is added to sums before they are divided, and what to negative ones besides."""
    half = 0 if rounding is AverageRounding.TOWARD_ZERO else count // 2
    below = {
        AverageRounding.TOWARD_ZERO: count - 1,
        AverageRounding.HALF_AWAY: -(1 - count % 2),
        AverageRounding.HALF_UP: 0,
    }[rounding]
    return half, below


@lru_cache(maxsize=256)
def window_function(spec: WindowSpec, timing: Timing) -> tuple[CSupport, float, float]:
    """Return a function over windows beside each other, the modelled cycles of a call, and those of a window.

    `void name(const int8_t *x, int8_t *y, const int32_t *division, int32_t windows)`, and the rows and columns of taps
    where the specification has none; the cycles of a window are then 0.

    Raises:
        ScheduleError: it can't be scheduled.
    """
    body, cycles = (_looped(spec, timing), 0.0) if spec.window is None else _written(spec, timing)
    per_window = 0.0 if spec.window is None else -(-spec.channels // spec.lanes) * cycles + _WINDOW_CYCLES
    what = ("most" if spec.is_most else f"mean{spec.bits}") + ("" if spec.element == 1 else "_wide")
    name = f"utvm_helium_{what}_{'x'.join(map(str, spec.window or ('any',)))}_{short_digest(spec)}"
    lines = [
        *_constants(spec),
        ".balign 4",
        "1:",
        "mov r4, r0",
        "mov r5, r1",
        *constant("r6", spec.channels),
        f"wlstp.{spec.bits} lr, r6, 3f",
        "2:",
        *body,
        "letp lr, 2b",
        "3:",
        *move("r0", spec.step),
        *move("r1", spec.pixel),
        "subs.w r3, r3, #1",
        "bne.w 1b",
    ]
    more = "" if spec.window else ",\n    int32_t rows, int32_t columns"
    prototype = f"void {name}(const int8_t *x, int8_t *y, const int32_t *division, int32_t windows{more})"
    taps = "rows of taps" if spec.window is None else f"{spec.window[0]} x {spec.window[1]} taps"
    comment = f"the {'most' if spec.is_most else 'mean'} of {taps}, {spec.channels} channels, of windows in a row"
    return assembler_function(name, prototype, framed(_FRAME, lines), comment), _CALL_CYCLES, per_window


def _constants(spec: WindowSpec) -> list[str]:
    """Return the loads of what stays: r7 start, r8 shift; q5 and q6 the clamp's ends.

    Of divisions: r9 what negative sums are multiplied by, r11 -128, q7 the factor. Of requantisations: r9 the
    multiplier, r11 the zero point.
    """
    lines: list[str] = []
    for place, (value, end) in enumerate(zip(spec.clamp, spec.full, strict=True)):
        if value != end:
            lines += [*constant("r4", value), f"vdup.{spec.bits} q{5 + place}, r4"]
    if spec.is_most:
        return lines
    if spec.requantizes:
        return [*lines, "ldrd r7, r9, [r2]", "ldrd r8, r11, [r2, #8]"]
    lines += ["ldrd r7, r4, [r2]", "ldrd r8, r9, [r2, #8]", f"vdup.{spec.bits} q7, r4"]
    # The complement of 32767 is no constant of eight bits.
    return [*lines, "mvn.w r11, #127"] if spec.element == 1 else [*lines, "movw r11, #32767", "mvn.w r11, r11"]


class _Taps:
    """Writes loads of taps and what combines them: q0 is the result of those before where there are any."""

    def __init__(self, spec: WindowSpec) -> None:
        self.spec, self.block, self._names = spec, Block(), 0
        self.load = spec.load
        extreme = f"{'vmin' if spec.least else 'vmax'}.s{spec.bits}"
        self.combine = extreme if spec.is_most else f"vadd.i{spec.bits}"

    def new(self) -> str:
        self._names += 1
        return f"%q{self._names}"

    def write(self, offsets: Sequence[int], total: str | None, pointer: str) -> str:
        """Write taps at `offsets` from `pointer`, which moves; return the register of the result."""
        at = 0
        for offset in offsets:
            if offset - at > _BYTE_OFFSET:
                self.block(*move(pointer, offset - at))
                at = offset
            tap = self.new()
            self.block(f"{self.load} {tap}, [{pointer}, #{offset - at}]")
            if total is None:
                total = tap
            else:
                self.block(f"{self.combine} {total}, {total}, {tap}")
        assert total is not None
        return total

    def finish(self, total: str) -> None:
        """Write the way from a sum or maximum to the output."""
        spec, bits, block = self.spec, self.spec.bits, self.block
        if spec.requantizes:
            block(f"vadd.i32 {total}, {total}, r7", f"vqrdmulh.s32 {total}, {total}, r9")
            if spec.signed:
                sign = self.new()
                block(f"vshr.s32 {sign}, {total}, #31", f"vadd.i32 {total}, {total}, {sign}")
            block(f"vrshl.s32 {total}, r8", f"vadd.i32 {total}, {total}, r11")
            block(f"vqmovnb.s32 {total}, {total}")
            if spec.element == 1:
                block(f"vqmovnb.s16 {total}, {total}")
        elif not spec.is_most:
            if spec.signed:
                sign = self.new()
                block(f"vshr.s{bits} {sign}, {total}, #{bits - 1}", f"vmla.s{bits} {total}, {sign}, r9")
            block(f"vadd.i{bits} {total}, {total}, r7", f"vmulh.u{bits} {total}, {total}, q7")
            block(f"vshl.u{bits} {total}, r8", f"vadd.i{bits} {total}, {total}, r11")
        if spec.clamp[0] != spec.full[0]:
            block(f"vmax.s{bits} {total}, {total}, q5")
        if spec.clamp[1] != spec.full[1]:
            block(f"vmin.s{bits} {total}, {total}, q6")
        block(f"{'vstrb' if spec.element == 1 else 'vstrh'}.{bits} {total}, [r5], #{spec.moved}")


def _written(spec: WindowSpec, timing: Timing) -> tuple[list[str], float]:
    """Return the taps and the finish of a vector of channels, and its cycles."""
    turns, part, offsets, rest = spec.parts
    if turns == 1 and not rest:
        writer = _Taps(spec)
        writer.block("mov r6, r4")
        writer.finish(writer.write(offsets, None, "r6"))
        writer.block(*move("r4", spec.moved))
        done = schedule(writer.block, timing, pool=("q0", *_POOL))
        return list(done.lines), done.cycles
    # Sums begin with nothing, maxima with a tap of their own.
    begin = f"{spec.load} q0, [r4]" if spec.is_most else "vmov.i32 q0, #0"
    loop = _Taps(spec)
    loop.block("mov r2, r6")
    loop.write(offsets, "q0", "r2")
    loop.block(*move("r6", part))
    turn = schedule(loop.block, timing, pool=_POOL)
    tail = _Taps(spec)
    tail.finish(tail.write(rest, "q0", "r6") if rest else "q0")
    tail.block(*move("r4", spec.moved))
    end = schedule(tail.block, timing, pool=_POOL)
    lines = [begin, "mov r6, r4", *constant("r12", turns), ".balign 4", "4:", *turn.lines]
    lines += ["subs.w r12, r12, #1", "bne.w 4b", *end.lines]
    return lines, 4 + turns * (turn.cycles + 2) + end.cycles


def _looped(spec: WindowSpec, timing: Timing) -> list[str]:
    """Return the same for windows whose rows and columns are arguments."""
    tail = _Taps(spec)
    tail.finish("q0")
    tail.block(*move("r4", spec.moved))
    return [
        f"{spec.load} q0, [r4]" if spec.is_most else "vmov.i32 q0, #0",
        "mov r6, r4",
        f"ldr r12, [sp, #{_STACKED}]",
        "4:",
        "mov r2, r6",
        f"ldr r10, [sp, #{_STACKED + 4}]",
        "5:",
        f"{tail.load} q1, [r2]",
        *move("r2", spec.pixel),
        f"{tail.combine} q0, q0, q1",
        "subs.w r10, r10, #1",
        "bne.w 5b",
        *move("r6", spec.row),
        "subs.w r12, r12, #1",
        "bne.w 4b",
        *schedule(tail.block, timing, pool=_POOL).lines,
    ]


def looped_cycles(spec: WindowSpec, taps: int, timing: Timing) -> float:
    """Return the modelled cycles of a window of a function that takes rows and columns as arguments."""
    body = _looped(spec, timing)
    first = body.index("5:") + 1
    inner = tuple(body[first : body.index("bne.w 5b") + 1])
    each = code_cycles(inner, timing, context=inner, jumped=True)
    return _WINDOW_CYCLES + -(-spec.channels // spec.lanes) * (taps * each + 30)
