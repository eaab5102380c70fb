"""Runs of bytes from places that lie apart, by gathers of eight.

A run's places follow a pattern that repeats itself: its offsets stay in registers, and its start moves on.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from utvm.codegen import CSupport
from utvm.kernels.dsp.assembly import assembler_function, short_digest
from utvm.kernels.helium.code import constant

LANES = 8
MOST_VECTORS = 7
"""Offsets that registers hold; another has the values."""
MOST_OFFSET = (1 << 16) - 1
_VECTOR_CYCLES, _RUN_CYCLES, _CALL_CYCLES = 11.5, 14, 40


def gather_cycles(runs: int, count: int) -> float:
    """Return about how many cycles `gather_function` takes."""
    return _CALL_CYCLES + runs * (_RUN_CYCLES + -(-count // LANES) * _VECTOR_CYCLES)


@lru_cache(maxsize=256)
def gather_function(
    offsets: tuple[int, ...], advance: int, count: int, runs: int, pitch: int, out_pitch: int
) -> CSupport:
    """Return `void name(void *to, const void *from, const int16_t *offsets)`.

    Args:
        offsets: of the bytes of a pattern, whole vectors of them, from 0 to 65,535. The argument points to their
            bits as int16_t.
        advance: from where a pattern counts to where the next does.
        count: bytes of a run.
        runs: how many.
        pitch: from where a run counts to where the next does.
        out_pitch: from a run of the output to the next.
    """
    vectors, period = len(offsets) // LANES, len(offsets)
    patterns, left = divmod(count, period)
    lines = ["push {r4-r10, lr}", *(["vpush {d8-d15}"] if vectors > 3 else [])]
    lines += [f"vldrh.u16 q{number + 1}, [r2, #{2 * LANES * number}]" for number in range(vectors)]
    lines += [*constant("r3", advance), *constant("r4", pitch), *constant("r5", out_pitch), *constant("r6", runs)]
    lines += ["4:", "mov r7, r0", "mov r8, r1"]
    single = vectors == 1
    if patterns and not single:
        lines += [*constant("r9", patterns), "dls lr, r9", "1:"]
        for number in range(vectors):
            lines += [f"vldrb.u16 q0, [r8, q{number + 1}]", f"vstrb.16 q0, [r7], #{LANES}"]
        lines += ["add r8, r8, r3", "le lr, 1b"]
    if single or left:
        lines += [*constant("r9", count if single else left), *([] if single else ["mov r10, r2"])]
        lines += ["wlstp.16 lr, r9, 2f", "3:"]
        lines += ["vldrb.u16 q0, [r8, q1]", "add r8, r8, r3"] if single else []
        lines += [] if single else [f"vldrh.u16 q1, [r10], #{2 * LANES}", "vldrb.u16 q0, [r8, q1]"]
        lines += [f"vstrb.16 q0, [r7], #{LANES}", "letp lr, 3b", "2:"]
        # The first offsets were overwritten.
        lines += [] if single else ["vldrh.u16 q1, [r2]"]
    lines += ["add r0, r0, r5", "add r1, r1, r4", "subs.w r6, r6, #1", "bne.w 4b"]
    lines += [*(["vpop {d8-d15}"] if vectors > 3 else []), "pop {r4-r10, pc}"]
    name = f"utvm_helium_gather_{short_digest(vectors, advance, count, runs, pitch, out_pitch)}"
    prototype = f"void {name}(void *to, const void *from, const int16_t *offsets)"
    return assembler_function(name, prototype, lines, f"{runs} runs of {count} bytes, patterns {advance} apart")


def padded(offsets: Sequence[int]) -> tuple[int, ...]:
    """Return offsets with zeros up to whole vectors."""
    return (*offsets, *[0] * (-len(offsets) % LANES))
