"""Mean over one or two runs of dimensions, by vectors of what is kept."""

from __future__ import annotations

from utvm.codegen import CWriter
from utvm.cores import Core
from utvm.graph import Mean, Operator
from utvm.graph.arithmetic import Requantization, mean_parameters
from utvm.kernels.base import Config, Kernel
from utvm.kernels.mean_nest import MeanNest
from utvm.kernels.rvv.code import RvvFamily
from utvm.kernels.rvv.mean_code import Rescaled, average_function
from utvm.kernels.word_calls import kernel_of_words
from utvm.kernels.workload_keys import dims

_LEAST_LANES = 4
"""Fewer lanes take about as many instructions as C."""


class RvvMean(RvvFamily):
    """Mean, where it keeps at least four neighbours, or as many with one distance."""

    name = "rvv"
    kinds = (Mean,)

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return that too little is kept, or that averaged dimensions lie too far apart."""
        if not isinstance(op, Mean):
            return super().refusal(op, core)
        if (found := self.lacks(core)) is not None:
            return found
        nest = MeanNest.of(op)
        if nest is None:
            return "more than two runs of dimensions are averaged"
        if nest.lanes < _LEAST_LANES:
            return f"it keeps {nest.lanes} values beside each other"
        return None if mean_parameters(op).shift >= -31 else "its scale is too small"

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a mean."""
        del core
        assert isinstance(op, Mean)
        nest, factor = MeanNest.of(op), mean_parameters(op)
        assert nest is not None
        finish = Rescaled(
            less=factor.count * op.x.zero_point,
            factor=Requantization(multiplier=factor.multiplier, shift=factor.shift),
            zero_point=op.y.zero_point,
        )
        function = average_function(finish, strided=nest.lane_step > 1)
        w = CWriter()
        with w.loop("i", nest.outer):
            x, y = f"x + i * {nest.outer_step}", f"y + i * {nest.lanes}"
            w(f"{function.name}({x}, {y}, steps, {nest.rows}, {nest.taps}, {nest.lanes});")
        steps = nest.row_step, nest.tap_step, nest.lane_step
        return kernel_of_words(
            op,
            config,
            family=self.name,
            stem=f"mean_{dims(op.x.shape)}",
            body=w.text,
            function=function,
            name="steps",
            words=steps,
        )
