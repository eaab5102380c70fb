"""Mean over any axes in plain C."""

from __future__ import annotations

from utvm.codegen import CFunction, CParameter, CWriter
from utvm.cores import Core
from utvm.graph import Mean, Operator
from utvm.graph.arithmetic import mean_parameters
from utvm.kernels.base import Config, Kernel, KernelFamily
from utvm.kernels.nest import index, loops, row_major
from utvm.kernels.weighted import offset
from utvm.kernels.workload import dims, workload

_UNROLL, _UNROLLED_BY_ITSELF = 8, 16
"""Turns of a long sum's loop that stand in one, and turns up to which GCC 12 writes out the whole loop."""


class PortableMean(KernelFamily):
    """Mean as two loop nests: over what is kept, and inside it over what is averaged."""

    name = "portable"
    kinds = (Mean,)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a mean."""
        del core
        assert isinstance(op, Mean)
        shape, strides, factor = op.x.shape, row_major(op.x.shape), mean_parameters(op)
        kept = [1 if d in op.axes else size for d, size in enumerate(shape)]
        w = CWriter()
        with loops(w, kept) as outer:
            w(f"int32_t sum = {-factor.count * op.x.zero_point};")
            averaged = [size if d in op.axes else 1 for d, size in enumerate(shape)]
            with loops(w, averaged, unroll=_UNROLL if _turns(averaged) > _UNROLLED_BY_ITSELF else 1) as inner:
                names = [inner[d] if d in op.axes else outer[d] for d in range(len(shape))]
                used = [(name, stride) for name, stride in zip(names, strides, strict=True) if name != "0"]
                w(f"sum += x[{index([n for n, _ in used], [s for _, s in used])}];")
            w(f"sum = utvm_requantize_double(sum, {factor.multiplier}, {factor.shift}){offset(op.y.zero_point)};")
            place = [(name, stride) for name, stride in zip(outer, row_major(kept), strict=True) if name != "0"]
            w(f"y[{index([n for n, _ in place], [s for _, s in place])}] = (int8_t)utvm_clamp(sum, -128, 127);")
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"mean_{dims(shape)}",
                comment=f"{workload(op)}\nfamily {self.name}",
                parameters=(
                    CParameter(name="x", c_type="int8_t", role="input"),
                    CParameter(name="y", c_type="int8_t", role="output"),
                ),
                body=w.text,
                helpers=("utvm_requantize_double", "utvm_clamp"),
            ),
        )


def _turns(extents: list[int]) -> int:
    """Return the turns of the innermost loop."""
    return next((extent for extent in reversed(extents) if extent > 1), 1)
