"""Copies and fills of bytes by vectors whose last one is predicated: nothing behind the end is touched."""

from __future__ import annotations

from utvm.codegen import CSupport
from utvm.kernels.dsp.assembly import assembler_function
from utvm.kernels.helium.block_spec import LANES, BlockSpec
from utvm.kernels.helium.code import move

COPY = assembler_function(
    "utvm_helium_copy",
    "void utvm_helium_copy(int8_t *to, const int8_t *from, int32_t count)",
    [
        "push {r4, lr}",
        "wlstp.8 lr, r2, 2f",
        "1:",
        "vldrb.u8 q0, [r1], #16",
        "vstrb.8 q0, [r0], #16",
        "letp lr, 1b",
        "2:",
        "pop {r4, pc}",
    ],
    "count bytes",
)
FILL = assembler_function(
    "utvm_helium_fill",
    "void utvm_helium_fill(int8_t *to, int32_t value, int32_t count)",
    [
        "push {r4, lr}",
        "vdup.8 q0, r1",
        "wlstp.8 lr, r2, 2f",
        "1:",
        "vstrb.8 q0, [r0], #16",
        "letp lr, 1b",
        "2:",
        "pop {r4, pc}",
    ],
    "count times one byte",
)


def copy_cycles(count: int) -> float:
    """Return about how many cycles a copy takes."""
    return 16 + 5 * -(-count // 16)


def fill_cycles(count: int) -> float:
    """Return about how many cycles a fill takes; none where there is nothing to fill."""
    return 16 + 2 * -(-count // 16) if count else 0.0


def repeat(times: int) -> CSupport:
    """Return `void name(int8_t *to, const int8_t *from, int32_t count)`: `count` values of int16, each so many times.

    Whole vectors are written, `repeat_bytes` at most behind the end.
    """
    if times in _INTERLEAVED:
        registers = [f"q{number}" for number in range(times)]
        every = f"{{{', '.join(registers)}}}"
        turn = [
            "vctp.16 r2",
            "vpst",
            "vldrht.u16 q0, [r1], #16",
            *(f"vmov {register}, q0" for register in registers[1:]),
            *(f"vst{times}{part}.16 {every}, [r0]{'!' if part == times - 1 else ''}" for part in range(times)),
            f"subs r2, r2, #{_LANES_16}",
            "bgt 1b",
        ]
    else:
        turn = [
            "ldrh r3, [r1], #2",
            "vdup.16 q0, r3",
            *(f"vstrh.16 q0, [r0, #{at}]" for at in range(0, 2 * times, LANES)),
            *move("r0", 2 * times),
            "subs r2, r2, #1",
            "bne 1b",
        ]
    name = f"utvm_helium_repeat_{times}"
    prototype = f"void {name}(int8_t *to, const int8_t *from, int32_t count)"
    lines = ["push {r4, lr}", "1:", *turn, "pop {r4, pc}"]
    return assembler_function(name, prototype, lines, f"count halves, each {times} times")


_INTERLEAVED, _LANES_16 = (2, 4), 8
"""Times for which stores interleave equal vectors, and elements of int16 in one."""


def repeat_bytes(times: int) -> int:
    """Return how many bytes `repeat` writes behind the end at most."""
    return LANES * times if times in _INTERLEAVED else LANES


def repeat_cycles(times: int, count: int) -> float:
    """Return about how many cycles `repeat` takes."""
    if times in _INTERLEAVED:
        return 16 + -(-count // _LANES_16) * (7 + 4 * times)
    return 16 + count * (6 + 2 * -(-2 * times // LANES))


def unfold(spec: BlockSpec, pitch: int) -> CSupport:
    """Return `void name(int8_t *to, const int8_t *from, int32_t pixels)`, which copies the taps of pixels in a row.

    Whole vectors are read and written: what is behind a run of taps is overwritten by the next, or meets weights of 0.

    Args:
        spec: where the taps are: one run of at most 16 in each of its rows.
        pitch: from a pixel's taps to the next one's.
    """
    assert len(spec.runs) == 1
    assert spec.run <= LANES
    name = f"utvm_helium_unfold_{spec.rows}x{spec.run}_{spec.row_stride}_{spec.pitch}_{pitch}"
    lines = ["push {r4, lr}", "1:"]
    for first in range(0, spec.rows, _AT_ONCE):
        rows = range(first, min(first + _AT_ONCE, spec.rows))
        for row in rows:
            lines += [f"vldrb.u8 q{row % _AT_ONCE}, [r1]", *move("r1", spec.row_stride)]
        lines += [f"vstrb.8 q{row % _AT_ONCE}, [r0], #{spec.run}" for row in rows]
    lines += move("r1", spec.pitch - spec.rows * spec.row_stride) + move("r0", pitch - spec.rows * spec.run)
    lines += ["subs r2, r2, #1", "bne 1b", "pop {r4, pc}"]
    prototype = f"void {name}(int8_t *to, const int8_t *from, int32_t pixels)"
    return assembler_function(name, prototype, lines, f"{spec.rows} runs of {spec.run} taps, pixels {pitch} apart")


_AT_ONCE = 4
"""Vectors between which a store does not delay a load."""


def unfold_cycles(spec: BlockSpec) -> float:
    """Return about how many cycles `unfold` takes for a pixel."""
    return 8 + 4.5 * spec.rows
