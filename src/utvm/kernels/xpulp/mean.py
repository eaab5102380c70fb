"""Mean by dot products with ones: of four taps that follow one another, or of two taps of four lanes.

The requantisation of a sum is a product and a shift where that agrees with the definition for all sums, else the
definition's steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from utvm.codegen import CSupport, CWriter
from utvm.cores import Core
from utvm.graph import Mean, Operator
from utvm.graph.arithmetic import mean_parameters
from utvm.kernels.base import Config, Kernel
from utvm.kernels.mean_nest import MeanNest
from utvm.kernels.word_calls import kernel_of_words
from utvm.kernels.workload_keys import dims
from utvm.kernels.xpulp.code import (
    XpulpFamily,
    add_and_shift,
    add_dot,
    load_by,
    load_byte_step,
    load_step,
    pack_bytes,
    pack_high,
    pack_low,
    repeat,
    saturate,
    store_step,
    xpulp_function,
)
from utvm.kernels.xpulp.finish_code import by_definition
from utvm.numerics import multiply_by_quantized_multiplier

_WORD = 4
_MOST_TAPS = 1 << 14
"""Taps whose sums are all looked at."""
_NEIGHBOURS = 4
_SHIFTS = 4
_HALF_OF_DOUBLING = 1 << 30
_PLACES = ("a3", "a4", "a5", "a6", "a7", "s0")
_QUOTIENT, _DEFINITION = ("s1", "s2", "s3"), ("s1", "s2", "s3", "ra", "t6")
"""Where constants of a finish are; in t6 no longer than a sum is made."""
_SUMS = ("t0", "t1", "t2", "t3")


class XpulpMean(XpulpFamily):
    """Mean over one or two runs of dimensions."""

    name = "xpulp"
    kinds = (Mean,)

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return that averaged dimensions lie too far apart, or that it keeps too few neighbours."""
        if not isinstance(op, Mean):
            return super().refusal(op, core)
        if (found := self.lacks(core)) is not None:
            return found
        if MeanNest.of(op) is None:
            return "more than two runs of dimensions are averaged"
        return f"it keeps fewer than {_WORD} neighbours" if _keeps_few(op) else None

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a mean."""
        del core
        assert isinstance(op, Mean)
        nest, quotient, factor = MeanNest.of(op), quotient_of(op), mean_parameters(op)
        assert nest is not None
        along = nest.tap_step == 1
        function = (_along if along else _beside)(quotient is None)
        place = (nest.lanes, nest.lane_step if along else nest.tap_step, nest.rows, nest.row_step, nest.taps)
        left, right = max(factor.shift, 0), max(-factor.shift, 0)
        steps = quotient or (left, factor.multiplier, right, -(right > 0), op.y.zero_point)
        words = [*place, -factor.count * op.x.zero_point, *steps]
        w = CWriter()
        with w.loop("i", nest.outer):
            w(f"{function.name}(x + i * {nest.outer_step}, shape, y + i * {nest.lanes});")
        return kernel_of_words(
            op,
            config,
            family=self.name,
            stem=f"mean_{dims(op.x.shape)}",
            body=w.text,
            function=function,
            name="shape",
            words=words,
        )


def _keeps_few(op: Mean) -> bool:
    """Return whether single lanes with taps apart are left, which C averages as fast."""
    nest = MeanNest.of(op)
    return nest is not None and nest.tap_step != 1 and nest.lanes < _WORD


@lru_cache(maxsize=8)
def quotient_of(op: Mean) -> tuple[int, int, int] | None:
    """Return (M, offset, shift) with `clip((v * M + offset) >> shift)` the mean; None where none is exact.

    v is a sum without zero points, less one where it is negative: halves go away from zero.
    """
    factor = mean_parameters(op)
    if factor.count > _MOST_TAPS:
        return None
    sums = np.arange(-128 * factor.count, 127 * factor.count + 1, dtype=np.int64) - factor.count * op.x.zero_point
    y = multiply_by_quantized_multiplier(sums, factor.multiplier, factor.shift) + op.y.zero_point
    y = np.clip(y, -128, 127)
    v = sums + (sums >> 63)
    real = factor.multiplier * 2.0 ** (factor.shift - 31)
    most = float(np.abs(v).max()) * real + 256
    highest = min(30, int(np.floor(30 - np.log2(most))))
    for shift in range(highest, max(highest - _SHIFTS, 0), -1):
        nominal = round(real * 2**shift)
        for multiplier in sorted(
            range(nominal - _NEIGHBOURS, nominal + _NEIGHBOURS + 1), key=lambda m: abs(m - nominal)
        ):
            total = v * multiplier
            least = int(((y << shift) - total)[y > -128].max(initial=-(1 << 31)))
            greatest = int((((y + 1) << shift) - 1 - total)[y < 127].min(initial=(1 << 31) - 1))
            offset = (least + greatest) >> 1
            ends = int(total.min()) + min(offset, 0), int(total.max()) + max(offset, 0)
            if least <= greatest and ends[0] >= -(1 << 31) and ends[1] < 1 << 31:
                return multiplier, offset, shift
    return None


def _finish(totals: Sequence[str], spare: Sequence[str], *, exact: bool) -> list[str]:
    """Return the lines from sums to means; two registers are spare. `exact`: by the steps of the definition."""
    value, other = spare
    lines: list[str] = []
    if not exact:
        for total in totals:
            lines += [f"srai {value}, {total}, 31", f"add {total}, {total}, {value}", f"mul {total}, {total}, s1"]
            lines += [add_and_shift(total, "s2", "s3"), saturate(total, total)]
        return lines
    zero, half = _DEFINITION[4], "t5"
    lines += [f"lw {zero}, {_WORD * (len(_PLACES) + 4)}(a1)", f"lui {half}, {_HALF_OF_DOUBLING >> 12}"]
    for total in totals:
        lines += by_definition(total, _DEFINITION[:4], value=value, other=other, zero=zero, half=half)
        lines.append(saturate(total, value))
    return lines


def _rows(inside: Sequence[str], label: int) -> list[str]:
    """Return the loop over rows of taps from a0 on: a5 of them, a6 apart; t4 is where a row starts."""
    lines = ["mv t5, a0", "mv t6, a5", f"{label}:", "mv t4, t5", *inside]
    return [*lines, "add t5, t5, a6", "addi t6, t6, -1", f"bnez t6, {label}b"]


def _function(name: str, lines: Sequence[str], comment: str, *, exact: bool) -> CSupport:
    registers = (*_PLACES, *(_DEFINITION[:4] if exact else _QUOTIENT))
    words = [f"lw {register}, {_WORD * place}(a1)" for place, register in enumerate(registers)]
    name += "_exact" * exact
    prototype = f"void {name}(const int8_t *x, const int32_t *shape, int8_t *y)"
    return xpulp_function(name, prototype, [*words, *lines], comment)


@lru_cache(maxsize=2)
def _along(exact: bool) -> CSupport:
    """Return the function of taps that follow one another; the second word of `shape` is bytes from lane to lane."""
    ones, word, other = "s4", "s5", "s6"
    inside = ["srli s7, a7, 3", "beqz s7, 3f"]
    pair = [load_step(word, "t4", _WORD), load_step(other, "t4", _WORD)]
    inside += repeat("s7", [*pair, *(add_dot("t0", each, ones) for each in (word, other))])
    inside += ["3:", "andi s7, a7, 7", "beqz s7, 4f"]
    inside += [*repeat("s7", [load_byte_step(word, "t4", 1), "nop", f"add t0, t0, {word}"]), "4:"]
    lines = [
        f"li {ones}, 0x01010101",
        "1:",
        "mv t0, s0",
        *_rows(inside, 2),
        *_finish(["t0"], (word, other), exact=exact),
    ]
    lines += ["sb t0, 0(a2)", "addi a2, a2, 1", "add a0, a0, a4", "addi a3, a3, -1", "bnez a3, 1b"]
    comment = "means of rows of neighbours; shape: lanes, their distance, rows, their distance, taps, start, M, ..."
    return _function("utvm_xpulp_mean_along", lines, comment, exact=exact)


@lru_cache(maxsize=2)
def _beside(exact: bool) -> CSupport:
    """Return the function of lanes that follow one another; the second word of `shape` is bytes from tap to tap."""
    first, second, low, high = "s6", "s7", "s8", "s9"
    even, odd, blocks, pairs = "s4", "s5", "s10", "s11"
    dots = [
        add_dot(total, value, ones)
        for total, (value, ones) in zip(
            _SUMS, ((low, even), (low, odd), (high, even), (high, odd)), strict=True
        )
    ]  # fmt: skip
    loads = [load_by(_WORD, each, "t4", "a4") for each in (first, second)]
    packs = [pack_low(low, second, first), pack_high(high, second, first)]
    inside = [f"beqz {pairs}, 3f", *repeat(pairs, [*loads, *packs, *dots]), "3:", f"andi {first}, a7, 1"]
    inside += [f"beqz {first}, 4f", f"lw {first}, 0(t4)"]
    inside += [pack_low(low, "x0", first), pack_high(high, "x0", first), *dots, "4:"]
    lines = [f"li {even}, 0x00010001", f"slli {odd}, {even}, 8", f"srli {pairs}, a7, 1"]
    lines += [f"srli {blocks}, a3, 2", f"beqz {blocks}, 5f", "1:", *(f"mv {total}, s0" for total in _SUMS)]
    lines += [*_rows(inside, 2), *_finish(_SUMS, (first, second), exact=exact)]
    lines += [*pack_bytes(_SUMS[0], _SUMS), store_step(_SUMS[0], "a2", _WORD), f"addi a0, a0, {_WORD}"]
    lines += [f"addi {blocks}, {blocks}, -1", f"bnez {blocks}, 1b", "5:", f"andi {blocks}, a3, 3"]
    single = repeat("a7", [load_by(1, first, "t4", "a4"), "nop", f"add t0, t0, {first}"])
    lines += [
        f"beqz {blocks}, 8f",
        "6:",
        "mv t0, s0",
        *_rows(single, 7),
        *_finish(["t0"], (first, second), exact=exact),
    ]
    lines += ["sb t0, 0(a2)", "addi a2, a2, 1", "addi a0, a0, 1", f"addi {blocks}, {blocks}, -1", f"bnez {blocks}, 6b"]
    lines += ["8:"]
    comment = "means of lanes that follow one another; shape: lanes, taps' distance, rows, their distance, taps, ..."
    return _function("utvm_xpulp_mean_beside", lines, comment, exact=exact)
