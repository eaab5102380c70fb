"""Maximum pooling whose windows overlap much: first down the rows into a buffer of one row, then along it."""

from __future__ import annotations

from functools import lru_cache

from utvm.codegen import CFunction, CParameter, CSupport, CWriter
from utvm.graph import MaxPool2D
from utvm.graph.operators import FULL_INT8
from utvm.kernels.base import Config, Kernel
from utvm.kernels.dsp.assembly import MAX_OFFSET, assembler_function
from utvm.kernels.dsp.words import write_bounds
from utvm.kernels.helium.code import constant, move
from utvm.kernels.helium.window_rows import stretches, write_calls
from utvm.kernels.overlap import line_ahead
from utvm.kernels.workload_keys import dims, workload

_MOST_TAPS = 16
_CALL_TAPS = 4
"""Taps of a window that take as long as the second pass does besides its own."""


def overlaps(op: MaxPool2D) -> bool:
    """Whether two passes read less than all windows do, and the windows and rows are not too large for them."""
    down, across = op.filter
    row = op.x.shape[2] * op.x.shape[3]
    if max(op.filter) > _MOST_TAPS or row * (_MOST_TAPS - 1) > 0xFFFF:
        return False
    return down * across > op.stride[1] * (down + 1) + across + _CALL_TAPS


def lines_kernel(op: MaxPool2D, family: str, config: Config) -> Kernel:
    """Return the kernel of a maximum pooling in two passes."""
    batch, height, width, channels = op.x.shape
    _, out_height, out_width, _ = op.y.shape
    row = width * channels
    used: dict[str, CSupport] = {}

    def most(taps: int, stride: int, step: int = 0, clamp: tuple[int, int] = FULL_INT8) -> str:
        function = _most(taps, stride, step, clamp)
        used[function.name] = function
        return function.name

    w = CWriter()
    with w.loop("n", batch), w.loop("oy", out_height):
        write_bounds(w, op, 0)
        down = f"line, x + (n * {height} + first_y) * {row}, {row}, 1"
        write_calls(w, op, lambda taps: [f"{most(taps, row)}({down});"])
        w(f"int8_t *const to = y + (n * {out_height} + oy) * {out_width * channels};")
        for part in stretches(op):
            name = most(part.taps, channels, op.stride[1] * channels, op.clamp)
            places = f"to + {part.first * channels}, line + {part.start * channels}"
            w(f"{name}({places}, {channels}, {part.windows});")
    return Kernel(
        family=family,
        config=config,
        function=CFunction(
            stem=f"max_pool_{dims(op.x.shape[1:])}_helium",
            comment=f"{workload(op)}\nfamily {family}, in two passes",
            parameters=(
                CParameter(name="x", c_type="int8_t", role="input"),
                CParameter(name="line", c_type="int8_t", role="scratch"),
                CParameter(name="y", c_type="int8_t", role="output"),
            ),
            body=w.text,
            support=tuple(used.values()),
        ),
        scratch_bytes=row,
        ahead=line_ahead(op),
    )


@lru_cache(maxsize=64)
def _most(taps: int, stride: int, step: int, clamp: tuple[int, int]) -> CSupport:
    """Return `void name(int8_t *to, const int8_t *from, int32_t count, int32_t turns)`: maxima of bytes.

    Args:
        taps: bytes that each is of.
        stride: from one of them to the next.
        step: from turn to turn; each writes `count` maxima.
        clamp: of the maxima.
    """
    limits = [f"_{'m' if value < 0 else ''}{abs(value)}" for value in clamp if clamp != FULL_INT8]
    name = f"utvm_helium_most_{taps}_{stride}_{step}{''.join(limits)}"
    lines = ["push {r4-r6, lr}"]
    for register, value in zip(("q3", "q4"), clamp, strict=True):
        if clamp != FULL_INT8:
            lines += [
                *(["vpush {d8-d9}"] if register == "q4" else []),
                *constant("r4", value),
                f"vdup.8 {register}, r4",
            ]
    lines += ["4:", "mov r5, r1", "wlstp.8 lr, r2, 2f", "1:", "vldrb.u8 q0, [r5]"]
    for first in range(1, taps, 2):
        pair = range(first, min(first + 2, taps))
        for tap in pair:
            at = tap * stride
            lines += [f"addw r4, r5, #{at}"] if at <= MAX_OFFSET else [f"movw r4, #{at}", "add r4, r4, r5"]
            lines.append(f"vldrb.u8 q{tap % 2 + 1}, [r4]")
        lines += [f"vmax.s8 q0, q0, q{tap % 2 + 1}" for tap in pair]
    if clamp != FULL_INT8:
        lines += ["vmax.s8 q0, q0, q3", "vmin.s8 q0, q0, q4"]
    # The last vector is predicated, and its addresses run on: the output goes back to the end of the turn.
    lines += ["add.w r5, r5, #16", "vstrb.8 q0, [r0], #16", "letp lr, 1b", "2:"]
    lines += ["rsb r6, r2, #0", "and r6, r6, #15", "sub r0, r0, r6", *move("r1", step)]
    lines += ["subs r3, r3, #1", "bne 4b", *(["vpop {d8-d9}"] if clamp != FULL_INT8 else []), "pop {r4-r6, pc}"]
    prototype = f"void {name}(int8_t *to, const int8_t *from, int32_t count, int32_t turns)"
    return assembler_function(name, prototype, lines, f"the most of {taps} bytes, {stride} apart, count times a turn")
