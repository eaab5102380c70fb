"""Sums of operands of one shape, each a shifted sum of products, as one function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from utvm.codegen import CSupport
from utvm.kernels.xpulp.code import (
    add_and_shift,
    add_product,
    higher_of,
    load_byte_step,
    lower_of,
    pack_bytes,
    repeat,
    saturate,
    store_byte_step,
    store_step,
    xpulp_function,
)
from utvm.kernels.xpulp.finish_code import cycles

WORD = 4
_CONSTANTS = _LEFT, _RIGHT, _OFFSET, _SHIFT, _LOW, _HIGH = "t0", "t1", "t2", "t3", "t4", "t5"
_FIRSTS = ("a5", "a6", "a7", "t6", "s4", "s5", "s6", "s7")
_SECONDS = ("s0", "s1", "s2", "s3", "s8", "s9", "s10", "s11")
_FRAME, _SINGLE, _BRANCH = 40, 6, 4
"""Cycles of entry and return, of a turn over what is left beside its element, and of a turn's branch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SumSpec:
    """A function.

    Attributes:
        at_once: elements of a turn.
        by_stages: whether all elements go through a stage before the next, else one element after another.
        words: whether results are stored as words.
        hardware: whether a hardware loop repeats turns, else a branch.
        saturates: whether the clamp is that of int8.
    """

    at_once: int
    by_stages: bool
    words: bool
    hardware: bool
    saturates: bool

    @property
    def name(self) -> str:
        """Its symbol."""
        ways = (("e", not self.by_stages), ("b", not self.words), ("j", not self.hardware), ("c", not self.saturates))
        ends = "".join(letter for letter, is_so in ways if is_so)
        return f"utvm_xpulp_add_{self.at_once}{ends}"


@lru_cache(maxsize=32)
def sum_function(spec: SumSpec) -> CSupport:
    """Return `void name(a, b, plane, y, count)`."""
    shift = spec.at_once.bit_length() - 1
    lines = [f"lw {to}, {WORD * place}(a2)" for place, to in enumerate(_CONSTANTS)]
    lines += [f"srli a2, a4, {shift}", "beqz a2, 1f"]
    turn = _turn(spec, spec.at_once)
    lines += repeat("a2", turn) if spec.hardware else ["0:", *turn, "addi a2, a2, -1", "bnez a2, 0b"]
    lines.append("1:")
    if spec.at_once > 1:
        single = _turn(spec, 1)
        lines += [
            f"andi a4, a4, {spec.at_once - 1}",
            "beqz a4, 3f",
            "2:",
            *single,
            "addi a4, a4, -1",
            "bnez a4, 2b",
            "3:",
        ]
    operands = "const int8_t *a, const int8_t *b, const int32_t *plane, int8_t *y, int32_t count"
    comment = "the clamp of (a * plane[0] + b * plane[1] + plane[2]) >> plane[3], count times"
    return xpulp_function(spec.name, f"void {spec.name}({operands})", lines, comment)


def sum_cycles(spec: SumSpec, count: int) -> float:
    """Return the cycles of a call for so many elements."""
    whole, left = divmod(count, spec.at_once)
    turn = cycles(_turn(spec, spec.at_once)) + (0 if spec.hardware else _BRANCH)
    return _FRAME + whole * turn + left * (cycles(_turn(spec, 1)) + _SINGLE)


def _turn(spec: SumSpec, count: int) -> list[str]:
    """Return the lines of so many elements."""
    pairs = list(zip(_FIRSTS[:count], _SECONDS[:count], strict=True))
    groups = [pairs] if spec.by_stages else [[pair] for pair in pairs]
    lines: list[str] = []
    words = spec.words and count > 1
    for group in groups:
        lines += _made(spec, group)
        lines += [] if words else [store_byte_step(first, "a3", 1) for first, _ in group]
    if words:
        for start in range(0, count, WORD):
            word = _FIRSTS[start : start + WORD]
            lines += [*pack_bytes(word[0], word), store_step(word[0], "a3", WORD)]
    return lines


def _made(spec: SumSpec, pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Return the lines from bytes to results, in the registers of the first operands."""
    lines = [load_byte_step(first, "a0", 1) for first, _ in pairs]
    lines += [load_byte_step(second, "a1", 1) for _, second in pairs]
    lines += [f"mul {first}, {first}, {_LEFT}" for first, _ in pairs]
    lines += [add_product(first, second, _RIGHT) for first, second in pairs]
    lines += [add_and_shift(first, _OFFSET, _SHIFT) for first, _ in pairs]
    if spec.saturates:
        return lines + [saturate(first, first) for first, _ in pairs]
    for first, _ in pairs:
        lines += [higher_of(first, first, _LOW), lower_of(first, first, _HIGH)]
    return lines
