"""The instructions of a finish, for sums in registers."""

from __future__ import annotations

from collections.abc import Sequence

from utvm.kernels.xpulp.code import (
    add_and_round,
    add_and_shift,
    add_product,
    add_product_of_high_halves,
    higher_of,
    limit,
    lower_of,
    multiply_low_halves,
    pack_bytes,
    saturate,
)
from utvm.kernels.xpulp.finish import FinishForm

SPARE = 9
"""Registers that a finish needs, next to the sums and two addresses."""
COMMON_WORDS = 4
"""Words of `shape` that a finish reads: the two that all channels share, and the clamp."""
_HALF_OF_DOUBLING = 1 << 30
_WORD = 4


def finished(
    form: FinishForm,
    sums: Sequence[Sequence[str]],
    *,
    saturates: bool,
    at: str,
    skip: int,
    shape: str,
    first: int,
    spare: Sequence[str],
) -> list[str]:
    """Return the lines from sums to outputs, in the same registers.

    Args:
        form: the instructions.
        sums: registers [pixel][channel].
        saturates: whether the clamp is that of int8.
        at: the register with the address of the channels' words, `skip` bytes before them; it moves behind them.
        skip: these bytes.
        shape: the register with the address of the layer's words.
        first: bytes from there to `COMMON_WORDS`.
        spare: registers to work with.
    """
    words, rest = spare[: form.words], list(spare[form.words :])
    shared = words[-1] if form.own else rest.pop()
    value, other, most = rest[:3]
    lines = [] if form.own else [f"lw {shared}, {first}({shape})"]
    if form.limits:
        lines.append(f"lw {most}, {first + 4}({shape})")
    if form.exact:
        lines.append(f"lui {most}, {_HALF_OF_DOUBLING >> 12}")
    for channel in range(len(sums[0])):
        lines += [f"lw {word}, {skip + _WORD * place}({at})" for place, word in enumerate(words)]
        skip += _WORD * len(words)
        for pixel in sums:
            total = pixel[channel]
            if form.exact:
                lines += by_definition(total, words, value=value, other=other, zero=shared, half=most)
            else:
                lines += _by_halves(form, total, words, value=value, other=other, shift=shared, most=most)
            lines.append(saturate(total, value))
    lines.append(f"addi {at}, {at}, {skip}")
    if not saturates:
        lines += [f"lw {value}, {first + 8}({shape})", f"lw {other}, {first + 12}({shape})"]
        for total in (each for pixel in sums for each in pixel):
            lines += [higher_of(total, total, value), lower_of(total, total, other)]
    return lines


def _by_halves(
    form: FinishForm, total: str, words: Sequence[str], *, value: str, other: str, shift: str, most: str
) -> list[str]:
    high, low, offset = words[:3]
    lines = [limit(total, total, most)] if form.limits else []
    lines += [
        multiply_low_halves(value, total, low, 16),
        add_product(value, total, high),
        add_product_of_high_halves(value, total, low),
    ]
    if form.parts:
        bound, more = words[3:5]
        lines += [f"sltu {other}, {bound}, {value}", add_product(value, other, more)]
    return [*lines, add_and_shift(value, offset, shift)]


def by_definition(total: str, words: Sequence[str], *, value: str, other: str, zero: str, half: str) -> list[str]:
    """Return TFLite's double rounding, step by step (gemmlowp, fixedpoint.h); the result is in `value`.

    `words` hold a shift to the left, the multiplier, a shift to the right, and -1 where that is not 0.
    """
    left, multiplier, right, lowers = words
    return [
        f"sll {total}, {total}, {left}",
        f"mulh {value}, {total}, {multiplier}",
        f"mul {total}, {total}, {multiplier}",
        f"add {other}, {total}, {half}",
        f"sltu {total}, {other}, {total}",
        f"add {value}, {value}, {total}",
        f"slli {value}, {value}, 1",
        f"srli {other}, {other}, 31",
        f"or {value}, {value}, {other}",
        f"srai {other}, {value}, 31",
        f"and {other}, {other}, {lowers}",
        f"add {value}, {value}, {other}",
        add_and_round(value, "x0", right),
        f"add {value}, {value}, {zero}",
    ]


def stored(sums: Sequence[Sequence[str]], *, at: str, pitch: str) -> list[str]:
    """Return the lines that store outputs [pixel][channel] from address `at` on, `pitch` bytes from pixel to pixel."""
    lines: list[str] = []
    for number, pixel in enumerate(sums):
        if number:
            lines.append(f"add {at}, {at}, {pitch}")
        for first in range(0, len(pixel) // _WORD * _WORD, _WORD):
            word = pixel[first : first + _WORD]
            lines += [*pack_bytes(word[0], word), f"sw {word[0]}, {first}({at})"]
        for channel in range(len(pixel) // _WORD * _WORD, len(pixel)):
            lines.append(f"sb {pixel[channel]}, {channel}({at})")
    return lines


def cycles(lines: Sequence[str]) -> int:
    """Return the cycles of lines without branches: one each, five of the upper half of a product."""
    return sum(_UPPER_HALF if line.startswith("mulh ") else 1 for line in lines)


_UPPER_HALF = 5
