"""Code that expands rows of int8 input to int16 lanes."""

from __future__ import annotations

import math
from functools import lru_cache

from utvm.codegen import CSupport, CWriter
from utvm.cores.microkernel import Block, schedule
from utvm.cores.timing import Timing
from utvm.kernels.dsp.assembly import LOOP_REGISTERS, assembler_loop
from utvm.kernels.dsp.expand_bytes import write_bytes
from utvm.kernels.dsp.geometry import ExpandedRows

_AT_ONCE = (8, 7, 6, 5, 4, 3, 2, 1)
_BRANCH_CYCLES = 3
_LANE_CYCLES = 1.5
"""Cycles of a lane where the compiler writes the loop."""


def expansion_turn(words: int, timing: Timing, *, x: str, row: str, turns: str) -> tuple[int, tuple[str, ...], float]:
    """Return how many of a row's words one turn expands to int16, its code and its cycles.

    Args:
        words: four channels each; a turn's divide them.
        timing: the core.
        x: the register of the input's address, which moves.
        row: the register of the lanes' address, which moves.
        turns: the register that counts down, with Z set after the last turn.
    """
    return _expansion_turn(next(count for count in _AT_ONCE if words % count == 0), timing, x, row, turns)


@lru_cache(maxsize=64)
def _expansion_turn(at_once: int, timing: Timing, x: str, row: str, turns: str) -> tuple[int, tuple[str, ...], float]:
    block = Block()
    for i in range(at_once):
        block(f"ldr %w{i}, [%x, #{4 * i}]")
    for i in range(at_once):
        block(f"sxtb16 %even{i}, %w{i}", f"str %even{i}, [%row, #{8 * i}]")
        block(f"sxtb16 %w{i}, %w{i}, ror #8", f"str %w{i}, [%row, #{8 * i + 4}]")
    block(f"add %x, %x, #{4 * at_once}", f"add %row, %row, #{8 * at_once}", "subs %turns, %turns, #1")
    body = schedule(block, timing, pool=LOOP_REGISTERS, fixed={"%x": x, "%row": row, "%turns": turns})
    return at_once, body.lines, body.cycles + _BRANCH_CYCLES


def expander(rows: ExpandedRows, timing: Timing) -> CSupport | None:
    """Return `void name(const int8_t *x, int16_t *lanes, int32_t turns)` for whole pixels, or None if C expands rows.

    A turn takes as many words as its name ends with; see `expander_words`.
    """
    words = expander_words(rows)
    return None if words is None else _expander(words, timing)


@lru_cache(maxsize=256)
def _expander(words: int, timing: Timing) -> CSupport:
    at_once, turn, _ = expansion_turn(words, timing, x="r0", row="r1", turns="r2")
    return assembler_loop(
        f"utvm_expand_{at_once}",
        "const int8_t *x, int16_t *lanes, int32_t turns",
        turn,
        f"{4 * at_once} bytes a turn to int16 lanes, each four in the order 0, 2, 1, 3",
    )


def expander_words(rows: ExpandedRows) -> int | None:
    """Return the words of a number that divides every stretch of pixels, or None where C expands rows."""
    if not rows.quads or rows.two_copies or rows.interior % 2 or rows.window.groups > 1:
        return None
    return math.gcd(rows.window.width, rows.window.rest) * rows.window.channels // 4


def expansion_cycles(rows: ExpandedRows, timing: Timing) -> float:
    """Return the modelled cycles of one lane."""
    words = expander_words(rows)
    if words is None:
        return _LANE_CYCLES
    at_once, _, cycles = expansion_turn(words, timing, x="r0", row="r1", turns="r2")
    return cycles / (4 * at_once)


