"""Operators on single int8 values, by a table of all 256."""

from __future__ import annotations

from utvm.codegen import CArray, CFunction, CParameter, CWriter
from utvm.cores import Core
from utvm.graph import LeakyRelu, Logistic, Operator, Quantize, Relu, Relu6
from utvm.graph.arithmetic import LookupOperator, is_lookup, lookup_table
from utvm.kernels.base import Config, Kernel, KernelFamily
from utvm.kernels.workload import dims, workload


class PortableLookup(KernelFamily):
    """Logistic, Relu, Relu6, LeakyRelu, and Quantize from int8 to int8."""

    name = "portable"
    kinds = (Logistic, Relu, Relu6, LeakyRelu, Quantize)

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return why `op` does not map each int8 value by itself."""
        return super().refusal(op, core) or (None if is_lookup(op) else "it is not from int8 to int8")

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a table look-up."""
        del core
        assert isinstance(op, LookupOperator)
        w = CWriter()
        with w.loop("i", op.x.elements):
            w("y[i] = table[x[i] + 128];")
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"lookup_{dims(op.x.shape)}",
                comment=f"{workload(op)}\nfamily {self.name}",
                parameters=(
                    CParameter(name="x", c_type="int8_t", role="input"),
                    CParameter(name="table", c_type="int8_t", role="constant"),
                    CParameter(name="y", c_type="int8_t", role="output"),
                ),
                body=w.text,
            ),
            constants={"table": CArray(c_type="int8_t", values=lookup_table(op))},
            in_place=(0,),
        )
