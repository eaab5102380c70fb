"""Mean over any axes by vectors: of columns as windows are summed (`windows`), of runs by sums across lanes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from utvm.codegen import CArray, CFunction, CParameter, CWriter
from utvm.cores import Core
from utvm.graph import Mean, Operator
from utvm.graph.arithmetic import mean_parameters
from utvm.graph.operators import FULL_INT8
from utvm.kernels.base import Config, Kernel
from utvm.kernels.dsp.assembly import assembler_function
from utvm.kernels.helium.family import ScheduledVectors
from utvm.kernels.helium.windows import MOST_COLUMNS, WindowSpec, looped_cycles, window_function
from utvm.kernels.weighted import offset
from utvm.kernels.workload_keys import dims, workload

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


class HeliumMean(ScheduledVectors):
    """Mean over any axes; runs of at least 24 neighbours where the last dimension is averaged."""

    name = "helium"
    kinds = (Mean,)

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return why `op` is no sum of columns or long runs."""
        if not isinstance(op, Mean):
            return super().refusal(op, core)
        nest = _Nest.of(op)
        if nest is None or nest.terms == 1:
            return "nothing is averaged, or in too many places"
        if mean_parameters(op).shift > 0:
            return "its scale shifts to the left"
        if nest.channels == 1 and nest.columns < _SHORTEST:
            return "its runs of neighbours are short"
        return self.lacks(core)

    def about(self, op: Operator, core: Core) -> float | None:
        """Return about how many cycles all sums take."""
        assert isinstance(op, Mean)
        assert core.timing is not None
        nest = _nest(op)
        if nest.channels == 1:
            runs = nest.outer * nest.windows * nest.rows
            return runs * (_RUN_CYCLES + -(-nest.columns // _VECTOR) * _VECTOR_CYCLES)
        spec = _spec(op, nest)
        _, call, window = window_function(spec, core.timing)
        return nest.outer * (call + nest.windows * (window or looped_cycles(spec, nest.terms, core.timing)))

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a mean."""
        assert isinstance(op, Mean)
        assert core.timing is not None
        nest = _nest(op)
        w = CWriter()
        constants: dict[str, CArray] = {}
        helpers: tuple[str, ...] = ()
        if nest.channels == 1:
            support, helpers = SUM, ("utvm_requantize_double", "utvm_clamp")
            _write_runs(w, op, nest)
        else:
            spec, factor = _spec(op, nest), mean_parameters(op)
            support = window_function(spec, core.timing)[0]
            words = [-factor.count * op.x.zero_point, factor.multiplier, factor.shift, op.y.zero_point]
            constants = {"scale": CArray(c_type="int32_t", values=np.array(words, np.int64).astype(np.int32))}
            taps = f", {nest.rows}, {nest.columns}" if spec.window is None else ""
            read = nest.rows * nest.windows * nest.columns * nest.channels
            with w.loop("n", nest.outer):
                places = f"x + n * {read}, y + n * {nest.windows * nest.channels}"
                w(f"{support.name}({places}, scale, {nest.windows}{taps});")
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"mean_{dims(op.x.shape)}_helium",
                comment=f"{workload(op)}\nfamily {self.name}",
                parameters=(
                    CParameter(name="x", c_type="int8_t", role="input"),
                    *(CParameter(name=n, c_type=a.c_type, role="constant") for n, a in constants.items()),
                    CParameter(name="y", c_type="int8_t", role="output"),
                ),
                body=w.text,
                helpers=helpers,
                support=(support,),
            ),
            constants=constants,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Nest:
    """x as [outer, rows, windows, columns, channels], of which rows and columns are averaged."""

    outer: int
    rows: int
    windows: int
    columns: int
    channels: int

    @staticmethod
    def of(op: Mean) -> _Nest | None:
        """Return the nest of a Mean, None if it has more dimensions; neighbours that are averaged alike are one."""
        groups: list[tuple[int, bool]] = []
        for axis, size in enumerate(op.x.shape):
            averaged = axis in op.axes
            if groups and groups[-1][1] == averaged:
                groups[-1] = groups[-1][0] * size, averaged
            elif size > 1:
                groups.append((size, averaged))
        if not groups or groups[-1][1]:
            groups.append((1, False))
        if len(groups) > _DIMENSIONS:
            return None
        sizes = [1] * _DIMENSIONS + [size for size, _ in groups]
        return _Nest(outer=sizes[-5], rows=sizes[-4], windows=sizes[-3], columns=sizes[-2], channels=sizes[-1])

    @property
    def terms(self) -> int:
        """How many values each mean is of."""
        return self.rows * self.columns


def _nest(op: Mean) -> _Nest:
    nest = _Nest.of(op)
    assert nest is not None
    return nest


def _spec(op: Mean, nest: _Nest) -> WindowSpec:
    """Return how columns are summed: rows of windows, whose columns lie beside each other."""
    line = nest.columns * nest.channels
    written = nest.rows == 1 or nest.columns <= MOST_COLUMNS
    return WindowSpec(
        bits=32,
        channels=nest.channels,
        row=nest.windows * line,
        step=line,
        window=(nest.rows, nest.columns) if written else None,
        clamp=FULL_INT8,
        signed=mean_parameters(op).shift < 0,
        requantizes=True,
    )


def _write_runs(w: CWriter, op: Mean, nest: _Nest) -> None:
    """Write a sum of runs for each mean, and its scaling."""
    factor = mean_parameters(op)
    with w.loop("n", nest.outer), w.loop("i", nest.windows):
        w(f"int32_t sum = {-factor.count * op.x.zero_point};")
        with w.loop("row", nest.rows):
            place = f"((n * {nest.rows} + row) * {nest.windows} + i) * {nest.columns}"
            w(f"sum = {SUM.name}(x + {place}, {nest.columns}, sum);")
        scaled = f"utvm_requantize_double(sum, {factor.multiplier}, {factor.shift}){offset(op.y.zero_point)}"
        w(f"y[n * {nest.windows} + i] = (int8_t)utvm_clamp({scaled}, -128, 127);")
