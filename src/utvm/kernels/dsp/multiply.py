"""The multiply-accumulate micro-kernel: M pixels by N channels in registers, finished to int8.

One call computes M output pixels for all blocks of N channels. Activations are int16 lanes, read through a table of row
addresses at fixed offsets; weights come as one sequential stream (`utvm.kernels.dsp.stream`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from utvm.codegen import CSupport
from utvm.cores.microkernel import Block, ScheduleError, schedule
from utvm.cores.thumb import parse
from utvm.cores.timing import Timing
from utvm.kernels.dsp.assembly import MAX_OFFSET, assembler_loop
from utvm.kernels.dsp.stream import Finish, Saturation, UniformFinish, WeightForm

REGISTERS = ("r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "lr")
_FIXED = {"%pa": "r0", "%pw": "r1"}
_INSTRUCTION_BYTES = 4
ROW_IN_FRAME = 8
"""Where in the frame a row lies, in bytes from sp, for `Source.FRAME`."""
_OUT, _END, _WALKER = 0, 4, 8


class Source(StrEnum):
    """Where a micro-kernel finds its activations."""

    TABLE = "table"
    """Rows of int16 lanes, behind a table of their addresses."""
    FRAME = "frame"
    """One row of int16 lanes in the kernel's own stack frame, which leaves one register more."""
    BYTES = "bytes"
    """One row of int8, its address in r0; each block of channels extends it anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiplySpec:
    """What a micro-kernel computes.

    `offsets[m]` holds, for each lane pair of a row, its byte offset from the row's address for pixel m. The kernel
    reads `rows` rows. `unrolled` rows all stand in one body; else one body is repeated for each row. If `uniform`,
    the channels finish as `UniformFinish` says; weights of form `int16` and their biases are then doubled. `source`
    says where the rows are.
    """

    rows: int
    offsets: tuple[tuple[int, ...], ...]
    channels: int
    pixel_stride: int
    form: WeightForm
    finish: Finish
    saturation: Saturation
    unrolled: bool
    uniform: bool
    source: Source = Source.TABLE

    @property
    def pixels(self) -> int:
        """M, the pixels computed at once."""
        return len(self.offsets)

    @property
    def pairs(self) -> int:
        """Lane pairs of one row."""
        return len(self.offsets[0])

    @property
    def weight_words(self) -> int:
        """Words of weights for one pair of lanes of all N channels."""
        return self.channels if self.form is WeightForm.INT16 else self.channels // 2

    @property
    def biases(self) -> int:
        """Words of the stream that one block of N channels starts from."""
        return 0 if self.finish is Finish.SUM else self.channels

    @property
    def out_bytes(self) -> int:
        """Bytes of one output."""
        return 4 if self.finish is Finish.SUM else 1

    @property
    def stream_words(self) -> int:
        """Words of the stream for one block of N channels."""
        finish = 0
        if self.finish.multiplies:
            finish = 2 if self.uniform else 1 + 2 * self.channels
        return self.biases + self.rows * self.pairs * self.weight_words + finish


def multiply_kernel(name: str, spec: MultiplySpec, timing: Timing, *, shift: int = 0) -> CSupport:
    """Return `void name(const void *const *rows, const int32_t *stream, int8_t *out, int32_t blocks)`.

    With `Finish.SUM`, `out` points to int32_t.

    Args:
        name: the symbol.
        spec: what to compute.
        timing: the core to schedule for.
        shift: the right shift of `Finish.SHIFT`, or of a uniform finish.

    Raises:
        ScheduleError: the register block does not fit.
    """
    body, _ = multiply_body(spec, timing, shift)
    element = "int32_t" if spec.finish is Finish.SUM else "int8_t"
    walker = 0 if spec.unrolled else 4
    table = _table_offset(spec)
    frame = (table + 4 * spec.rows + walker + 7) // 8 * 8 + 4
    entry = [
        f"mov r4, #{spec.out_bytes * spec.channels}",
        "mla r3, r3, r4, r2",
        "strd r2, r3, [sp]",
        *_copied_table(spec, table),
        *(["mov r4, #0", f"str r4, [sp, #{table + 4 * spec.rows}]"] if not spec.unrolled else []),
    ]
    return assembler_loop(
        name,
        f"const void *const *rows, const int32_t *stream, {element} *out, int32_t blocks",
        body,
        f"{spec.pixels} pixels x {spec.channels} channels, {spec.rows} rows of {spec.pairs} lane pairs, "
        f"{spec.form} weights",
        entry=entry,
        frame=frame,
    )


def multiply_cycles(spec: MultiplySpec, timing: Timing, *, shift: int = 0) -> float:
    """Return the modelled cycles of one block of N channels; arguments and errors as `multiply_kernel`."""
    return multiply_body(spec, timing, shift)[1]


def multiply_code_bytes(spec: MultiplySpec, timing: Timing, *, shift: int = 0) -> int:
    """Return about how many bytes of code one block of N channels runs through; as `multiply_kernel`."""
    return _INSTRUCTION_BYTES * len(multiply_body(spec, timing, shift)[0])


@lru_cache(maxsize=16384)
def multiply_body(spec: MultiplySpec, timing: Timing, shift: int) -> tuple[tuple[str, ...], float]:
    """Return the code for one block of N channels and its cycles; arguments and errors as `multiply_kernel`.

    Around it, [sp] holds the next output's address and [sp, #4] the end of the outputs, r1 the stream's position. A row
    in the frame starts at `ROW_IN_FRAME` from sp.
    """
    write_body = _unrolled_body if spec.unrolled else _repeated_body
    try:
        return write_body(spec, timing, shift, reuse=True)
    except ScheduleError:
        return write_body(spec, timing, shift, reuse=False)


def _table_offset(spec: MultiplySpec) -> int:
    return _WALKER if spec.unrolled else _WALKER + 4


def _copied_table(spec: MultiplySpec, table: int) -> list[str]:
    """Return the copy of the row table from r0 to the frame, several words at a time."""
    lines: list[str] = []
    registers = [f"r{i}" for i in range(4, 12)]
    for start in range(0, spec.rows, len(registers)):
        batch = list(enumerate(registers[: spec.rows - start], start))
        lines += [f"ldr {register}, [r0, #{4 * row}]" for row, register in batch]
        lines += [f"str {register}, [sp, #{table + 4 * row}]" for row, register in batch]
    return lines


class _Stream:
    """The position in the stream, and the additions to its pointer when offsets grow too large."""

    def __init__(self, block: Block, start: int = 0) -> None:
        self.block = block
        self.offset = start

    def take(self) -> int:
        """Return the offset of the next word."""
        if self.offset > MAX_OFFSET - 3:
            self.flush()
        self.offset += 4
        return self.offset - 4

    def flush(self) -> None:
        """Move the pointer to the next word."""
        left = self.offset
        while left:
            step = min(left, MAX_OFFSET - 3)
            self.block(f"add %pw, %pw, #{step}")
            left -= step
        self.offset = 0


def _accumulators(spec: MultiplySpec) -> list[list[str]]:
    return [[f"%c{m}_{n}" for n in range(spec.channels)] for m in range(spec.pixels)]


def _multiply_row(
    block: Block, stream: _Stream, spec: MultiplySpec, row: int, started: set[str], *, reuse: bool
) -> None:
    """Append one row. An accumulator that has not started takes the bias from the last pixel's, if there are biases.

    With `reuse`, lanes that two pixels share are loaded once; that keeps more registers busy.
    """
    accumulators = _accumulators(spec)
    last = accumulators[-1]
    loaded: dict[int, tuple[str, int]] = {}

    def multiply(m: int, n: int, lanes: str, weight: str) -> None:
        target = accumulators[m][n]
        if target in started or spec.biases:
            block(f"smlad {target}, {lanes}, {weight}, {target if target in started else last[n]}")
        else:
            block(f"smuad {target}, {lanes}, {weight}")
        started.add(target)

    for pair in range(spec.pairs):
        weights = _Weights(block, stream, spec, f"{row}_{pair}")
        if spec.channels > spec.pixels:
            lanes = [_load_lanes(block, spec, row, pair, m, loaded if reuse else {}) for m in range(spec.pixels)]
            for n in range(spec.channels):
                weight = weights.load(n)
                for m in range(spec.pixels):
                    multiply(m, n, lanes[m], weight)
        else:
            ready: list[str] = []
            for m in range(spec.pixels):
                fresh = _load_lanes(block, spec, row, pair, m, loaded if reuse else {})
                for n in range(spec.channels):
                    if m == 0:
                        ready.append(weights.load(n))
                    multiply(m, n, fresh, ready[n])


class _Weights:
    """The weights of one lane pair, loaded channel by channel."""

    def __init__(self, block: Block, stream: _Stream, spec: MultiplySpec, tag: str) -> None:
        self._block, self._stream, self._form, self._tag = block, stream, spec.form, tag

    def load(self, n: int) -> str:
        """Load or extract channel n's weights; channels come in order."""
        name = f"%w{self._tag}_{n}"
        if self._form is WeightForm.INT16 or n % 2 == 0:
            self._block(f"ldr {name}, [%pw, #{self._stream.take()}]")
        else:
            self._block(f"sxtb16 {name}, %w{self._tag}_{n - 1}")
        return name


