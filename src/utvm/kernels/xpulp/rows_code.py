"""Sums and products of rows of elements, along which either operand may stay where it is."""

from __future__ import annotations

from functools import lru_cache

from utvm.codegen import CSupport
from utvm.kernels.xpulp.code import (
    add_and_shift,
    add_product,
    add_product_of_high_halves,
    higher_of,
    load_byte_step,
    lower_of,
    multiply_low_halves,
    pack_bytes,
    repeat,
    saturate,
    store_step,
    xpulp_function,
)

_AT_ONCE = 4
_FIRSTS, _SECONDS = ("s1", "s2", "s3", "s4"), ("s5", "s6", "s7", "s8")
_CONSTANTS = ("t0", "t1", "t2", "t3", "t4", "t5", "s10", "s11", "ra")
_TOTAL, _KNOWN = "s9", "s0"
"""A product, and what a row knows of the operand that stays."""
SUM_WORDS = 6
"""Factors of both operands, offset, shift, clamp."""
PRODUCT_WORDS = 9
"""What both operands are added to, the start of a product, its factor by halves, offset, shift, clamp.

With parts, two more: the scaled product below 0, and what is added to those above it.
"""


@lru_cache(maxsize=16)
def rows_function(*, product: bool, moves: tuple[bool, bool], saturates: bool, parts: bool = False) -> CSupport:
    """Return `void name(a, b, numbers, shape, y)`.

    `numbers` are the words of a sum or of a product. `shape`: rows, elements of one, and the bytes that each operand
    moves behind one.

    Args:
        product: whether operands are multiplied, else added.
        moves: whether each operand moves along a row.
        saturates: whether the clamp is that of int8.
        parts: whether products that are not negative have another offset.
    """
    maker = _Product(moves, parts) if product else _Sum(moves)
    low, high = _CONSTANTS[maker.words - 2 : maker.words]

    def made(count: int) -> list[str]:
        lines = [
            load_byte_step(to, at, 1)
            for names, at, on in zip((_FIRSTS, _SECONDS), ("a0", "a1"), moves, strict=True)
            if on
            for to in names[:count]
        ]
        results = _FIRSTS if moves[0] else _SECONDS
        for place in range(count):
            lines += maker.element(place, results[place])
        if saturates:
            return lines + [saturate(to, to) for to in results[:count]]
        for to in results[:count]:
            lines += [higher_of(to, to, low), lower_of(to, to, high)]
        return lines

    results = _FIRSTS if moves[0] else _SECONDS
    first = results[0]
    lines = [f"lw {to}, {4 * place}(a3)" for place, to in enumerate(("a5", "a6", "a7", "t6"))]
    constants = (*_CONSTANTS[: maker.words], *maker.further)
    lines += [f"lw {to}, {4 * place}(a2)" for place, to in enumerate(constants)]
    lines += ["1:", *maker.row(), f"srli a2, a6, {_AT_ONCE.bit_length() - 1}", "beqz a2, 2f"]
    lines += repeat("a2", [*made(_AT_ONCE), *pack_bytes(first, results), store_step(first, "a4", 4)])
    lines += ["2:", f"andi a2, a6, {_AT_ONCE - 1}", "beqz a2, 4f", "3:", *made(1), f"sb {first}, 0(a4)"]
    lines += ["addi a4, a4, 1", "addi a2, a2, -1", "bnez a2, 3b", "4:", "add a0, a0, a7", "add a1, a1, t6"]
    lines += ["addi a5, a5, -1", "bnez a5, 1b"]
    way = "" if all(moves) else "_a" if moves[1] else "_b"
    name = f"utvm_xpulp_{'products' if product else 'sums'}{'_parts' * parts}{way}{'' if saturates else '_c'}"
    operands = "const int8_t *a, const int8_t *b, const int32_t *numbers, const int32_t *shape, int8_t *y"
    comment = f"{'products' if product else 'sums'} of rows; shape: rows, elements of one, what a and b move behind it"
    return xpulp_function(name, f"void {name}({operands})", lines, comment)


class _Sum:
    """Elements `(a * left + b * right + offset) >> shift`."""

    words = SUM_WORDS
    further: tuple[str, ...] = ()

    def __init__(self, moves: tuple[bool, bool]) -> None:
        self.moves = moves

    def row(self) -> list[str]:
        """Return the lines that make the share of an operand that stays."""
        left, right, offset = _CONSTANTS[:3]
        if all(self.moves):
            return []
        at, factor = ("a1", right) if self.moves[0] else ("a0", left)
        return [f"lb {_KNOWN}, 0({at})", f"mul {_KNOWN}, {_KNOWN}, {factor}", f"add {_KNOWN}, {_KNOWN}, {offset}"]

    def element(self, place: int, to: str) -> list[str]:
        """Return the lines of one element, whose operands are in registers."""
        left, right, offset, shift = _CONSTANTS[:4]
        factor = left if self.moves[0] else right
        lines = [f"mul {to}, {to}, {factor}"]
        if all(self.moves):
            return [*lines, add_product(to, _SECONDS[place], right), add_and_shift(to, offset, shift)]
        return [*lines, add_and_shift(to, _KNOWN, shift)]


class _Product:
    """Elements `(floor((product - lowest) * M / 2^16) + offset) >> shift`; the start of a product is -lowest."""

    words = PRODUCT_WORDS

    def __init__(self, moves: tuple[bool, bool], parts: bool) -> None:
        self.moves, self.parts = moves, parts
        # Registers of elements of an operand that stays are free.
        spare = _SECONDS if moves[0] else _FIRSTS
        self.bound, self.more = "a3", _KNOWN if all(moves) else spare[3]
        self.sign = spare[2]
        self.further = (self.bound, self.more) if parts else ()

    def row(self) -> list[str]:
        """Return the lines that take an operand that stays from its zero point, and its share of the start."""
        more_a, more_b, start = _CONSTANTS[:3]
        if all(self.moves):
            return []
        other, at, more, others = (
            (_SECONDS[0], "a1", more_b, more_a) if self.moves[0] else (_FIRSTS[0], "a0", more_a, more_b)
        )
        load = [f"lb {other}, 0({at})", f"mv {_KNOWN}, {start}", f"add {other}, {other}, {more}"]
        return [*load, add_product(_KNOWN, other, others)]

    def element(self, place: int, to: str) -> list[str]:
        """Return the lines of one element, whose operands are in registers."""
        more_a, more_b, start, high, low, offset, shift = _CONSTANTS[:7]
        if all(self.moves):
            other = _SECONDS[place]
            lines = [f"add {to}, {to}, {more_a}", f"add {other}, {other}, {more_b}", f"mv {_TOTAL}, {start}"]
        else:
            other = _SECONDS[0] if self.moves[0] else _FIRSTS[0]
            lines = [f"mv {_TOTAL}, {_KNOWN}"]
        sign = _SECONDS[place] if all(self.moves) else self.sign
        above = [f"sltu {sign}, {self.bound}, {to}", add_product(to, sign, self.more)] if self.parts else []
        return [
            *lines,
            add_product(_TOTAL, to, other),
            multiply_low_halves(to, _TOTAL, low, 16),
            add_product(to, _TOTAL, high),
            add_product_of_high_halves(to, _TOTAL, low),
            *above,
            add_and_shift(to, offset, shift),
        ]