def write_expansion(
    w: CWriter,
    rows: ExpandedRows,
    pixels: int,
    expansion: CSupport | None,
    *,
    source: str,
    target: str,
    zero_point: int,
) -> tuple[str, ...]:
    """Write the expansion of `pixels` from `source` (int8_t *) into the row at `target` (int16_t *); returns helpers.

    The row is that of one group of channels. Both addresses are aligned to a word if rows of the input are whole words.
    The padding at both sides is not touched, except that of the second copy that shares a word with a pixel.
    """
    window = rows.window
    count = pixels * window.channels
    if expansion is not None:
        turns = count // int(expansion.name.rpartition("_")[2]) // 4
        w(f"{expansion.name}({source}, {target} + {rows.interior}, {turns});")
        return ()
    if window.groups == 1 and rows.pitch == window.channels:
        if count % 4 == 0 and window.row_elements % 4 == 0 and rows.interior % 2 == 0:
            return _write_words(w, rows, count // 4, source, target, zero_point)
    elif rows.quads and rows.interior % 2 == 0:
        return _write_group_words(w, rows, source, target)
    return write_bytes(w, rows, pixels, source=source, target=target)


def _write_group_words(w: CWriter, rows: ExpandedRows, source: str, target: str) -> tuple[str, ...]:
    """Write the expansion of a group's channels of each pixel, which are whole words."""
    window = rows.window
    words = window.channels // 4
    with w.loop("i", window.width):
        w(f"const uint32_t *from = (const uint32_t *)(const void *)({source} + i * {words * 4 * window.groups});")
        w(f"uint32_t *to = (uint32_t *)(void *)({target} + {rows.interior} + i * {rows.pitch});")
        return write_quads(w, "word", words)


def _write_words(
    w: CWriter, rows: ExpandedRows, words: int, source: str, target: str, zero_point: int
) -> tuple[str, ...]:
    w(f"const uint32_t *from = (const uint32_t *)(const void *){source};")
    w(f"uint32_t *to = (uint32_t *)(void *)({target} + {rows.interior});")
    if rows.two_copies:
        w(f"uint32_t *second = (uint32_t *)(void *)({target} + {rows.lanes + rows.interior - 2});")
        w(f"uint32_t before = {(zero_point & 0xFFFF) << 16}u;")
    if words > 1:
        w("#pragma GCC unroll 4")
    with w.loop("i", words):
        w("const uint32_t four = from[i];")
        w("const uint32_t even = utvm_extend_even(four);", "const uint32_t odd = utvm_extend_odd(four);")
        if rows.quads:
            w("to[2 * i] = even;", "to[2 * i + 1] = odd;")
            return_helpers: tuple[str, ...] = ("utvm_extend_even", "utvm_extend_odd")
        else:
            w("to[2 * i] = utvm_pack_low(even, odd);", "to[2 * i + 1] = utvm_pack_high(odd, even);")
            return_helpers = ("utvm_extend_even", "utvm_extend_odd", "utvm_pack_low", "utvm_pack_high")
        if rows.two_copies:
            w(
                "second[2 * i] = (before >> 16) | (even << 16);",
                "second[2 * i + 1] = (odd & 0xFFFFu) | (even & 0xFFFF0000u);",
                "before = odd;",
            )
    if rows.two_copies:
        w(f"second[{2 * words}] = (before >> 16) | {(zero_point & 0xFFFF) << 16}u;")
    return return_helpers


def write_quads(w: CWriter, variable: str, words: int) -> tuple[str, ...]:
    """Write the expansion of `words` words from `from` to lane pairs at `to`; returns the helpers.

    The lanes of each four bytes come in the order of `geometry.extension_order`.
    """
    with w.loop(variable, words):
        w(f"const uint32_t four = from[{variable}];")
        w(f"to[2 * {variable}] = utvm_extend_even(four);", f"to[2 * {variable} + 1] = utvm_extend_odd(four);")
    return ("utvm_extend_even", "utvm_extend_odd")


def both_lanes(value: int) -> str:
    """Return the C literal of a word whose two int16 lanes are `value`, such as a zero point for padding."""
    lane = value & 0xFFFF
    return f"0x{lane << 16 | lane:08x}u"