def _load_lanes(
    block: Block, spec: MultiplySpec, row: int, pair: int, m: int, loaded: dict[int, tuple[str, int]]
) -> str:
    """Load the lanes of pixel m, unless the pair before or this one has just loaded the same word."""
    offset = spec.offsets[m][pair]
    name, when = loaded.get(offset, ("", -9))
    if pair - when > 1:
        name = f"%a{row}_{pair}_{m}"
        match spec.source:
            case Source.TABLE:
                block(f"ldr {name}, [%pa, #{offset}]")
            case Source.FRAME:
                block(f"ldr {name}, [sp, #{ROW_IN_FRAME + offset}]")
            case Source.BYTES if pair % 2 == 0:
                block(f"ldr %x{pair}, [%pa, #{2 * pair}]", f"sxtb16 {name}, %x{pair}")
            case Source.BYTES:
                block(f"sxtb16 {name}, %x{pair - 1}, ror #8")
    loaded[offset] = (name, pair)
    return name


def _unrolled_body(spec: MultiplySpec, timing: Timing, shift: int, *, reuse: bool) -> tuple[tuple[str, ...], float]:
    block = Block()
    stream = _Stream(block)
    accumulators = _accumulators(spec)
    for n in range(spec.biases):
        block(f"ldr {accumulators[-1][n]}, [%pw, #{stream.take()}]")
    started = set(accumulators[-1][: spec.biases])
    table = _table_offset(spec)
    for row in range(spec.rows):
        if spec.source is Source.TABLE:
            block(f"ldr %pa, [sp, #{table + 4 * row}]")
        _multiply_row(block, stream, spec, row, started, reuse=reuse)
    _finish(block, stream, spec, shift)
    if spec.source is Source.FRAME:
        body = schedule(block, timing, pool=("r0", *REGISTERS), fixed={"%pw": "r1"})
    else:
        body = schedule(block, timing, pool=REGISTERS, fixed=_FIXED)
    return body.lines, body.cycles


