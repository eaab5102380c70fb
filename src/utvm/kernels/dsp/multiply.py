"""The multiply-accumulate micro-kernel: M pixels by N channels in registers, finished to int8.

One call computes M output pixels for all blocks of N channels. Activations are int16 lanes, read through a table of row
addresses at fixed offsets; weights come as one sequential stream (`utvm.kernels.dsp.stream`).
"""

from __future__ import annotations

from functools import lru_cache

from utvm.codegen import CSupport
from utvm.cores.microkernel import Block, ScheduleError, code_cycles, schedule
from utvm.cores.thumb.placing import to_word
from utvm.cores.timing import Timing
from utvm.kernels.dsp.assembly import LOOP_REGISTERS, assembler_loop
from utvm.kernels.dsp.multiply_code import (
    StreamPosition,
    accumulators,
    finish,
    finish_channels,
    multiply_row,
    next_channels,
)
from utvm.kernels.dsp.multiply_spec import WALKER_IN_FRAME, MultiplySpec, RowSource

_REGISTERS = ("r2", "r3", *LOOP_REGISTERS)
_LINES_AROUND = 10
"""Lines of `assembler_loop` with a frame, and those that find the end of the outputs."""
_FIXED = {"%pa": "r0", "%pw": "r1"}


@lru_cache(maxsize=256)
def multiply_kernel(name: str, spec: MultiplySpec, timing: Timing, *, shift: int = 0) -> CSupport:
    """Return `void name(const void *const *rows, const int32_t *stream, int8_t *out, int32_t blocks)`.

    With `Finish.SUM`, `out` points to int32_t, with a wide finish to int16_t.

    Args:
        name: the symbol.
        spec: what to compute.
        timing: the core to schedule for.
        shift: the right shift of `Finish.SHIFT`, or of a uniform finish.

    Raises:
        ScheduleError: the register block does not fit.
    """
    body, _ = multiply_body(spec, timing, shift)
    element = f"int{8 * spec.out_bytes}_t"
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


def frame_lines(spec: MultiplySpec) -> int:
    """Return the lines of a kernel around its body."""
    return _LINES_AROUND + 2 * spec.rows + (0 if spec.unrolled else 2)


@lru_cache(maxsize=16384)
def multiply_body(spec: MultiplySpec, timing: Timing, shift: int) -> tuple[tuple[str, ...], float]:
    """Return the code for one block of N channels, two if paired, and its cycles; as `multiply_kernel`.

    Around it, [sp] holds the next output's address and [sp, #4] the end of the outputs, r1 the stream's position. A row
    in the frame starts at `ROW_IN_FRAME` from sp.
    """
    write_body = _unrolled_body if spec.unrolled else _repeated_body
    try:
        return write_body(spec, timing, shift, reuse=True)
    except ScheduleError:
        return write_body(spec, timing, shift, reuse=False)


def _table_offset(spec: MultiplySpec) -> int:
    return WALKER_IN_FRAME if spec.unrolled else WALKER_IN_FRAME + 4


def _copied_table(spec: MultiplySpec, table: int) -> list[str]:
    """Return the copy of the row table from r0 to the frame, several words at a time."""
    lines: list[str] = []
    registers = [f"r{i}" for i in range(4, 12)]
    for start in range(0, spec.rows, len(registers)):
        batch = list(enumerate(registers[: spec.rows - start], start))
        lines += [f"ldr {register}, [r0, #{4 * row}]" for row, register in batch]
        lines += [f"str {register}, [sp, #{table + 4 * row}]" for row, register in batch]
    return lines


def _unrolled_body(spec: MultiplySpec, timing: Timing, shift: int, *, reuse: bool) -> tuple[tuple[str, ...], float]:
    block = Block()
    stream = StreamPosition(block)
    table = _table_offset(spec)
    for first in (0, spec.channels) if spec.paired else (0,):
        last = accumulators(spec, first)[-1]
        for n in range(spec.biases):
            block(f"ldr {last[n]}, [%pw, #{stream.take()}]")
        started = set(last[: spec.biases])
        for row in range(spec.rows):
            if spec.source is RowSource.TABLE and (first == 0 or spec.rows > 1):
                block(f"ldr %pa, [sp, #{table + 4 * row}]")
            multiply_row(block, stream, spec, row, started, reuse=reuse, first=first)
        finish_channels(block, stream, spec, shift, first)
    next_channels(block, stream, spec)
    if spec.source is RowSource.FRAME:
        body = schedule(block, timing, pool=("r0", *_REGISTERS), fixed={"%pw": "r1"})
    else:
        body = schedule(block, timing, pool=_REGISTERS, fixed=_FIXED)
    return body.lines, body.cycles


def _repeated_body(spec: MultiplySpec, timing: Timing, shift: int, *, reuse: bool) -> tuple[tuple[str, ...], float]:
    sums = accumulators(spec)
    flat = [name for pixel in sums for name in pixel]
    places = dict(zip(flat, _REGISTERS, strict=False))
    spare = _REGISTERS[len(flat) :]
    channels = range(spec.channels)
    last = [places[name] for name in sums[-1]]
    entry = [f"ldr {last[n]}, [r1, #{4 * n}]" if spec.biases else f"mov {last[n]}, #0" for n in channels]
    entry += [f"mov {places[pixel[n]]}, {last[n]}" for pixel in sums[:-1] for n in channels]
    table = _table_offset(spec)
    entry += [
        *([f"add r1, r1, #{4 * spec.biases}"] if spec.biases else []),
        f"add lr, sp, #{table + 4}",
        f"str lr, [sp, #{WALKER_IN_FRAME}]",
        f"ldr r0, [sp, #{table}]",
        ".balign 8",
        "2:",
    ]
    block = Block()
    stream = StreamPosition(block)
    multiply_row(block, stream, spec, 0, set(flat), reuse=reuse)
    block(
        f"ldr %walker, [sp, #{WALKER_IN_FRAME}]",
        "ldr %pa, [%walker], #4",
        f"str %walker, [sp, #{WALKER_IN_FRAME}]",
    )
    stream.flush()
    block("cmp %pa, #0")
    loop = schedule(block, timing, pool=spare, fixed={**_FIXED, **places})
    tail = Block()
    finish(tail, StreamPosition(tail), spec, shift)
    finished = schedule(tail, timing, pool=_REGISTERS, fixed=_FIXED, live_in=flat)
    turn = (*loop.lines, "bne.w 2b")
    started = tuple(line for line in entry if not line.endswith(":") and not line.startswith("."))
    cycles = code_cycles(started, timing) + finished.cycles
    cycles += spec.rows * code_cycles(turn, timing, context=turn, jumped=True)
    aligned = to_word(turn) if timing.loads_at_words else ()
    return (*entry, *turn, *aligned, *finished.lines), cycles
