"""Softmax in hardware loops: the most of a row, the sum of its exponentials, and their shares of the sum.

A share is rounded twice, to 31 bits and by `right` more. Both are floors of sums, so they are one: the high word of the
product, with what carries from its low word, rounded by `right` - 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import product

import numpy as np

from utvm.codegen import CArray, CSupport
from utvm.cores import Core
from utvm.graph import Operator, Softmax
from utvm.graph.arithmetic import SOFTMAX_SUM_INTEGER_BITS
from utvm.kernels.base import Config, Kernel, Space
from utvm.kernels.portable.softmax import PortableSoftmax, softmax_by_calls
from utvm.kernels.xpulp.code import (
    add_and_round,
    add_and_round_unsigned,
    higher_bytes,
    higher_of,
    load_byte_step,
    load_indexed,
    load_step,
    no_xpulp,
    pack_bytes,
    repeat,
    saturate,
    store_byte_step,
    store_step,
    xpulp_function,
)

_SPACE: Space = {"most": ("words", "bytes"), "sum": (1, 2, 4, 8), "share": (1, 2, 4, 8)}
_VALUES = ("t1", "t2", "t3", "t4", "t5", "t6", "s0", "s1")
_HALF_OF_PRODUCT = 1 << 30
_ROW_CYCLES = 200.0
"""Of a row beside its elements: the reciprocal of its sum, and calls."""
_WORD = 4


class XpulpSoftmax(PortableSoftmax):
    """Softmax over the last dimension.

    Knobs: `most` (how the most of a row is looked for), `sum` and `share` (elements of a turn of these loops).
    """

    name = "xpulp"

    def lacks(self, core: Core) -> str | None:
        """Return that the core has no Xpulp extension; None where it has it."""
        return no_xpulp(core)

    def space(self, op: Operator, core: Core) -> Space:
        """Return the knobs."""
        del op, core
        return _SPACE

    def default(self, op: Operator, core: Core) -> Config:
        """Return the config of the fewest cycles."""
        every = [dict(zip(_SPACE, values, strict=True)) for values in product(*_SPACE.values())]
        return min(every, key=lambda config: self.estimate(op, core, config))

    def estimate(self, op: Operator, core: Core, config: Config) -> float:
        """Return the cycles of all rows."""
        del core
        assert isinstance(op, Softmax)
        depth = op.x.shape[-1]
        by_words = config["most"] == "words"
        row = _ROW_CYCLES + _turns_cycles(depth, _WORD if by_words else 1, 2.0 if by_words else 3.0, 5.0)
        for knob, body, at_most in (("sum", 5.0, 0.0), ("share", 14.0, 0.75)):
            n = int(config[knob])
            store = at_most if n >= _WORD else 1.0 if knob == "share" else 0.0
            waits = {1: 2.0, 2: 0.5}.get(n, 0.0)
            row += _turns_cycles(depth, n, n * (body + store + waits), body + 7.0)
        return op.x.elements / depth * row

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a softmax."""
        assert isinstance(op, Softmax)
        config = config or self.default(op, core)
        most, total, shares = (
            _most(config["most"] == "words"),
            _total(int(config["sum"])),
            _shares(int(config["share"])),
        )
        made = softmax_by_calls(super().build(op, core, config), op, self.name, most, total, shares)
        comment = f"{made.function.comment}, {', '.join(f'{k} {v}' for k, v in config.items())}"
        table = made.constants["exponentials"]
        # Backwards: so a place grows with the input.
        constants = {"exponentials": CArray(c_type=table.c_type, values=np.flip(table.values))}
        return replace(made, function=replace(made.function, comment=comment), constants=constants)


def _turns_cycles(count: int, at_once: int, turn: float, single: float) -> float:
    """Return the cycles of a hardware loop and of what is left."""
    whole, rest = divmod(count, at_once)
    return whole * turn + rest * single


def _loops(count: str, at_once: int, whole: Sequence[str], single: Sequence[str]) -> list[str]:
    """Return a hardware loop over so many elements at once, and one of branches over what is left; t0 counts."""
    shift = at_once.bit_length() - 1
    lines = [f"srli t0, {count}, {shift}", "beqz t0, 1f", *repeat("t0", whole), "1:"]
    if at_once == 1:
        return lines
    left = [f"andi t0, {count}, {at_once - 1}", "beqz t0, 3f", "2:", *single, "addi t0, t0, -1", "bnez t0, 2b", "3:"]
    return [*lines, *left]