def _repeated_body(spec: MultiplySpec, timing: Timing, shift: int, *, reuse: bool) -> tuple[tuple[str, ...], float]:
    accumulators = _accumulators(spec)
    flat = [name for pixel in accumulators for name in pixel]
    places = dict(zip(flat, REGISTERS, strict=False))
    spare = REGISTERS[len(flat) :]
    channels = range(spec.channels)
    last = [places[name] for name in accumulators[-1]]
    entry = [f"ldr {last[n]}, [r1, #{4 * n}]" if spec.biases else f"mov {last[n]}, #0" for n in channels]
    entry += [f"mov {places[pixel[n]]}, {last[n]}" for pixel in accumulators[:-1] for n in channels]
    table = _table_offset(spec)
    entry += [
        *([f"add r1, r1, #{4 * spec.biases}"] if spec.biases else []),
        f"add lr, sp, #{table + 4}",
        f"str lr, [sp, #{_WALKER}]",
        f"ldr r0, [sp, #{table}]",
        ".balign 8",
        "2:",
    ]
    block = Block()
    stream = _Stream(block)
    _multiply_row(block, stream, spec, 0, set(flat), reuse=reuse)
    block(
        f"ldr %walker, [sp, #{_WALKER}]",
        "ldr %pa, [%walker], #4",
        f"str %walker, [sp, #{_WALKER}]",
    )
    stream.flush()
    block("cmp %pa, #0")
    loop = schedule(block, timing, pool=spare, fixed={**_FIXED, **places})
    tail = Block()
    _finish(tail, _Stream(tail), spec, shift)
    finished = schedule(tail, timing, pool=REGISTERS, fixed=_FIXED, live_in=flat)
    turn = [parse(line) for line in [*loop.lines, "bne.w 2b"]]
    started = [parse(line) for line in entry if not line.endswith(":") and not line.startswith(".")]
    cycles = timing.cost((), started) + spec.rows * timing.cost(turn, turn, jumped=True) + finished.cycles
    return (*entry, *loop.lines, "bne.w 2b", *finished.lines), cycles


