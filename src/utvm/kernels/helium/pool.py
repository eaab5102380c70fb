"""Maximum and average pooling by vectors of channels, any window, padding, rounding and clamp."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from utvm.codegen import CArray, CFunction, CParameter, CSupport, CWriter
from utvm.cores import Core
from utvm.cores.timing import Timing
from utvm.graph import AveragePool2D, MaxPool2D, Operator
from utvm.kernels.base import Config, Kernel
from utvm.kernels.dsp.words import write_bounds
from utvm.kernels.helium.family import ScheduledVectors
from utvm.kernels.helium.pool_lines import lines_kernel, overlaps
from utvm.kernels.helium.window_rows import Pool, row_counts, stretches, write_calls
from utvm.kernels.helium.windows import (
    MOST_COLUMNS,
    Division,
    WindowSpec,
    division,
    lane_bits,
    looped_cycles,
    window_function,
)
from utvm.kernels.overlap import nest_ahead
from utvm.kernels.workload_keys import dims, workload

_MOST_TAPS = 1 << 14
"""Taps for whose sums the division is compared with the definition."""
_WORDS = 4
"""Of each division."""


class HeliumPool2D(ScheduledVectors):
    """MaxPool2D and AveragePool2D; windows of up to 16,384 taps are averaged."""

    name = "helium"
    kinds = (MaxPool2D, AveragePool2D)

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return that the windows are too large."""
        if not isinstance(op, MaxPool2D | AveragePool2D):
            return super().refusal(op, core)
        if isinstance(op, AveragePool2D):
            taps = op.filter[0] * op.filter[1]
            if taps > _MOST_TAPS:
                return f"its windows have more than {_MOST_TAPS} taps"
            if any(division(count, lane_bits(taps), op.rounding) is None for count in _counts(op)):
                return "no product and shift divides exactly"
        return self.lacks(core)

    def about(self, op: Operator, core: Core) -> float | None:
        """Return about how many cycles all windows take."""
        assert core.timing is not None
        assert isinstance(op, MaxPool2D | AveragePool2D)
        plan = _Plan(op, core.timing)
        across = stretches(op)
        return op.y.shape[0] * sum(
            often * plan.cycles(rows, part.taps, part.windows)
            for rows, often in row_counts(op).items()
            for part in across
        )

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a pooling."""
        assert core.timing is not None
        assert isinstance(op, MaxPool2D | AveragePool2D)
        if isinstance(op, MaxPool2D) and overlaps(op):
            return lines_kernel(op, self.name, config)
        plan = _Plan(op, core.timing)
        batch, height, width, channels = op.x.shape
        _, out_height, out_width, _ = op.y.shape
        w = CWriter()
        with w.loop("n", batch), w.loop("oy", out_height):
            write_bounds(w, op, 0)
            w(f"const int8_t *const from = x + (n * {height} + first_y) * {width * channels};")
            w(f"int8_t *const to = y + (n * {out_height} + oy) * {out_width * channels};")
            write_calls(
                w, op, lambda rows: [plan.call(rows, p.taps, p.windows, p.start, p.first) for p in stretches(op)]
            )
        averages = isinstance(op, AveragePool2D)
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"{'average' if averages else 'max'}_pool_{dims(op.x.shape[1:])}_helium",
                comment=f"{workload(op)}\nfamily {self.name}",
                parameters=(
                    CParameter(name="x", c_type="int8_t", role="input"),
                    *((CParameter(name="divisions", c_type="int32_t", role="constant"),) if averages else ()),
                    CParameter(name="y", c_type="int8_t", role="output"),
                ),
                body=w.text,
                support=tuple(plan.used.values()),
            ),
            constants={"divisions": CArray(c_type="int32_t", values=plan.divisions())} if averages else {},
            ahead=nest_ahead(op),
        )


def _counts(op: Pool) -> list[int]:
    """Return the distinct numbers of taps that windows have inside of the input."""
    return sorted({rows * part.taps for rows in row_counts(op) for part in stretches(op)})


class _Plan:
    """The functions of one layer: whole windows have their taps written out, others go by loops."""

    def __init__(self, op: Pool, timing: Timing) -> None:
        self.op, self.timing, self.counts = op, timing, _counts(op)
        self.used: dict[str, CSupport] = {}
        self._averages = isinstance(op, AveragePool2D)
        channels = op.x.shape[3]
        self._any = WindowSpec(
            bits=lane_bits(op.filter[0] * op.filter[1]) if self._averages else 8,
            channels=channels,
            row=op.x.shape[2] * channels,
            step=op.stride[1] * channels,
            window=None,
            clamp=op.clamp,
            signed=self._averages and any(each.below for each in self._divisions()),
        )

    def call(self, rows: int, columns: int, windows: int, start: int, first: int) -> str:
        """Return the C of a call for windows of so many rows and columns of taps."""
        spec, channels = self._spec(rows, columns), self._any.channels
        function, _, _ = window_function(spec, self.timing)
        self.used[function.name] = function
        division = f"divisions + {_WORDS * self.counts.index(rows * columns)}" if self._averages else "0"
        taps = f", {rows}, {columns}" if spec.window is None else ""
        return f"{function.name}(from + {start * channels}, to + {first * channels}, {division}, {windows}{taps});"

    def cycles(self, rows: int, columns: int, windows: int) -> float:
        """Return the modelled cycles of that call."""
        spec = self._spec(rows, columns)
        _, call, window = window_function(spec, self.timing)
        return call + windows * (window or looped_cycles(spec, rows * columns, self.timing))

    def divisions(self) -> NDArray[np.int32]:
        """Return the words of the divisions by all counts of taps."""
        return np.array([word for each in self._divisions() for word in each.words], np.int64).astype(np.int32)

    def _spec(self, rows: int, columns: int) -> WindowSpec:
        written = (rows, columns) == self.op.filter and columns <= MOST_COLUMNS
        return replace(self._any, window=(rows, columns)) if written else self._any

    def _divisions(self) -> list[Division]:
        assert isinstance(self.op, AveragePool2D)
        bits = lane_bits(self.op.filter[0] * self.op.filter[1])
        found = [division(count, bits, self.op.rounding) for count in self.counts]
        return [each for each in found if each is not None]
