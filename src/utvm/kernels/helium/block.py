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
from utvm.cores.microkernel import Block, schedule
from utvm.cores.timing import Timing
from utvm.kernels.dsp.assembly import MAX_OFFSET, assembler_function, short_digest
from utvm.kernels.helium.block_spec import BlockSpec, DepthwiseBlockSpec, LongBlockSpec, WideBlockSpec
from utvm.kernels.helium.block_writer import DepthwiseStepWriter, StepWriter, WideStepWriter
from utvm.kernels.helium.code import framed, move
from utvm.kernels.helium.long_writer import LongStepWriter

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
    writer = _writer(spec)
    used = writer.registers
    before, after = used.entry
    lines = [
        *before,
        f"mov {used.turn}, r3" if spec.groups == spec.at_once else f"str r3, [sp, #{_PIXELS}]",
        *after,
        *_second(spec, *used.pixels),
        *writer.constants(),
        *main,
    ]
    steps = f"{len(spec.steps)} steps of {spec.step_taps} taps"
    comment = f"{spec.pixels} pixels, {spec.groups} blocks of {spec.channels} channels, {steps}"
    prototype = f"void {name}(const int8_t *x, int8_t *y, const int32_t *stream, int32_t turns)"
    kernel = assembler_function(name, prototype, framed(_FRAME, lines), comment)
    return kernel, _CALL_CYCLES, turn_cycles


def _second(spec: BlockSpec, first: str, second: str) -> list[str]:
    """Return the lines that make the address of a second pixel, if there is one."""
    if spec.pixels == 1:
        return []
    if spec.pitch <= MAX_OFFSET:
        return [f"add.w {second}, {first}, #{spec.pitch}"]
    return [f"mov {second}, {first}", *move(second, spec.pitch)]


def _advance(spec: BlockSpec) -> list[str]:
    """Return the lines that move all addresses from the end of a turn to the next."""
    by = spec.pixels * spec.pitch - spec.groups * spec.block_in_bytes
    used = _writer(spec).registers
    return [
        *(line for register in used.pixels[: spec.pixels] for line in move(register, by)),
        *move(used.stream, -spec.groups * spec.block_bytes),
        *move(used.output, spec.pixels * spec.out_pitch - spec.groups * spec.block_out_bytes),
    ]


def _groups(spec: BlockSpec, timing: Timing) -> tuple[list[str], float]:
    """Return a loop over turns of a loop over blocks, and the cycles of a turn."""
    body, cycles = _looped(spec, timing) if spec.turns[0] else _straight(spec, timing)
    advance, turn = _advance(spec), _writer(spec).registers.turn
    lines = [
        ".balign 4",
        "1:",
        f"movw {turn}, #{spec.groups // spec.at_once}",
        ".balign 4",
        "2:",
        *body,
        f"subs.w {turn}, {turn}, #1",
        "bne.w 2b",
        *advance,
        f"ldr {turn}, [sp, #{_PIXELS}]",
        f"subs.w {turn}, {turn}, #1",
        f"str {turn}, [sp, #{_PIXELS}]",
        "bne.w 1b",
    ]
    return lines, spec.groups // spec.at_once * (cycles + 3) + len(advance) + _LOOP_CYCLES


def _turns(spec: BlockSpec, timing: Timing) -> tuple[list[str], float]:
    """Return a loop over turns of which each is one body, and the cycles of a turn."""
    advance, turn = _advance(spec), _writer(spec).registers.turn
    if spec.turns[0]:
        body, cycles = _looped(spec, timing)
        body, cycles = [*body, *advance], cycles + len(advance)
    else:
        body, cycles = _straight(spec, timing, advance)
    return [".balign 4", "1:", *body, f"subs.w {turn}, {turn}, #1", "bne.w 1b"], cycles + 3


def _writer(spec: BlockSpec) -> StepWriter:
    match spec:
        case LongBlockSpec():
            return LongStepWriter(spec)
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
    if spec.overlaps:
        writer.block = Block([*(line for line, _ in _overlapped(spec)), *behind])
        return _schedule(writer, timing)
    for _ in range(spec.at_once):
        halves: list[str] = []
        if spec.starts_biased:
            writer.block(*writer.starts())
        for half in range(spec.halves):
            # The moves of a half end where they began.
            for index, moved in enumerate(_moves(spec) if spec.present(half) else []):
                writer.step(half, moved, first=index == 0)
            halves += writer.requantize(biased=spec.starts_biased)
        writer.store(halves)
    writer.block(*behind)
    return _schedule(writer, timing)


def read_order(spec: BlockSpec) -> tuple[bool, ...]:
    """Return whether each vector that `at_once` blocks read is one of the finish, where halves overlap."""
    place = f"[{_writer(spec).registers.stream}]"
    return tuple(finish for line, finish in _overlapped(spec) if place in line) if spec.overlaps else ()


def _overlapped(spec: BlockSpec) -> list[tuple[str, bool]]:
    """Return the lines of `at_once` blocks, and whether each is of a finish: one follows each sum of the next half."""
    writer, found, waiting = _writer(spec), list[tuple[str, bool]](), list[str]()
    for _ in range(spec.at_once):
        halves: list[str] = []
        for half in range(spec.halves):
            writer.block = Block()
            for index, moved in enumerate(_moves(spec) if spec.present(half) else []):
                writer.step(half, moved, first=index == 0)
            for line in writer.block.lines:
                found.append((line, False))
                if waiting and line.startswith("vmladav"):
                    found.append((waiting.pop(0), True))
            found += [(line, True) for line in waiting]
            writer.block = Block()
            halves += writer.requantize(biased=False)
            # The registers of sums are free from here on.
            found += [(line, True) for line in writer.block.lines if line.startswith("vmov ")]
            waiting = [line for line in writer.block.lines if not line.startswith("vmov ")]
        writer.block = Block()
        writer.store(halves)
        waiting += writer.block.lines
    return found + [(line, True) for line in waiting]


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
        starts, count = inner.starts(), inner.registers.loop
        lines += [*starts, f"movw {count}, #{turns}", ".balign 4", "3:", *loop]
        lines += [f"subs.w {count}, {count}, #1", "bne.w 3b"]
        rest = _writer(spec)
        for moved in moves[turns * length :]:
            rest.step(half, moved, first=False)
        for base in rest.registers.pixels[: spec.pixels]:
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
        cycles += len(starts) + 1 + turns * (loop_cycles + 3) + tail_cycles
    return lines, cycles
