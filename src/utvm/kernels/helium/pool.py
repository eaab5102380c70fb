"""Maximum and average pooling by vectors of channels, any window, padding, rounding and clamp."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from utvm.codegen import CArray, CFunction, CParameter, CSupport, CWriter
from utvm.cores import Core
from utvm.cores.timing import Timing
from utvm.graph import AveragePool2D, AverageRounding, DType, MaxPool2D, Operator
from utvm.graph.formulas import limits
from utvm.kernels.base import Config, Kernel
from utvm.kernels.dsp.words import write_bounds
from utvm.kernels.helium.family import WIDE_START, ScheduledVectors
from utvm.kernels.helium.pool_lines import lines_kernel, overlaps
from utvm.kernels.helium.window_rows import Pool, row_counts, stretches, write_calls
from utvm.kernels.helium.windows import (
    MOST_COLUMNS,
    Division,
    WideWindowSpec,
    WindowSpec,
    division,
    lane_bits,
    looped_cycles,
    wide_division,
    window_function,
)
from utvm.kernels.overlap import nest_ahead
from utvm.kernels.workload_keys import dims, workload

_MOST_TAPS = 1 << 14
"""Taps for whose sums the division is compared with the definition."""
_WORDS = 4
"""Of each division."""


def _pool_parameters(x: str, y: str, c_type: str) -> tuple[CParameter, ...]:
    return (
        CParameter(name=x, c_type=c_type, role="input"),
        CParameter(name="divisions", c_type="int32_t", role="constant"),
        CParameter(name=y, c_type=c_type, role="output"),
    )


class HeliumPool2D(ScheduledVectors):
    """MaxPool2D and AveragePool2D; windows of up to 16,384 taps are averaged."""

    name = "helium"
    kinds = (MaxPool2D, AveragePool2D)
    parameters: ClassVar[tuple[CParameter, ...]] = _pool_parameters("x", "y", "int8_t")
    start: ClassVar[str] = ""
    """What the function begins with."""

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return that the windows are too large."""
        if not isinstance(op, MaxPool2D | AveragePool2D):
            return super().refusal(op, core)
        if isinstance(op, AveragePool2D):
            taps = op.filter[0] * op.filter[1]
            if taps > _MOST_TAPS:
                return f"its windows have more than {_MOST_TAPS} taps"
            if any(_division(op, count) is None for count in _counts(op)):
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
        if isinstance(op, MaxPool2D) and op.x.dtype is DType.INT8 and overlaps(op):
            return lines_kernel(op, self.name, config)
        plan = _Plan(op, core.timing)
        batch, height, width, channels = op.x.shape
        _, out_height, out_width, _ = op.y.shape
        pixel = channels * op.x.dtype.itemsize
        w = CWriter()
        if self.start:
            w(self.start)
        with w.loop("n", batch), w.loop("oy", out_height):
            write_bounds(w, op, 0)
            w(f"const int8_t *const from = x + (n * {height} + first_y) * {width * pixel};")
            w(f"int8_t *const to = y + (n * {out_height} + oy) * {out_width * pixel};")
            write_calls(
                w, op, lambda rows: [plan.call(rows, p.taps, p.windows, p.start, p.first) for p in stretches(op)]
            )
        averages = isinstance(op, AveragePool2D)
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"{'average' if averages else 'max'}_pool_{dims(op.x.shape[1:])}_{self.name.replace('-', '_')}",
                comment=f"{workload(op)}\nfamily {self.name}",
                parameters=tuple(each for each in self.parameters if averages or each.role != "constant"),
                body=w.text,
                support=tuple(plan.used.values()),
            ),
            constants={"divisions": CArray(c_type="int32_t", values=plan.divisions())} if averages else {},
            ahead=nest_ahead(op),
        )


class HeliumWidePool2D(HeliumPool2D):
    """The same on int16."""

    name = "helium-wide"
    dtypes = (DType.INT16,)
    parameters = _pool_parameters("from_x", "to_y", "int16_t")
    start = WIDE_START

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return that the windows are too large, or rounded as those of q7 networks."""
        if isinstance(op, AveragePool2D) and op.rounding is AverageRounding.HALF_UP:
            return "it rounds halves up"
        return super().refusal(op, core)


def _counts(op: Pool) -> list[int]:
    """Return the distinct numbers of taps that windows have inside of the input."""
    return sorted({rows * part.taps for rows in row_counts(op) for part in stretches(op)})


def _sum_bits(op: Pool) -> int:
    return 32 if op.x.dtype is DType.INT16 else lane_bits(op.filter[0] * op.filter[1])


def _division(op: AveragePool2D, count: int) -> Division | None:
    """Return how sums of `count` pixels are divided."""
    if op.x.dtype is DType.INT16:
        return wide_division(count, op.rounding)
    return division(count, _sum_bits(op), op.rounding)


class _Plan:
    """The functions of one layer: whole windows have their taps written out, others go by loops."""

    def __init__(self, op: Pool, timing: Timing) -> None:
        self.op, self.timing, self.counts = op, timing, _counts(op)
        self.used: dict[str, CSupport] = {}
        self._averages = isinstance(op, AveragePool2D)
        size, make = op.x.dtype.itemsize, WindowSpec if op.x.dtype is DType.INT8 else WideWindowSpec
        pixel = size * op.x.shape[3]
        self._any = make(
            bits=_sum_bits(op) if self._averages else 8 * size,
            channels=op.x.shape[3],
            row=op.x.shape[2] * pixel,
            step=op.stride[1] * pixel,
            window=None,
            clamp=limits(op),
            signed=self._averages and any(each.below for each in self._divisions()),
        )

    def call(self, rows: int, columns: int, windows: int, start: int, first: int) -> str:
        """Return the C of a call for windows of so many rows and columns of taps."""
        spec, pixel = self._spec(rows, columns), self._any.pixel
        function, _, _ = window_function(spec, self.timing)
        self.used[function.name] = function
        division = f"divisions + {_WORDS * self.counts.index(rows * columns)}" if self._averages else "0"
        taps = f", {rows}, {columns}" if spec.window is None else ""
        return f"{function.name}(from + {start * pixel}, to + {first * pixel}, {division}, {windows}{taps});"

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
        found = [_division(self.op, count) for count in self.counts]
        return [each for each in found if each is not None]
