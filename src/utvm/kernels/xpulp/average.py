"""Average pooling, four channels at once: a word of ones adds one of its bytes.

The division by the count of a window is a product and a shift, which is compared with the definition for all sums.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod

import numpy as np

from utvm.codegen import CArray, CFunction, CParameter, CSupport, CWriter
from utvm.cores import Core
from utvm.graph import AveragePool2D, AverageRounding, Operator
from utvm.kernels.base import Config, Kernel
from utvm.kernels.overlap import nest_ahead
from utvm.kernels.pool_calls import write_window_calls
from utvm.kernels.portable.window import Taps
from utvm.kernels.workload_keys import dims, workload
from utvm.kernels.xpulp.code import (
    XpulpFamily,
    add_and_shift,
    add_dot,
    higher_of,
    load_byte_step_by,
    load_step_by,
    lower_of,
    pack_bytes,
    repeat,
    store_step,
    xpulp_function,
)

_MOST_SHIFT = 23
"""Products of sums then fit 32 bits with their sign."""
_NEIGHBOURS = 4
_MOST_TAPS = 4096
_WORDS = 9
"""Words of a shape."""


class XpulpAveragePool2D(XpulpFamily):
    """AveragePool2D of any clamp: a division for each count of taps inside of the input."""

    name = "xpulp"
    kinds = (AveragePool2D,)

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return that no product divides by one of the counts exactly."""
        found = super().refusal(op, core)
        if found is not None or not isinstance(op, AveragePool2D):
            return found
        counts = {rows * columns for rows in _counts(op, 0) for columns in _counts(op, 1)}
        exact = all(division(count, op.rounding) is not None for count in counts)
        return None if exact else "no product and shift divides exactly"

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of an average pooling."""
        del core
        assert isinstance(op, AveragePool2D)
        _, _, width, channels = op.x.shape
        function = average_function(op.rounding is AverageRounding.HALF_AWAY)
        rows, columns = _counts(op, 0), _counts(op, 1)
        w = CWriter()

        def call(pixel: str, to: str, down: Taps, along: Taps) -> str:
            steps = ((down, rows, len(columns) * _WORDS), (along, columns, _WORDS))
            places = [f" + ({t.count} - {c[0]}) * {step}" for t, c, step in steps if not t.all_inside]
            return f"{function.name}({pixel}, {to}, shape{''.join(places)});"

        write_window_calls(w, op, call)
        words: list[int] = []
        for size in ((r, c) for r in rows for c in columns):
            # Counts between those that windows have are never read.
            words += [channels, width * channels, *size, *(division(prod(size), op.rounding) or (0, 0, 0)), *op.clamp]
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"average_pool_{dims(op.x.shape[1:])}_xpulp",
                comment=f"{workload(op)}\nfamily {self.name}",
                parameters=(
                    CParameter(name="x", c_type="int8_t", role="input"),
                    CParameter(name="shape", c_type="int32_t", role="constant"),
                    CParameter(name="y", c_type="int8_t", role="output"),
                ),
                body=w.text,
                support=(function,),
            ),
            constants={"shape": CArray(c_type="int32_t", values=np.array(words, np.int32))},
            ahead=nest_ahead(op),
        )


def _counts(op: AveragePool2D, axis: int) -> range:
    """Return from the least to the most taps of a window that lie inside of the input along an axis."""
    before, size = (op.padding.top, op.padding.left)[axis], op.x.shape[1 + axis]
    starts = [place * op.stride[axis] - before for place in range(op.y.shape[1 + axis])]
    counts = [min(start + op.filter[axis], size) - max(start, 0) for start in starts]
    return range(min(counts), max(counts) + 1)


@lru_cache(maxsize=32)
def division(count: int, rounding: AverageRounding) -> tuple[int, int, int] | None:
    """Return (M, offset, shift) with `(v * M + offset) >> shift` the rounded mean of sums; None where none is exact.

    Under HALF_AWAY v is one less than a negative sum, else the sum.
    """
    if rounding not in (AverageRounding.HALF_AWAY, AverageRounding.HALF_UP) or count > _MOST_TAPS:
        return None
    sums = np.arange(-128 * count, 127 * count + 1, dtype=np.int64)
    if rounding is AverageRounding.HALF_UP:
        mean, v = (sums + count // 2) // count, sums
    else:
        mean, v = np.sign(sums) * ((np.abs(sums) + count // 2) // count), sums + (sums >> 63)
    for shift in range(_MOST_SHIFT, _MOST_SHIFT - 3, -1):
        for step in sorted(range(-_NEIGHBOURS, _NEIGHBOURS + 1), key=abs):
            factor = round(2**shift / count) + step
            total = v * factor
            least, most = int(((mean << shift) - total).max()), int((((mean + 1) << shift) - 1 - total).min())
            if least <= most:
                return factor, (least + most) >> 1, shift
    return None


@lru_cache(maxsize=2)
def average_function(away: bool) -> CSupport:
    """Return `void name(x, y, shape)`; shape: channels, row, rows, columns, M, offset, shift, low, high.

    `away`: whether halves go away from zero.
    """
    name = f"utvm_xpulp_mean{'_away' if away else ''}"
    channels, row, rows, columns, factor, offset, shift, low, high = (
        "a3", "a4", "a5", "a6", "a7", "s0", "s1", "s2", "s3"
    )  # fmt: skip
    sums, ones = ("t0", "t1", "t2", "t3"), ("s4", "s5", "s6", "s7")
    at, line, left, value, blocks = "t4", "t5", "t6", "s8", "s9"

    def finish(total: str) -> list[str]:
        return [
            *([f"srai {value}, {total}, 31", f"add {total}, {total}, {value}"] if away else []),
            f"mul {total}, {total}, {factor}",
            add_and_shift(total, offset, shift),
            higher_of(total, total, low),
            lower_of(total, total, high),
        ]

    names = (channels, row, rows, columns, factor, offset, shift, low, high)
    lines = [f"lw {register}, {4 * place}(a2)" for place, register in enumerate(names)]
    lines += [f"li {ones[0]}, 1", *(f"slli {ones[i]}, {ones[0]}, {8 * i}" for i in (1, 2, 3))]
    lines += [f"srli {blocks}, {channels}, 2", f"beqz {blocks}, 3f", "1:"]
    lines += [*(f"li {total}, 0" for total in sums), f"mv {line}, a0", f"mv {left}, {rows}", "2:", f"mv {at}, {line}"]
    lines += repeat(
        columns,
        [load_step_by(value, at, channels), "nop", *(add_dot(t, value, o) for t, o in zip(sums, ones, strict=True))],
    )
    lines += [f"add {line}, {line}, {row}", f"addi {left}, {left}, -1", f"bnez {left}, 2b"]
    lines += [line for total in sums for line in finish(total)]
    lines += [*pack_bytes(sums[0], sums), store_step(sums[0], "a1", 4), "addi a0, a0, 4"]
    lines += [f"addi {blocks}, {blocks}, -1", f"bnez {blocks}, 1b", "3:"]
    total = sums[0]
    lines += [f"andi {blocks}, {channels}, 3", f"beqz {blocks}, 6f", "4:"]
    lines += [f"li {total}, 0", f"mv {line}, a0", f"mv {left}, {rows}", "5:", f"mv {at}, {line}"]
    lines += repeat(columns, [load_byte_step_by(value, at, channels), "nop", f"add {total}, {total}, {value}"])
    lines += [f"add {line}, {line}, {row}", f"addi {left}, {left}, -1", f"bnez {left}, 5b", *finish(total)]
    lines += [f"sb {total}, 0(a1)", "addi a1, a1, 1", "addi a0, a0, 1", f"addi {blocks}, {blocks}, -1"]
    lines += [f"bnez {blocks}, 4b", "6:"]
    prototype = f"void {name}(const int8_t *x, int8_t *y, const int32_t *shape)"
    return xpulp_function(name, prototype, lines, "the mean of a window of rows of taps, clamped, for each channel")
