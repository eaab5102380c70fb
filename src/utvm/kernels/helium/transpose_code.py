"""Transposed blocks of bytes: sixteen by four, of which one side is moved by words that lie apart.

Four vectors of words change places byte by byte, then by halves (`vsli`, `vsri`): what was the same byte of four words
becomes a word. Rows by words need sources at multiples of four, columns by words targets.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from utvm.codegen import CSupport
from utvm.cores.microkernel import Block, schedule
from utvm.cores.timing import Timing
from utvm.kernels.dsp.assembly import assembler_function
from utvm.kernels.helium.code import constant

LONG, SHORT = 16, 4
_CALL_CYCLES, _LINE_CYCLES = 40, 8
_POOL = ("q0", "q1", "q2", "q3", "q4", "q5", "q6")


@dataclass(frozen=True, slots=True, kw_only=True)
class TransposeSpec:
    """A transposition of bytes, `to[c * out_pitch + r] = from[r * pitch + c]`.

    Attributes:
        rows, columns: their numbers; the longer side of blocks goes along rows if `gathers`, else along columns.
        pitch: from a row of the input to the next.
        out_pitch: from a row of the output, a column of the input, to the next.
        gathers: whether words of the input are gathered, else words of the output scattered.
    """

    rows: int
    columns: int
    pitch: int
    out_pitch: int
    gathers: bool

    @property
    def fits(self) -> bool:
        """Whether blocks cover it and their words are at multiples of four where its arrays are."""
        long, short = (self.rows, self.columns) if self.gathers else (self.columns, self.rows)
        stride = self.pitch if self.gathers else self.out_pitch
        return long >= LONG and short >= SHORT and short % SHORT == 0 and stride % SHORT == 0


@lru_cache(maxsize=128)
def transpose_function(spec: TransposeSpec, timing: Timing) -> tuple[CSupport, float]:
    """Return `void name(void *to, const void *from)` and its cycles.

    The last block of a line lies over the one before where the line is not whole blocks.

    Raises:
        ScheduleError: it can't be scheduled.
    """
    long, short = (spec.rows, spec.columns) if spec.gathers else (spec.columns, spec.rows)
    stride = spec.pitch if spec.gathers else spec.out_pitch
    body = schedule(_block(spec), timing, pool=_POOL)
    blocks, left = divmod(long, LONG)
    apart, beside = ("r1", "r0") if spec.gathers else ("r0", "r1")
    far, near = ("r4", "r5", "r6", "r7"), ("r8", "r9", "r10", "r11")
    gap = spec.out_pitch if spec.gathers else spec.pitch
    lines = ["push {r4-r11, lr}", "vpush {d8-d15}", "mov.w r12, #0", "vidup.u32 q7, r12, #4"]
    # Lanes 0, 4, 8 and 12 strides apart: four times lanes of 0 to 3 counts of four.
    lines += [*constant("r12", stride), "vmul.i32 q7, q7, r12"]
    lines += [*constant("r3", short // SHORT), "4:"]
    lines += [f"mov {far[0]}, {apart}", *constant("r2", stride)]
    lines += [f"add {far[k]}, {far[k - 1]}, r2" for k in range(1, SHORT)]
    lines += [f"mov {near[0]}, {beside}", *constant("r12", gap)]
    lines += [f"add {near[k]}, {near[k - 1]}, r12" for k in range(1, SHORT)]
    lines += [
        *constant("r2", stride * LONG),
        *constant("r12", blocks),
        "dls lr, r12",
        ".balign 4",
        "1:",
        *body.lines,
        "le lr, 1b",
    ]
    if left:
        back = LONG - left
        lines += constant("r2", back * stride)
        lines += [f"sub {register}, {register}, r2" for register in far]
        lines += [f"sub.w {register}, {register}, #{back}" for register in near]
        lines += [*constant("r2", 0), *body.lines]
    # The next line: four bytes on where words lie apart, four rows on where they are neighbours.
    lines += [f"add.w {apart}, {apart}, #{SHORT}", *constant("r12", gap * SHORT), f"add {beside}, {beside}, r12"]
    lines += ["subs.w r3, r3, #1", "bne.w 4b", "vpop {d8-d15}", "pop {r4-r11, pc}"]
    numbers = (spec.rows, spec.columns, spec.pitch, spec.out_pitch)
    name = f"utvm_helium_{'rows' if spec.gathers else 'columns'}_by_words_{'_'.join(map(str, numbers))}"
    comment = f"a transposition of {spec.rows} rows of {spec.columns} bytes"
    cycles = _CALL_CYCLES + short // SHORT * ((blocks + (left > 0)) * body.cycles + _LINE_CYCLES + 12)
    return assembler_function(name, f"void {name}(void *to, const void *from)", lines, comment), cycles


def _block(spec: TransposeSpec) -> Block:
    """Return the code of a block; words at r4 to r7, rows at r8 to r11, r2 bytes from block to block of words."""
    block = Block()
    for name, far, near in zip("abcd", range(4, 8), range(8, 12), strict=True):
        if spec.gathers:
            block(f"vldrw.u32 %{name}, [r{far}, q7]", f"add r{far}, r{far}, r2")
        else:
            block(f"vldrb.u8 %{name}, [r{near}], #{LONG}")
    for first, second, both in (("a", "b", "e"), ("c", "d", "f")):
        block(f"vmov %{both}, %{first}", f"vsli.16 %{both}, %{second}, #8", f"vsri.16 %{second}, %{first}, #8")
    for first, second, both in (("e", "f", "g"), ("b", "d", "h")):
        block(f"vmov %{both}, %{first}", f"vsli.32 %{both}, %{second}, #16", f"vsri.32 %{second}, %{first}, #16")
    for name, far, near in zip("ghfd", range(4, 8), range(8, 12), strict=True):
        if spec.gathers:
            block(f"vstrb.8 %{name}, [r{near}], #{LONG}")
        else:
            block(f"vstrw.32 %{name}, [r{far}, q7]", f"add r{far}, r{far}, r2")
    return block
