"""C that expands rows of int8 input to int16 lanes."""

from __future__ import annotations

from utvm.codegen import CWriter
from utvm.kernels.dsp.geometry import Rows


def write_expansion(w: CWriter, rows: Rows, *, source: str, target: str, zero_point: int) -> tuple[str, ...]:
    """Write the expansion of the row at `source` (int8_t *) into the row at `target` (int16_t *); returns the helpers.

    The row is that of one group of channels. Both addresses are aligned to a word. The padding at both sides is not
    touched, except that of the second copy that shares a word with a pixel.
    """
    window = rows.window
    count = window.width * window.channels
    pixel = window.channels * window.groups
    if rows.pitch != pixel:
        copies = [rows.interior, *([rows.lanes + rows.interior - 1] if rows.two_copies else [])]
        if rows.quads and not rows.two_copies and rows.interior % 2 == 0:
            return _write_group_words(w, rows, source, target)
        with w.loop("i", window.width):
            _unroll(w, window.channels)
            with w.loop("c", window.channels):
                for first in copies:
                    w(f"{target}[{first} + i * {rows.pitch} + c] = {source}[i * {pixel} + c];")
        return ()
    if count % 4 or rows.interior % 2:
        for first in [rows.interior, *([rows.lanes + rows.interior - 1] if rows.two_copies else [])]:
            _unroll(w, count)
            with w.loop("i", count):
                w(f"{target}[{first} + i] = {source}[i];")
        return ()
    return _write_words(w, rows, count // 4, source, target, zero_point)


def _unroll(w: CWriter, count: int) -> None:
    """Let the compiler unroll the loop that follows: a lane costs a load and a store."""
    if count > 1:
        w(f"#pragma GCC unroll {min(count, 8)}")


def _write_group_words(w: CWriter, rows: Rows, source: str, target: str) -> tuple[str, ...]:
    """Write the expansion of a group's channels of each pixel, which are whole words."""
    window = rows.window
    words = window.channels // 4
    with w.loop("i", window.width):
        w(f"const uint32_t *from = (const uint32_t *)(const void *)({source} + i * {words * 4 * window.groups});")
        w(f"uint32_t *to = (uint32_t *)(void *)({target} + {rows.interior} + i * {rows.pitch});")
        return write_quads(w, "word", words)


def _write_words(w: CWriter, rows: Rows, words: int, source: str, target: str, zero_point: int) -> tuple[str, ...]:
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
