"""Operators on single bytes, by a table of all 256."""

from __future__ import annotations

from utvm.codegen import CArray, CFunction, CParameter, CWriter
from utvm.cores import Core
from utvm.graph import LeakyRelu, Logistic, Operator, Quantize, Relu, Relu6, Tanh
from utvm.graph.arithmetic import LookupOperator, byte_range, is_lookup, lookup_table
from utvm.kernels.base import Config, Kernel, KernelFamily
from utvm.kernels.weighted import offset
from utvm.kernels.workload import dims, workload


class PortableLookup(KernelFamily):
    """Logistic, Tanh, Relu, Relu6, LeakyRelu, and Quantize between int8 and uint8."""

    name = "portable"
    kinds = (Logistic, Tanh, Relu, Relu6, LeakyRelu, Quantize)

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return why `op` does not map each byte by itself."""
        return super().refusal(op, core) or (None if is_lookup(op) else "it is not between int8 and uint8")

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a table look-up."""
        del core
        assert isinstance(op, LookupOperator)
        least, _ = byte_range(op.x.dtype)
        w = CWriter()
        with w.loop("i", op.x.elements):
            w(f"y[i] = table[x[i]{offset(-least)}];")
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"lookup_{dims(op.x.shape)}",
                comment=f"{workload(op)}\nfamily {self.name}",
                parameters=(
                    CParameter(name="x", c_type=op.x.dtype.c_type, role="input"),
                    CParameter(name="table", c_type=op.y.dtype.c_type, role="constant"),
                    CParameter(name="y", c_type=op.y.dtype.c_type, role="output"),
                ),
                body=w.text,
            ),
            constants={"table": CArray(c_type=op.y.dtype.c_type, values=lookup_table(op))},
            in_place=(0,),
        )
