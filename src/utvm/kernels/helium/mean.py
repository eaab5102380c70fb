"""Reductions over any axes by vectors: of columns as windows are summed (`windows`), of runs across lanes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from utvm.codegen import CArray, CFunction, CParameter, CWriter
from utvm.cores import Core
from utvm.graph import DType, Mean, Operator, Reduction
from utvm.graph.arithmetic import Requantization, integer_range, mean_parameters, requantization
from utvm.kernels.base import Config, Kernel
from utvm.kernels.dsp.assembly import assembler_function
from utvm.kernels.helium.family import WIDE_START, ScheduledVectors
from utvm.kernels.helium.four import AT_ONCE, SumFinish, run_cycles, run_function
from utvm.kernels.helium.windows import MOST_COLUMNS, WideWindowSpec, WindowSpec, looped_cycles, window_function
from utvm.kernels.weighted import offset
from utvm.kernels.workload_keys import dims, workload

_Reduced = Mean | Reduction
_SUM_KIND = "Sum"
_EXTREMES = {"ReduceMax": ("vmaxv.s8", -128), "ReduceMin": ("vminv.s8", 127)}
"""Instructions and starts of reductions to one of the elements."""
_VECTOR, _DIMENSIONS = 16, 5
_SHORTEST = 24
"""Bytes of a run from which its sum is worth a call."""
_RUN_CYCLES, _VECTOR_CYCLES = 60, 4
SUM = assembler_function(
    "utvm_helium_sum",
    "int32_t utvm_helium_sum(const int8_t *x, int32_t count, int32_t start)",
    [
        "push {r4, lr}",
        "wlstp.8 lr, r1, 2f",
        "1:",
        "vldrb.u8 q0, [r0], #16",
        "vaddva.s8 r2, q0",
        "letp lr, 1b",
        "2:",
        "mov r0, r2",
        "pop {r4, pc}",
    ],
    "start plus count bytes",
)


def _ends(x: str, y: str, c_type: str) -> tuple[CParameter, CParameter]:
    return CParameter(name=x, c_type=c_type, role="input"), CParameter(name=y, c_type=c_type, role="output")


class HeliumMean(ScheduledVectors):
    """Mean, sums, and the most or least over any axes."""

    name = "helium"
    kinds: ClassVar[tuple[type[Operator], ...]] = (Mean, Reduction)
    ends: ClassVar[tuple[CParameter, CParameter]] = _ends("x", "y", "int8_t")
    """The parameters of the input and the output."""
    start: ClassVar[str] = ""
    """What the function begins with."""

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return why `op` is no combination of columns or runs."""
        if not isinstance(op, _Reduced):
            return super().refusal(op, core)
        if op.kind not in ("Mean", _SUM_KIND, *_EXTREMES):
            return f"it is not for {op.kind}"
        nest = _Nest.of(op)
        if nest is None or nest.terms == 1:
            return "nothing is combined, or in too many places"
        factor = _factor(op)
        if factor is not None and factor.shift > 0:
            return "its scale shifts to the left"
        if nest.channels == 1 and not nest.follow and (nest.columns < _SHORTEST or factor is None):
            return "its runs of neighbours are short, or few"
        return self.lacks(core)

    def about(self, op: Operator, core: Core) -> float | None:
        """Return about how many cycles all sums take."""
        assert isinstance(op, _Reduced)
        assert core.timing is not None
        nest = _nest(op)
        if nest.channels == 1:
            if nest.follow:
                return run_cycles(nest.outer * nest.windows, nest.columns)
            runs = nest.outer * nest.windows * nest.rows
            return runs * (_RUN_CYCLES + -(-nest.columns // _VECTOR) * _VECTOR_CYCLES)
        spec = _spec(op, nest)
        _, call, window = window_function(spec, core.timing)
        return nest.outer * (call + nest.windows * (window or looped_cycles(spec, nest.terms, core.timing)))

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a reduction."""
        assert isinstance(op, _Reduced)
        assert core.timing is not None
        nest = _nest(op)
        w = CWriter()
        constants: dict[str, CArray] = {}
        helpers: tuple[str, ...] = ()
        factor = _factor(op)
        if nest.channels == 1 and nest.follow:
            start = _EXTREMES[op.kind][1] if factor is None else _start(op)
            combine = "vaddva.s8" if factor is not None else _EXTREMES[op.kind][0]
            support = run_function(combine, start, SumFinish(factor=factor, zero_point=op.y.zero_point))
            w(f"{support.name}(x, y, {nest.outer * nest.windows}, {nest.columns});")
        elif nest.channels == 1:
            assert factor is not None
            support, helpers = SUM, ("utvm_requantize_double", "utvm_clamp")
            _write_runs(w, op, nest, factor)
        else:
            spec = _spec(op, nest)
            support = window_function(spec, core.timing)[0]
            scale = "0"
            if factor is not None:
                words = [_start(op), factor.multiplier, factor.shift, op.y.zero_point]
                constants = {"scale": CArray(c_type="int32_t", values=np.array(words, np.int64).astype(np.int32))}
                scale = "scale"
            taps = f", {nest.rows}, {nest.columns}" if spec.window is None else ""
            read = nest.rows * nest.windows * nest.columns * spec.pixel
            if self.start:
                w(self.start)
            with w.loop("n", nest.outer):
                places = f"x + n * {read}, y + n * {nest.windows * spec.pixel}"
                w(f"{support.name}({places}, {scale}, {nest.windows}{taps});")
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"{op.kind.lower()}_{dims(op.x.shape)}_{self.name.replace('-', '_')}",
                comment=f"{workload(op)}\nfamily {self.name}",
                parameters=(
                    self.ends[0],
                    *(CParameter(name=n, c_type=a.c_type, role="constant") for n, a in constants.items()),
                    self.ends[1],
                ),
                body=w.text,
                helpers=helpers,
                support=(support,),
            ),
            constants=constants,
        )


class HeliumWideMean(HeliumMean):
    """Mean of columns of int16."""

    name = "helium-wide"
    kinds = (Mean,)
    dtypes = (DType.INT16,)
    ends = _ends("from_x", "to_y", "int16_t")
    start = WIDE_START

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return why `op` is no mean of columns."""
        found = super().refusal(op, core)
        runs = isinstance(op, Mean) and found is None and _nest(op).channels == 1
        return "it averages runs of neighbours" if runs else found


def _factor(op: _Reduced) -> Requantization | None:
    """Return how a sum is scaled; None where the result is one of the elements."""
    if isinstance(op, Mean):
        found = mean_parameters(op)
        return Requantization(multiplier=found.multiplier, shift=found.shift)
    return requantization(op.x.scale / op.y.scale) if op.kind == _SUM_KIND else None


def _start(op: _Reduced) -> int:
    """Return what a sum begins with, so that it is of elements without their zero point."""
    return -op.x.zero_point * (op.x.elements // op.y.elements)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Nest:
    """x as [outer, rows, windows, columns, channels], of which rows and columns are combined."""

    outer: int
    rows: int
    windows: int
    columns: int
    channels: int

    @staticmethod
    def of(op: _Reduced) -> _Nest | None:
        """Return the nest of an operator, None if it has more dimensions; neighbours combined alike are one."""
        groups: list[tuple[int, bool]] = []
        for axis, size in enumerate(op.x.shape):
            combined = axis in op.axes
            if groups and groups[-1][1] == combined:
                groups[-1] = groups[-1][0] * size, combined
            elif size > 1:
                groups.append((size, combined))
        if not groups or groups[-1][1]:
            groups.append((1, False))
        if len(groups) > _DIMENSIONS:
            return None
        sizes = [1] * _DIMENSIONS + [size for size, _ in groups]
        return _Nest(outer=sizes[-5], rows=sizes[-4], windows=sizes[-3], columns=sizes[-2], channels=sizes[-1])

    @property
    def follow(self) -> bool:
        """Whether runs follow one another, as many as are summed at once."""
        return self.rows == 1 and self.outer * self.windows >= AT_ONCE

    @property
    def terms(self) -> int:
        """How many values each mean is of."""
        return self.rows * self.columns


def _nest(op: _Reduced) -> _Nest:
    nest = _Nest.of(op)
    assert nest is not None
    return nest


def _spec(op: _Reduced, nest: _Nest) -> WindowSpec:
    """Return how columns are summed: rows of windows, whose columns lie beside each other."""
    size, make = op.x.dtype.itemsize, WindowSpec if op.x.dtype is DType.INT8 else WideWindowSpec
    line = nest.columns * nest.channels * size
    written = nest.rows == 1 or nest.columns <= MOST_COLUMNS
    factor = _factor(op)
    return make(
        bits=8 * size if factor is None else 32,
        channels=nest.channels,
        row=nest.windows * line,
        step=line,
        window=(nest.rows, nest.columns) if written else None,
        clamp=integer_range(op.y.dtype),
        signed=factor is not None and factor.shift < 0,
        requantizes=factor is not None,
        least=op.kind == "ReduceMin",
    )


def _write_runs(w: CWriter, op: _Reduced, nest: _Nest, factor: Requantization) -> None:
    """Write a sum of runs for each mean, and its scaling."""
    with w.loop("n", nest.outer), w.loop("i", nest.windows):
        w(f"int32_t sum = {_start(op)};")
        with w.loop("row", nest.rows):
            place = f"((n * {nest.rows} + row) * {nest.windows} + i) * {nest.columns}"
            w(f"sum = {SUM.name}(x + {place}, {nest.columns}, sum);")
        scaled = f"utvm_requantize_double(sum, {factor.multiplier}, {factor.shift}){offset(op.y.zero_point)}"
        w(f"y[n * {nest.windows} + i] = (int8_t)utvm_clamp({scaled}, -128, 127);")
