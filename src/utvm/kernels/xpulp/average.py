"""Average pooling, four channels at once: a word of ones adds one of the bytes of a tap, or two bytes of two taps.

The division by the count of a window is a product and a shift, which is compared with the definition for all sums.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product as cross
from math import prod

import numpy as np

from utvm.codegen import CWriter
from utvm.cores import Core
from utvm.graph import AveragePool2D, AverageRounding, Operator
from utvm.kernels.base import Config, Kernel, Space
from utvm.kernels.overlap import nest_ahead
from utvm.kernels.pool_calls import write_window_calls
from utvm.kernels.portable.window import Taps
from utvm.kernels.word_calls import kernel_of_words
from utvm.kernels.workload_keys import dims
from utvm.kernels.xpulp.average_code import AverageSpec, average_cycles, average_function
from utvm.kernels.xpulp.code import XpulpFamily

_MOST_SHIFT = 23
"""Products of sums then fit 32 bits with their sign."""
_NEIGHBOURS = 4
_MOST_TAPS = 4096
_WORDS = 9
"""Words of a shape."""


_SPACE: Space = {"taps": (1, 2), "unroll": (1, 2, 4), "loop": ("hardware", "branches"), "rows": ("apart", "joined")}
_CALL_CYCLES = 70.0


class XpulpAveragePool2D(XpulpFamily):
    """AveragePool2D of any clamp: a division for each count of taps inside of the input.

    Knobs: `taps` whose bytes a word of ones adds, `unroll` (such steps of a turn), `loop` (what repeats turns), `rows`
    (one after another, or joined where windows are as wide as the input).
    """

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

    def space(self, op: Operator, core: Core) -> Space:
        """Return the knobs."""
        del op, core
        return _SPACE

    def legal(self, op: Operator, core: Core, config: Config) -> bool:
        """Whether rows of taps can be joined, where they are."""
        del core
        assert isinstance(op, AveragePool2D)
        whole = op.x.shape[2]
        return config["rows"] == "apart" or _counts(op, 1) == range(whole, whole + 1)

    def default(self, op: Operator, core: Core) -> Config:
        """Return the config of the fewest cycles."""
        every = [dict(zip(_SPACE, values, strict=True)) for values in cross(*_SPACE.values())]
        return min(
            (config for config in every if self.legal(op, core, config)),
            key=lambda config: self.estimate(op, core, config),
        )

    def estimate(self, op: Operator, core: Core, config: Config) -> float:
        """Return the cycles of all windows, as if all were as large as most are."""
        del core
        assert isinstance(op, AveragePool2D)
        rows, columns = (max(_counts(op, axis)) for axis in (0, 1))
        if config["rows"] == "joined":
            rows, columns = 1, rows * columns
        spec = _spec(op, config)
        window = _CALL_CYCLES + average_cycles(spec, channels=op.x.shape[3], rows=rows, columns=columns)
        return op.y.elements / op.y.shape[3] * window

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of an average pooling."""
        config = config or self.default(op, core)
        assert isinstance(op, AveragePool2D)
        _, _, width, channels = op.x.shape
        function = average_function(_spec(op, config))
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
            shape = (1, prod(size)) if config["rows"] == "joined" else size
            words += [channels, width * channels, *shape, *(division(prod(size), op.rounding) or (0, 0, 0)), *op.clamp]
        return kernel_of_words(
            op,
            config,
            family=self.name,
            stem=f"average_pool_{dims(op.x.shape[1:])}",
            body=w.text,
            function=function,
            name="shape",
            words=words,
            ahead=nest_ahead(op),
        )


def _spec(op: AveragePool2D, config: Config) -> AverageSpec:
    return AverageSpec(
        away=op.rounding is AverageRounding.HALF_AWAY,
        taps=int(config["taps"]),
        unroll=int(config["unroll"]),
        hardware=config["loop"] == "hardware",
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