def _finish(block: Block, stream: _Stream, spec: MultiplySpec, shift: int) -> None:
    """Append requantisation, stores, and the step to the next block of channels; leaves Z set after the last."""
    accumulators = _accumulators(spec)
    block(f"ldr %out, [sp, #{_OUT}]")
    if spec.form is WeightForm.PAIR8:
        for n in range(0, spec.channels, 2):
            for m in range(spec.pixels):
                _separate(block, accumulators[m][n], accumulators[m][n + 1], doubled=spec.uniform)
    if spec.uniform:
        block(f"ldr %first, [%pw, #{stream.take()}]", f"ldr %offset, [%pw, #{stream.take()}]")
    elif spec.finish.multiplies:
        block(f"ldr %zero, [%pw, #{stream.take()}]")
    for n in range(spec.channels):
        if spec.finish.multiplies and not spec.uniform:
            block(f"ldr %first{n}, [%pw, #{stream.take()}]", f"ldr %second{n}, [%pw, #{stream.take()}]")
        for m in range(spec.pixels):
            name = accumulators[m][n]
            if spec.uniform:
                block(*UniformFinish.lines(name, spec.finish, spec.saturation, shift))
            else:
                block(*spec.finish.lines(name, spec.saturation, n=n, shift=shift))
            store = "strb" if spec.out_bytes == 1 else "str"
            block(f"{store} {name}, [%out, #{spec.out_bytes * (m * spec.pixel_stride + n)}]")
    block(
        f"add %out, %out, #{spec.out_bytes * spec.channels}",
        f"str %out, [sp, #{_OUT}]",
    )
    stream.flush()
    block(
        f"ldr %end, [sp, #{_END}]",
        "cmp %out, %end",
    )


def _separate(block: Block, mixed: str, odd: str, *, doubled: bool) -> None:
    """Append the way from 256 * P + Q and Q to P and Q, or to twice both."""
    block(f"sub {mixed}, {mixed}, {odd}", f"asr {mixed}, {mixed}, #{7 if doubled else 8}")
    if doubled:
        block(f"add {odd}, {odd}, {odd}")


def plain_offsets(pixels: int, pixel_step: int, taps: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Return the offsets of `pixels` pixels that are `pixel_step` bytes apart and read the lane pairs at `taps`."""
    return tuple(tuple(m * pixel_step + tap for tap in taps) for m in range(pixels))
