"""The micro-kernel of convolutions and fully connected layers: blocks of VMLADAVA.

Eight sums are in r0, r2 … lr, since VMLADAVA takes even registers: four channels of two pixels, or eight of one.
A block of int8 is two such halves, whose bytes interleave; one of int16 is one. One stream holds weights, biases and
the constants of the finish in the order in which they are read, so that its address is a post-incremented register.
Runs of taps are padded to whole vectors with weights of zero: up to 15 bytes behind a run are read, which must be
memory of the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from utvm.codegen import CSupport
from utvm.cores.microkernel import schedule
from utvm.cores.timing import Timing
from utvm.kernels.dsp.assembly import MAX_OFFSET, assembler_function, short_digest
from utvm.kernels.helium.block_spec import BlockSpec, DepthwiseBlockSpec, WideBlockSpec
from utvm.kernels.helium.block_writer import HIGH, LOW, SUMS, ZERO, DepthwiseStepWriter, StepWriter, WideStepWriter
from utvm.kernels.helium.code import framed, move

_POOL = tuple(f"q{number}" for number in range(8))
_FRAME = 68
_HALF, _PIXELS = 48, 64
"""Offsets in the frame, behind those of the writers: the first half, and the turns that are left."""
_LOOP_CYCLES = 6
_CALL_CYCLES = 60


@lru_cache(maxsize=512)
def micro_kernel(spec: BlockSpec, timing: Timing) -> tuple[CSupport, float, float]:
    """Return `void name(const int8_t *x, int8_t *y, const int32_t *stream, int32_t turns)` and its costs.

    A turn is `spec.pixels` pixels. The costs are the modelled cycles of a call, and of a turn.

    Raises:
        ScheduleError: it can't be scheduled.
    """
    name = f"utvm_helium_{spec.stem}{spec.pixels}_{len(spec.steps)}x{spec.groups}_{short_digest(spec, 3)}"
    main, turn_cycles = _turns(spec, timing) if spec.groups == spec.at_once else _groups(spec, timing)
    lines = [
        "mov r5, r1",
        *(["mov r11, r3"] if spec.groups == spec.at_once else [f"str r3, [sp, #{_PIXELS}]"]),
        "mov r3, r2",
        "mov r1, r0",
        *([f"add.w r7, r1, #{spec.pitch}"] if spec.pixels == 2 and spec.pitch <= MAX_OFFSET else []),
        *(["mov r7, r1", *move("r7", spec.pitch)] if spec.pixels == 2 and spec.pitch > MAX_OFFSET else []),
        *_constants(spec),
        *main,
    ]
    steps = f"{len(spec.steps)} steps of {spec.step_taps} taps"
    comment = f"{spec.pixels} pixels, {spec.groups} blocks of {spec.channels} channels, {steps}"
    prototype = f"void {name}(const int8_t *x, int8_t *y, const int32_t *stream, int32_t turns)"
    kernel = assembler_function(name, prototype, framed(_FRAME, lines), comment)
    return kernel, _CALL_CYCLES, turn_cycles


def _advance(spec: BlockSpec) -> list[str]:
    """Return the lines that move all addresses from the end of a turn to the next."""
    by = spec.pixels * spec.pitch - spec.groups * spec.block_in_bytes
    return [
        *move("r1", by),
        *(move("r7", by) if spec.pixels == 2 else []),
        *move("r3", -spec.groups * spec.block_bytes),
        *move("r5", spec.pixels * spec.out_pitch - spec.groups * spec.block_out_bytes),
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


def _constants(spec: BlockSpec) -> list[str]:
    """Return the lines that keep the clamp's ends and the zero point in the frame, the latter in r9 too."""
    finish, lines = spec.finish, list[str]()
    bits = 8 * spec.element
    for needed, value, at in ((finish.clamps_low, finish.low, LOW), (finish.clamps_high, finish.high, HIGH)):
        if needed:
            lines += [f"movw r9, #{value & ((1 << bits) - 1)}", f"vdup.{bits} q0, r9", f"vstrw.32 q0, [sp, #{at}]"]
    if spec.element > 1:
        return lines
    zero = "0x8080" if finish.unsigned else str(finish.zero_point & 0xFFFF)
    return [*lines, f"movw r9, #{zero}", "vdup.16 q0, r9", f"vstrw.32 q0, [sp, #{ZERO}]"]


def _writer(spec: BlockSpec) -> StepWriter:
    match spec:
        case DepthwiseBlockSpec():
            return DepthwiseStepWriter(spec)
        case WideBlockSpec():
            return WideStepWriter(spec)
        case _:
            return StepWriter(spec)


def _schedule(writer: StepWriter, timing: Timing) -> tuple[list[str], float]:
    done = schedule(writer.block, timing, pool=_POOL)
    return list(done.lines), done.cycles


def _moves(spec: BlockSpec) -> list[int]:
    """Return by how much the pixels' addresses move after each step; the last goes to the next block's start."""
    steps = spec.steps
    return [after - before for before, after in zip(steps, (*steps[1:], spec.block_in_bytes), strict=True)]


def _straight(spec: BlockSpec, timing: Timing, behind: Sequence[str] = ()) -> tuple[list[str], float]:
    """Return `at_once` blocks without an inner loop and the lines `behind` them, and their cycles."""
    writer = _writer(spec)
    for _ in range(spec.at_once):
        halves: list[str] = []
        for half in range(spec.halves):
            # The moves of a half end where they began.
            for index, moved in enumerate(_moves(spec) if spec.present(half) else []):
                writer.step(half, moved, first=index == 0)
            halves += writer.requantize(biased=False)
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
    for half in range(spec.halves):
        inner = _writer(spec)
        for moved in turn:
            inner.step(half, moved, first=False)
        loop, loop_cycles = _schedule(inner, timing)
        lines += _starts(spec)
        lines += [f"movw r9, #{turns}", ".balign 4", "3:", *loop, "subs.w r9, r9, #1", "bne.w 3b"]
        rest = _writer(spec)
        for moved in moves[turns * length :]:
            rest.step(half, moved, first=False)
        for base in ("r1", "r7")[: spec.pixels]:
            rest.block(*move(base, back))
        packed = rest.requantize(biased=True)
        if half < spec.halves - 1:
            rest.block(f"vstrw.32 {packed[0]}, [sp, #{_HALF}]")
        elif half:
            first = rest.new()
            rest.block(f"vldrw.u32 {first}, [sp, #{_HALF}]")
            rest.store([first, *packed])
        else:
            rest.store(packed)
        tail, tail_cycles = _schedule(rest, timing)
        lines += tail
        cycles += len(_starts(spec)) + 1 + turns * (loop_cycles + 3) + tail_cycles
    return lines, cycles


def _starts(spec: BlockSpec) -> list[str]:
    """Return the lines that begin sums with their biases."""
    first, second = (f"ldrd {a}, {b}, [r3], #8" for a, b in (SUMS[0:2], SUMS[2:4]))
    if spec.pixels == 2:
        return [first, second, *(f"mov {to}, {of}" for to, of in zip(SUMS[4:], SUMS[:4], strict=True))]
    more = [f"ldrd {a}, {b}, [r3], #8" for a, b in (SUMS[4:6], SUMS[6:8])]
    return [first, second, *more]
