"""Cumulative sums in plain C: one running sum along the axis.

Not a schedule of loops: an element's sum goes on from its neighbour's, and a Compute never reads its own output.
"""

from __future__ import annotations

from math import prod

from utvm.codegen import CFunction, CParameter, CWriter
from utvm.cores import Core
from utvm.graph import CumulativeSum, Operator
from utvm.graph.arithmetic import requantization
from utvm.kernels.base import Config, Kernel, KernelFamily
from utvm.kernels.weighted import offset
from utvm.kernels.workload_keys import dims, workload

_BITS = 19
"""An element counts 2^20 of tflite-micro's units, halved: without a rest."""


class PortableCumulativeSum(KernelFamily):
    """CumulativeSum; its definition alone would add up every element's sum anew."""

    name = "portable"
    kinds = (CumulativeSum,)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a cumulative sum."""
        del core
        assert isinstance(op, CumulativeSum)
        shape, length = op.x.shape, op.x.shape[op.axis]
        step = prod(shape[op.axis + 1 :])
        factor = requantization(2.0 * op.x.scale / ((1 << 20) * op.y.scale))
        w = CWriter()
        with w.loop("o", prod(shape[: op.axis])), w.loop("i", step):
            # tflite-micro starts from what it takes for zero: an element of the value 0. Its sum wraps.
            w(f"uint32_t sum = (uint32_t){-op.x.zero_point} << {_BITS};")
            with w.loop("k", length):
                place = f"{length - 1} - k" if op.reverse else "k"
                w(f"const int32_t at = (o * {length} + {place}) * {step} + i;")
                w(f"const uint32_t next = sum + ((uint32_t)(x[at]{offset(-op.x.zero_point)}) << {_BITS});")
                total = "sum" if op.exclusive else "next"
                scaled = f"utvm_requantize_double((int32_t){total}, {factor.multiplier}, {factor.shift})"
                w(f"y[at] = (int8_t)utvm_clamp({scaled}{offset(op.y.zero_point)}, -128, 127);", "sum = next;")
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"cumulativesum_{dims(shape)}",
                comment=f"{workload(op)}\nfamily {self.name}",
                parameters=(
                    CParameter(name="x", c_type="int8_t", role="input"),
                    CParameter(name="y", c_type="int8_t", role="output"),
                ),
                body=w.text,
                helpers=("utvm_requantize_double", "utvm_clamp"),
            ),
            in_place=(0,),
        )
