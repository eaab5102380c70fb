"""The micro-kernel of convolutions and fully connected layers: blocks of VMLADAVA.S8 with sixteen outputs.

Eight sums are in r0, r2 … lr, since VMLADAVA takes even registers: four channels of two pixels, or eight of one.
A block is two such halves, whose bytes interleave. One stream holds weights, biases and the constants of the finish in
the order in which they are read, so that its address is a post-incremented register. Runs of taps are padded to 16
with weights of zero: up to 15 bytes behind a run are read, which must be memory of the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from utvm.codegen import CSupport
from utvm.cores.microkernel import Block, schedule
from utvm.cores.timing import Timing
from utvm.kernels.dsp.assembly import MAX_OFFSET, assembler_function, short_digest
from utvm.kernels.dsp.stream import to_words
from utvm.kernels.helium.code import framed, move
from utvm.kernels.helium.finish import VectorFinish

LANES = 16
OUTPUTS = 16
_SUMS = ("r0", "r2", "r4", "r6", "r8", "r10", "r12", "lr")
_POOL = tuple(f"q{number}" for number in range(8))
_UNROLLED = 20
"""Steps of 16 taps up to which a block has no inner loop."""
_WRITTEN = 20
"""Steps of all blocks that are scheduled together."""
_TURN = 8
"""Steps of a turn of the inner loop over one long run."""
_FRAME = 68
_LOW, _HIGH, _ZERO, _HALF, _PIXELS = 0, 16, 32, 48, 64
"""Offsets in the frame: vectors of the clamp's ends, the zero point and the first half, and the turns that are left."""
_POST_BYTES, _POST_WORDS = 127, 508
_LOOP_CYCLES = 6
_CALL_CYCLES = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockSpec:
    """What a micro-kernel computes. Sizes and offsets in bytes.

    Attributes:
        pixels: 2 or 1 at once.
        rows: kernel rows, `row_stride` apart.
        runs: offsets of the runs of taps in a row.
        run: length of each.
        pitch: from a pixel to the next.
        out_pitch: the same in the output, which holds `16 // pixels * groups` channels of a pixel.
        groups: blocks of a pixel or pair.
        words: whether all addresses of the input are multiples of 4.
        few: channels of the only block of a pixel where it has more than the layer; 0 where all of them count. Others
            are neither read nor summed: what is stored for them is anything.
    """

    pixels: int
    rows: int
    row_stride: int
    runs: tuple[int, ...]
    run: int
    pitch: int
    out_pitch: int
    groups: int
    words: bool
    finish: VectorFinish
    few: int = 0

    def present(self, half: int) -> list[int]:
        """Return the places of a half whose channels count."""
        order = channel_order(self)[half]
        return [place for place, channel in enumerate(order) if not self.few or channel < self.few]

    @property
    def channels(self) -> int:
        """Output channels of a block."""
        return OUTPUTS // self.pixels

    @property
    def steps(self) -> tuple[int, ...]:
        """The offset of each step of 16 taps, of all rows."""
        across = [start + at for start in self.runs for at in range(0, self.run, LANES)]
        return tuple(row * self.row_stride + at for row in range(self.rows) for at in across)

    @property
    def turns(self) -> tuple[int, int]:
        """Return (turns of the inner loop, steps of a turn); no turns where a block is straight-line."""
        steps = self.steps
        if len(steps) <= _UNROLLED:
            return 0, 0
        if self.rows > 1:
            return self.rows, len(steps) // self.rows
        regular = len(self.runs) == 1
        return (len(steps) // _TURN, _TURN) if regular else (0, 0)

    @property
    def at_once(self) -> int:
        """Blocks that are scheduled together, so that one is finished while the next is summed."""
        if self.turns[0]:
            return 1
        most = _WRITTEN // len(self.steps)
        return max((n for n in range(1, 5) if n <= most and self.groups % n == 0), default=1)

    @property
    def block_bytes(self) -> int:
        """Bytes of the stream of a block."""
        per_step = len(self.present(0)) + len(self.present(1))
        vectors = (1 + self.finish.vectors) * (1 if self.pixels == 2 else 2)
        return (len(self.steps) * per_step + 2 * vectors) * LANES

    @property
    def read_bytes(self) -> int:
        """Bytes from a pixel's start to the end of what its loads read."""
        return max(self.steps) + LANES


def channel_order(spec: BlockSpec) -> NDArray[np.int64]:
    """Return the channel of a block in each place of a half: [2, 8 // pixels]."""
    half, place = np.arange(2)[:, None], np.arange(8 // spec.pixels)[None, :]
    if spec.pixels == 2:
        return 2 * place + half
    return 4 * (place % 4) + 2 * (place // 4) + half


def stream(
    spec: BlockSpec, weights: NDArray[np.int64], bias: NDArray[np.int64], constants: Sequence[NDArray[np.int64]]
) -> NDArray[np.int32]:
    """Return the stream of all blocks.

    Args:
        spec: the block.
        weights: [channels, rows, runs, run].
        bias: [channels], input zero point included.
        constants: of the finish, each [channels].
    """
    channels, padded = weights.shape[0], spec.groups * spec.channels
    run = -(-spec.run // LANES) * LANES
    taps = np.zeros((padded, spec.rows, len(spec.runs), run), np.int8)
    taps[:channels, ..., : spec.run] = weights
    steps = taps.reshape(padded, len(spec.steps), LANES)

    def of(values: NDArray[np.int64], order: NDArray[np.int64]) -> NDArray[np.int32]:
        full = np.zeros(padded, np.int64)
        full[:channels] = values
        return to_words(full[order])

    parts: list[NDArray[np.int32]] = []
    looped = spec.turns[0] > 0
    for group in range(spec.groups):
        for number, half in enumerate(channel_order(spec) + group * spec.channels):
            read = steps[half[spec.present(number)]]
            words = np.ascontiguousarray(read.transpose(1, 0, 2)).reshape(-1).view(np.int32)
            start = of(bias, half)
            parts += [start, words] if looped else [words, start]
            parts += [of(each, half) for each in constants]
    return np.concatenate(parts)


@lru_cache(maxsize=512)
def micro_kernel(spec: BlockSpec, timing: Timing) -> tuple[CSupport, float, float]:
    """Return `void name(const int8_t *x, int8_t *y, const int32_t *stream, int32_t turns)` and its costs.

    A turn is `spec.pixels` pixels. The costs are the modelled cycles of a call, and of a turn.

    Raises:
        ScheduleError: it can't be scheduled.
    """
    name = f"utvm_helium_m{spec.pixels}_{len(spec.steps)}x{spec.groups}_{short_digest(spec, 3)}"
    main, turn_cycles = _turns(spec, timing) if spec.groups == spec.at_once else _groups(spec, timing)
    lines = [
        "mov r5, r1",
        *(["mov r11, r3"] if spec.groups == spec.at_once else [f"str r3, [sp, #{_PIXELS}]"]),
        "mov r3, r2",
        "mov r1, r0",
        *([f"add.w r7, r1, #{spec.pitch}"] if spec.pixels == 2 and spec.pitch <= MAX_OFFSET else []),
        *(["mov r7, r1", *move("r7", spec.pitch)] if spec.pixels == 2 and spec.pitch > MAX_OFFSET else []),
        *_constants(spec.finish),
        *main,
    ]
    comment = (
        f"{spec.pixels} pixels, {spec.groups} blocks of {spec.channels} channels, {len(spec.steps)} steps of 16 taps"
    )
    prototype = f"void {name}(const int8_t *x, int8_t *y, const int32_t *stream, int32_t turns)"
    kernel = assembler_function(name, prototype, framed(_FRAME, lines), comment)
    return kernel, _CALL_CYCLES, turn_cycles


def _advance(spec: BlockSpec) -> list[str]:
    """Return the lines that move all addresses from the end of a turn to the next."""
    return [
        *move("r1", spec.pixels * spec.pitch),
        *(move("r7", spec.pixels * spec.pitch) if spec.pixels == 2 else []),
        *move("r3", -spec.groups * spec.block_bytes),
        *move("r5", spec.pixels * spec.out_pitch - spec.groups * spec.channels),
    ]


def _groups(spec: BlockSpec, timing: Timing) -> tuple[list[str], float]:
    """Return a loop over turns of a loop over blocks, and the cycles of a turn."""
    body, cycles = _looped(spec, timing) if spec.turns[0] else _straight(spec, timing)
    advance = _advance(spec)
    lines = [
        ".balign 4",
        "1:",
        f"movw r11, #{spec.groups // spec.at_once}",
        ".balign 4",
        "2:",
        *body,
        "subs.w r11, r11, #1",
        "bne.w 2b",
        *advance,
        f"ldr r11, [sp, #{_PIXELS}]",
        "subs.w r11, r11, #1",
        f"str r11, [sp, #{_PIXELS}]",
        "bne.w 1b",
    ]
    return lines, spec.groups // spec.at_once * (cycles + 3) + len(advance) + _LOOP_CYCLES


def _turns(spec: BlockSpec, timing: Timing) -> tuple[list[str], float]:
    """Return a loop over turns of which each is one body, and the cycles of a turn."""
    advance = _advance(spec)
    if spec.turns[0]:
        body, cycles = _looped(spec, timing)
        body, cycles = [*body, *advance], cycles + len(advance)
    else:
        body, cycles = _straight(spec, timing, advance)
    return [".balign 4", "1:", *body, "subs.w r11, r11, #1", "bne.w 1b"], cycles + 3


def _constants(finish: VectorFinish) -> list[str]:
    """Return the lines that keep the clamp's ends and the zero point in the frame and in r9."""
    lines: list[str] = []
    for needed, value, at in ((finish.clamps_low, finish.low, _LOW), (finish.clamps_high, finish.high, _HIGH)):
        if needed:
            lines += [f"movw r9, #{value & 0xFF}", "vdup.8 q0, r9", f"vstrw.32 q0, [sp, #{at}]"]
    if finish.unsigned:
        return [*lines, "movw r9, #0x8080", "vdup.16 q0, r9", f"vstrw.32 q0, [sp, #{_ZERO}]"]
    return [*lines, f"movw r9, #{finish.zero_point & 0xFFFF}", "vdup.16 q0, r9", f"vstrw.32 q0, [sp, #{_ZERO}]"]


class _Writer:
    """Writes the steps of a block over virtual vector registers."""

    def __init__(self, spec: BlockSpec) -> None:
        self.spec, self.block, self._names = spec, Block(), 0
        self._load, self._post = ("vldrw.u32", _POST_WORDS) if spec.words else ("vldrb.u8", _POST_BYTES)

    def new(self) -> str:
        self._names += 1
        return f"%q{self._names}"

    def from_stream(self) -> str:
        register = self.new()
        self.block(f"vldrw.u32 {register}, [r3], #16")
        return register

    def step(self, half: int, moved: int, *, first: bool) -> None:
        """Write a step of 16 taps of a half; the pixels' addresses move by `moved` after it."""
        spec, block = self.spec, self.block
        pixels = [self.new() for _ in range(spec.pixels)]
        for register, base in zip(pixels, ("r1", "r7"), strict=False):
            if abs(moved) <= self._post and not (spec.words and moved % 4):
                block(f"{self._load} {register}, [{base}], #{moved}" if moved else f"{self._load} {register}, [{base}]")
            else:
                block(f"{self._load} {register}, [{base}]", *move(base, moved))
        count = 8 // spec.pixels
        for channel in spec.present(half):
            weights = self.from_stream()
            for pixel, register in enumerate(pixels):
                total = _SUMS[pixel * count + channel]
                block(f"vmladav{'' if first else 'a'}.s8 {total}, {register}, {weights}")

    def requantize(self, *, biased: bool) -> str:
        """Write the way from eight sums to int16; returns the register. `biased`: the sums began with the bias."""
        spec, block, finish = self.spec, self.block, self.spec.finish
        values = [self.new(), self.new()]
        for register, sums in zip(values, (_SUMS[:4], _SUMS[4:]), strict=True):
            block(f"vmov {register}[2], {register}[0], {sums[0]}, {sums[2]}")
            block(f"vmov {register}[3], {register}[1], {sums[1]}, {sums[3]}")

        def each(line: str) -> None:
            both = self.from_stream() if spec.pixels == 2 else ""
            for register in values:
                block(line.format(v=register, w=both or self.from_stream()))

        if not biased:
            each("vadd.i32 {v}, {v}, {w}")
        if finish.left:
            each("vshl.s32 {v}, {v}, {w}")
        if finish.multiplies:
            each(finish.product + ".s32 {v}, {v}, {w}")
        shared = self.from_stream() if spec.pixels == 2 else ""
        for register in values:
            shift = shared or self.from_stream()
            if finish.lowers:
                sign = self.new()
                if finish.lowers == "some":
                    block(f"vand {sign}, {register}, {shift}", f"vshr.s32 {sign}, {sign}, #31")
                else:
                    block(f"vshr.s32 {sign}, {register}, #31")
                block(f"vadd.i32 {register}, {register}, {sign}")
            block(f"vrshl.s32 {register}, {register}, {shift}")
        narrow = "vqmovun" if finish.unsigned else "vqmovn"
        packed = self.new()
        block(f"{narrow}b.s32 {packed}, {values[0]}", f"{narrow}t.s32 {packed}, {values[1]}")
        if not finish.unsigned and finish.zero_point:
            block(f"vqadd.s16 {packed}, {packed}, {self._constant(_ZERO, 'r9')}")
        return packed

    def _constant(self, at: int, register: str | None) -> str:
        if register is not None and not self.spec.turns[0]:
            return register
        vector = self.new()
        self.block(f"vldrw.u32 {vector}, [sp, #{at}]")
        return vector

    def store(self, halves: Sequence[str]) -> None:
        """Write the way from two vectors of int16 to sixteen bytes of the output."""
        spec, block, finish = self.spec, self.block, self.spec.finish
        width = "u16" if finish.unsigned else "s16"
        result = self.new()
        block(f"vqmovnb.{width} {result}, {halves[0]}", f"vqmovnt.{width} {result}, {halves[1]}")
        if finish.unsigned:
            block(f"vadd.i8 {result}, {result}, {self._constant(_ZERO, 'r9')}")
        if finish.clamps_low:
            block(f"vmax.s8 {result}, {result}, {self._constant(_LOW, None)}")
        if finish.clamps_high:
            block(f"vmin.s8 {result}, {result}, {self._constant(_HIGH, None)}")
        if spec.pixels == 1:
            block(f"vstrb.8 {result}, [r5], #16")
            return
        second = self.new()
        block(f"vrev32.16 {second}, {result}")
        if spec.out_pitch <= 254:
            block(f"vstrh.32 {second}, [r5, #{spec.out_pitch}]", f"vstrh.32 {result}, [r5], #8")
        else:
            block(f"vstrh.32 {result}, [r5]", *move("r5", spec.out_pitch), f"vstrh.32 {second}, [r5]")
            block(*move("r5", 8 - spec.out_pitch))


def _schedule(writer: _Writer, timing: Timing) -> tuple[list[str], float]:
    done = schedule(writer.block, timing, pool=_POOL)
    return list(done.lines), done.cycles


def _moves(spec: BlockSpec) -> list[int]:
    """Return by how much the pixels' addresses move after each step; the last returns to the start."""
    steps = spec.steps
    return [after - before for before, after in zip(steps, (*steps[1:], 0), strict=True)]


def _straight(spec: BlockSpec, timing: Timing, behind: Sequence[str] = ()) -> tuple[list[str], float]:
    """Return `at_once` blocks without an inner loop and the lines `behind` them, and their cycles."""
    writer = _Writer(spec)
    for _ in range(spec.at_once):
        halves = []
        for half in range(2):
            # The moves of a half end where they began.
            for index, moved in enumerate(_moves(spec) if spec.present(half) else []):
                writer.step(half, moved, first=index == 0)
            halves.append(writer.requantize(biased=False))
        writer.store(halves)
    writer.block(*behind)
    return _schedule(writer, timing)


def _looped(spec: BlockSpec, timing: Timing) -> tuple[list[str], float]:
    """Return a block with an inner loop over rows, or over parts of a run, in each half, and its cycles."""
    turns, length = spec.turns
    moves = _moves(spec)
    last = (turns - 1) * length
    # Every turn moves on as the first does; the way back is made behind the loop.
    turn = moves[:length]
    back = moves[last + length - 1] - turn[-1] if turns * length == len(moves) else 0
    lines: list[str] = []
    cycles = 0.0
    for half in range(2):
        inner = _Writer(spec)
        for moved in turn:
            inner.step(half, moved, first=False)
        loop, loop_cycles = _schedule(inner, timing)
        lines += _starts(spec)
        lines += [f"movw r9, #{turns}", ".balign 4", "3:", *loop, "subs.w r9, r9, #1", "bne.w 3b"]
        rest = _Writer(spec)
        for moved in moves[turns * length :]:
            rest.step(half, moved, first=False)
        for base in ("r1", "r7")[: spec.pixels]:
            rest.block(*move(base, back))
        packed = rest.requantize(biased=True)
        if half == 0:
            rest.block(f"vstrw.32 {packed}, [sp, #{_HALF}]")
        else:
            first = rest.new()
            rest.block(f"vldrw.u32 {first}, [sp, #{_HALF}]")
            rest.store([first, packed])
        tail, tail_cycles = _schedule(rest, timing)
        lines += tail
        cycles += len(_starts(spec)) + 1 + turns * (loop_cycles + 3) + tail_cycles
    return lines, cycles


def _starts(spec: BlockSpec) -> list[str]:
    """Return the lines that begin sums with their biases."""
    first, second = (f"ldrd {a}, {b}, [r3], #8" for a, b in (_SUMS[0:2], _SUMS[2:4]))
    if spec.pixels == 2:
        return [first, second, *(f"mov {to}, {of}" for to, of in zip(_SUMS[4:], _SUMS[:4], strict=True))]
    more = [f"ldrd {a}, {b}, [r3], #8" for a, b in (_SUMS[4:6], _SUMS[6:8])]
    return [first, second, *more]
