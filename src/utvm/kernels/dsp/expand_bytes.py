"""Code that expands rows of int8 input to int16 lanes where the rows are no whole words.

Lanes are stored two at a time: a word passes the store buffer of a Cortex-M7, where each halfword waits for the one
before. Bytes are read ahead of the stores, as the compiler may not move a load past a store.
"""

from __future__ import annotations

from collections.abc import Sequence

from utvm.codegen import CWriter
from utvm.kernels.dsp.geometry import ExpandedRows

_HELPERS = ("utvm_expand_eight", "utvm_pack_two")
_AT_ONCE = 4
"""Pairs of bytes that registers hold ahead of their stores."""

_Pair = tuple[str, str, str]
"""The two bytes and the word that takes their lanes, as C expressions."""


def write_bytes(w: CWriter, rows: ExpandedRows, pixels: int, *, source: str, target: str) -> tuple[str, ...]:
    """Write the expansion of `pixels` from `source` (int8_t *) into the row at `target` (int16_t *); returns helpers.

    Both copies of a row are made from the input. The padding at both sides is not touched.
    """
    window = rows.window
    for first in [rows.interior, *([rows.lanes + rows.interior - 1] if rows.two_copies else [])]:
        if window.groups == 1 and rows.pitch == window.channels:
            _write_stretch(w, pixels * window.channels, source, target, first)
        elif rows.pitch % 2 == 0:
            _write_pixels(w, rows, pixels, source, target, first)
        else:
            _write_odd_pixels(w, rows, pixels, source, target, first)
    return _HELPERS


def _write_stretch(w: CWriter, count: int, source: str, target: str, first: int) -> None:
    """Write the expansion of `count` bytes in sequence to lanes from `first` on."""
    alone = first % 2
    if alone:
        w(f"{target}[{first}] = {source}[0];")
    rest = _write_eights(w, "i", (count - alone) // 2, _at(source, alone), _at(target, first + alone))
    _write_pairs(w, rest)
    if (count - alone) % 2:
        w(f"{target}[{first + count - 1}] = {source}[{count - 1}];")


def _write_pixels(w: CWriter, rows: ExpandedRows, pixels: int, source: str, target: str, first: int) -> None:
    """Write the expansion of pixels that begin at even lanes; what an odd channel shares a word with has no weight."""
    window = rows.window
    channels = window.channels
    _keep_loop(w, pixels, channels)
    with w.loop("i", pixels):
        w(f"const int8_t *from = {source} + i * {channels * window.groups};")
        w(f"int16_t *to = {target} + {first} + i * {rows.pitch};")
        _write_pairs(w, _write_eights(w, "c", channels // 2, "from", "to"))
        if channels % 2:
            w(f"{_word(_at('to', channels - 1))} = (uint32_t)from[{channels - 1}];")


def _write_odd_pixels(w: CWriter, rows: ExpandedRows, pixels: int, source: str, target: str, first: int) -> None:
    """Write the expansion of a group's odd channels, whose lanes stand next to those of the next pixel, by two pixels.

    A first pixel that begins at an odd lane comes alone: the second begins at an even one.
    """
    channels = rows.window.channels
    step, half, alone = channels * rows.window.groups, channels // 2, first % 2
    if alone:
        w(f"{target}[{first}] = {source}[0];")
        _write_pairs(w, _write_eights(w, "c", half, _at(source, 1), _at(target, first + 1)))
    both, single = divmod(pixels - alone, 2)
    if both:
        _keep_loop(w, both, 2 * channels)
        with w.loop("i", both):
            w(f"const int8_t *from = {_at(source, alone * step)} + i * {2 * step};")
            w(f"int16_t *to = {_at(target, first + alone * channels)} + i * {2 * channels};")
            rest = _write_eights(w, "c", half, "from", "to")
            rest += [(f"from[{channels - 1}]", f"from[{step}]", _word(_at("to", channels - 1)))]
            rest += _write_eights(w, "c", half, _at("from", step + 1), _at("to", channels + 1))
            _write_pairs(w, rest)
    if single:
        last, lane = (pixels - 1) * step, first + (pixels - 1) * channels
        _write_pairs(w, _write_eights(w, "c", half, _at(source, last), _at(target, lane)))
        w(f"{target}[{lane + channels - 1}] = {source}[{last + channels - 1}];")


def _write_eights(w: CWriter, variable: str, pairs: int, source: str, target: str) -> list[_Pair]:
    """Write the expansion of bytes in sequence by eight, to lanes from an even one on; returns the rest."""
    eights = pairs // _AT_ONCE
    if eights:
        _keep_loop(w, eights, 8)
        with w.loop(variable, eights):
            w(f"utvm_expand_eight({source} + 8 * {variable}, (uint32_t *)(void *)({target} + 8 * {variable}));")
    return [
        (f"({source})[{2 * pair}]", f"({source})[{2 * pair + 1}]", _word(_at(target, 2 * pair)))
        for pair in range(eights * _AT_ONCE, pairs)
    ]


def _write_pairs(w: CWriter, pairs: Sequence[_Pair]) -> None:
    """Write the expansion of a few pairs."""
    for begin in range(0, len(pairs), _AT_ONCE):
        some = pairs[begin : begin + _AT_ONCE]
        with w.block(""):
            for i, (low, high, _) in enumerate(some):
                w(f"const uint32_t low{i} = (uint32_t){low}, high{i} = (uint32_t){high};")
            for i, (_, _, word) in enumerate(some):
                w(f"{word} = utvm_pack_two(low{i}, high{i});")


def _keep_loop(w: CWriter, turns: int, lanes: int) -> None:
    """Keep the compiler from unrolling the loop that follows if a turn is long."""
    if turns > 1 and lanes >= 2 * _AT_ONCE:
        w("#pragma GCC unroll 1")


def _at(pointer: str, count: int) -> str:
    return f"{pointer} + {count}" if count else pointer


def _word(lane: str) -> str:
    return f"*(uint32_t *)(void *)({lane})"
