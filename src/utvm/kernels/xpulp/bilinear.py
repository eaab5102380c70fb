"""Bilinear resizing in hardware loops: two rows are blended into a line, and the columns of the line into pixels.

Sums are those of four products of the definition, since the weights of a pixel are products of a row's and a column's.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from utvm.codegen import CSupport
from utvm.cores import Core
from utvm.graph import Operator, ResizeBilinear
from utvm.graph.arithmetic import BILINEAR_FRACTION_BITS
from utvm.kernels.base import Config, Kernel
from utvm.kernels.resize_calls import bilinear_by_calls, element_columns
from utvm.kernels.xpulp.code import (
    XpulpFamily,
    add_and_round,
    add_product,
    load_byte_step,
    load_half_step,
    load_indexed,
    load_step,
    load_unsigned_half_step,
    pack_bytes,
    repeat,
    store_byte_step,
    store_step,
    xpulp_function,
)

_WORD = 4
_ONE = 1 << BILINEAR_FRACTION_BITS
_FEW = 4
"""Channels from which pixels are worth a turn each."""
_MOST_PLACED = 1 << 14
"""Words of a line whose places fit 16 bits."""
_ROW, _BLEND, _PIXEL, _CHANNEL, _ELEMENT = 80, 5.0, 22, 6.75, 11
"""Cycles of a row, and of what is in it: an element of the line, a pixel, a channel of it, an element by tables."""
_FIRSTS, _SECONDS = ("t1", "t2", "t3", "t4"), ("t5", "t6", "s0", "s1")


class XpulpResizeBilinear(XpulpFamily):
    """ResizeBilinear of any sizes and alignment."""

    name = "xpulp"
    kinds = (ResizeBilinear,)

    def about(self, op: Operator, core: Core) -> float | None:
        """Return about how many cycles all rows take."""
        del core
        assert isinstance(op, ResizeBilinear)
        batch, height, width, channels = op.y.shape
        row = _ROW + _BLEND * op.x.shape[2] * channels
        row += width * channels * _ELEMENT if _by_elements(op) else width * (_PIXEL + channels * _CHANNEL)
        return float(batch * height * row)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a bilinear resize."""
        del core
        assert isinstance(op, ResizeBilinear)
        if not _by_elements(op):
            return bilinear_by_calls(op, self.name, config, _blended(), _by_pixels(), elements=None)
        elements = (np.stack(element_columns(op), axis=1) & 0xFFFF).astype(np.uint16).view(np.int16)
        return bilinear_by_calls(op, self.name, config, _blended(), _by_places(), elements=elements)


def _by_elements(op: ResizeBilinear) -> bool:
    """Return whether each element has places of its own."""
    _, _, width, channels = op.x.shape
    return channels < _FEW and width * channels <= _MOST_PLACED


@lru_cache(maxsize=1)
def _blended() -> CSupport:
    """Return the function that blends two rows of bytes into a line of words."""

    def made(count: int) -> list[str]:
        pairs = list(zip(_FIRSTS[:count], _SECONDS[:count], strict=True))
        lines = [load_byte_step(first, "a1", 1) for first, _ in pairs]
        lines += [load_byte_step(second, "a2", 1) for _, second in pairs]
        lines += [f"mul {first}, {first}, a5" for first, _ in pairs]
        lines += [add_product(first, second, "a3") for first, second in pairs]
        return [*lines, *(store_step(first, "a0", _WORD) for first, _ in pairs)]

    lines = [f"li a5, {_ONE}", "sub a5, a5, a3", *_turns("a4", made(4), made(1))]
    name = "utvm_xpulp_blend"
    operands = "int32_t *line, const int8_t *first, const int8_t *second, int32_t fraction, int32_t count"
    return xpulp_function(name, f"void {name}({operands})", lines, "count elements of two rows, by a fraction")


def _turns(count: str, four: list[str], one: list[str]) -> list[str]:
    """Return the loops over fours and over what is left; `count` and a7 change."""
    lines = [f"srli a7, {count}, 2", "beqz a7, 1f", *repeat("a7", four), "1:", f"andi a7, {count}, 3", "beqz a7, 2f"]
    return [*lines, *repeat("a7", one), "2:"]


def _rounded(value: str, sign: str, shift: str) -> list[str]:
    """Return the division of a sum by the sum of its weights: to nearest, halves away from zero."""
    return [f"srai {sign}, {value}, 31", add_and_round(value, sign, shift)]


@lru_cache(maxsize=1)
def _by_pixels() -> CSupport:
    """Return the function that blends columns of a line, pixel by pixel."""
    near, far, left, right, shift, y = "s2", "s3", "s4", "s5", "s6", "a1"

    def made(count: int) -> list[str]:
        pairs = list(zip(_FIRSTS[:count], _SECONDS[:count], strict=True))
        lines = [load_step(first, near, _WORD) for first, _ in pairs]
        lines += [load_step(second, far, _WORD) for _, second in pairs]
        lines += [f"mul {first}, {first}, {left}" for first, _ in pairs]
        lines += [add_product(first, second, right) for first, second in pairs]
        for first, second in pairs:
            lines += _rounded(first, second, shift)
        if count == 1:
            return [*lines, store_byte_step(_FIRSTS[0], y, 1)]
        return [*lines, *pack_bytes(_FIRSTS[0], _FIRSTS), store_step(_FIRSTS[0], y, _WORD)]

    lines = [f"li {shift}, {2 * BILINEAR_FRACTION_BITS}", "0:"]
    lines += [load_step(register, "a2", _WORD) for register in (near, far, right)]
    lines += [f"li {left}, {_ONE}", f"add {near}, {near}, a0", f"add {far}, {far}, a0", f"sub {left}, {left}, {right}"]
    lines += [*_turns("a4", made(4), made(1)), "addi a3, a3, -1", "bnez a3, 0b"]
    name = "utvm_xpulp_columns"
    operands = "const int32_t *line, int8_t *y, const int32_t *columns, int32_t pixels, int32_t channels"
    comment = "pixels; columns: of each the bytes from the line to its first and second column, and its fraction"
    return xpulp_function(name, f"void {name}({operands})", lines, comment)


@lru_cache(maxsize=1)
def _by_places() -> CSupport:
    """Return the function that blends columns of a line, each element by places of its own."""
    first, second, fraction = "t1", "t2", "t3"
    lines = [f"li a4, {2 * BILINEAR_FRACTION_BITS}"]
    body = [load_unsigned_half_step(first, "a2", 2), load_unsigned_half_step(second, "a2", 2)]
    body += [load_half_step(fraction, "a2", 2), load_indexed(first, "a0", first), load_indexed(second, "a0", second)]
    body += [f"slli t4, {first}, {BILINEAR_FRACTION_BITS}", f"sub {second}, {second}, {first}"]
    body += [add_product("t4", second, fraction), *_rounded("t4", second, "a4"), store_byte_step("t4", "a1", 1)]
    lines += repeat("a3", body)
    name = "utvm_xpulp_placed_columns"
    operands = "const int32_t *line, int8_t *y, const int16_t *columns, int32_t count"
    comment = "count elements; columns: of each the bytes from the line to its first and second one, and its fraction"
    return xpulp_function(name, f"void {name}({operands})", lines, comment)