@lru_cache(maxsize=2)
def _most(by_words: bool) -> CSupport:
    """Return the function that finds the most of a row; `by_words`: of four bytes at once."""
    single = [load_byte_step("t1", "a0", 1), "nop", higher_of("a2", "a2", "t1")]
    lines = ["li a2, -128"]
    if by_words:
        lines += ["li a3, 0x80808080", "srli t0, a1, 2", "beqz t0, 1f"]
        lines += [*repeat("t0", [load_step("t1", "a0", _WORD), "nop", higher_bytes("a3", "a3", "t1")]), "1:"]
        for shift in (24, 16, 8, 0):
            lines += [f"slli t1, a3, {shift}", "srai t1, t1, 24", higher_of("a2", "a2", "t1")]
        lines += ["andi a1, a1, 3"]
    lines += ["beqz a1, 2f", *repeat("a1", single), "2:", "mv a0, a2"]
    name = f"utvm_xpulp_most_of{'_words' if by_words else ''}"
    prototype = f"int32_t {name}(const int8_t *x, int32_t count)"
    return xpulp_function(name, prototype, lines, "the most of count bytes, at least one")


def _placed(most: str) -> list[str]:
    """Return the lines that move the table at a1 to where an input of 0 has its exponential."""
    return ["li t0, 255", f"sub t0, t0, {most}", "slli t0, t0, 2", "add a1, a1, t0"]


def _exponentials(values: Sequence[str], x: str) -> list[str]:
    """Return the lines that load the exponentials of bytes at `x` from the table at a1."""
    return [
        *(load_byte_step(value, x, 1) for value in values),
        *(f"slli {value}, {value}, 2" for value in values),
        *(load_indexed(value, "a1", value) for value in values),
    ]


@lru_cache(maxsize=4)
def _total(at_once: int) -> CSupport:
    """Return the function that sums the exponentials of a row, so many in a turn."""

    def added(count: int) -> list[str]:
        values = _VALUES[:count]
        lines = _exponentials(values, "a0")
        lines += [add_and_round_unsigned(value, "x0", "a5") for value in values]
        return [*lines, *(f"add a4, a4, {value}" for value in values)]

    lines = [*_placed("a2"), "li a4, 0", f"li a5, {SOFTMAX_SUM_INTEGER_BITS}"]
    lines += [*_loops("a3", at_once, added(at_once), added(1)), "mv a0, a4"]
    name = f"utvm_xpulp_exponentials_{at_once}"
    operands = "const int8_t *x, const int32_t *exponentials, int32_t most, int32_t count"
    comment = "the sum of the exponentials at most - x, without their lowest bits"
    return xpulp_function(name, f"int32_t {name}({operands})", lines, comment)


@lru_cache(maxsize=4)
def _shares(at_once: int) -> CSupport:
    """Return the function that makes the shares of a row, so many in a turn."""

    def made(count: int) -> list[str]:
        values = _VALUES[:count]
        lines = _exponentials(values, "a0")
        for value in values:
            lines += [f"mul a2, {value}, a5", f"mulh {value}, {value}, a5", "add a3, a2, a7", "sltu a3, a3, a2"]
            lines += [add_and_round(value, "a3", "a6"), f"addi {value}, {value}, -128", saturate(value, value)]
        if count < _WORD:
            return [*lines, *(store_byte_step(value, "s2", 1) for value in values)]
        for first in range(0, count, _WORD):
            word = values[first : first + _WORD]
            lines += [*pack_bytes(word[0], word), store_step(word[0], "s2", _WORD)]
        return lines

    lines = ["mv s2, a1", "mv a1, a2", *_placed("a3"), f"li a7, {_HALF_OF_PRODUCT}", "addi a6, a6, -1"]
    lines += _loops("a4", at_once, made(at_once), made(1))
    name = f"utvm_xpulp_shares_{at_once}"
    operands = "const int8_t *x, int8_t *y, const int32_t *exponentials, int32_t most, int32_t count"
    prototype = f"void {name}({operands},\n    int32_t scale, int32_t right)"
    comment = "the exponentials at most - x times scale, shifted to the right, less 128"
    return xpulp_function(name, prototype, lines, comment)
