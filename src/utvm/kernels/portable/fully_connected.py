"""Fully connected layers in plain C."""

from __future__ import annotations

from utvm.codegen import CFunction, CWriter
from utvm.cores import Core
from utvm.graph import FullyConnected, Operator
from utvm.kernels.base import Config, Kernel, KernelFamily
from utvm.kernels.weighted import (
    WEIGHTED_PARAMETERS,
    accumulators,
    outputs_at_once,
    weighted_constants,
    write_products,
    write_requantized,
)
from utvm.kernels.workload_keys import workload


class PortableFullyConnected(KernelFamily):
    """FullyConnected as a loop nest; up to four outputs share each load of an input."""

    name = "portable"
    kinds = (FullyConnected,)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a fully connected layer."""
        del core
        assert isinstance(op, FullyConnected)
        units, inputs = op.weights.shape
        block = outputs_at_once(units)
        w = CWriter()
        with w.loop("n", op.x.elements // inputs), w.loop("o", units, step=block):
            accumulators(w, block, "o")
            w(f"const int8_t *px = x + n * {inputs};", f"const int8_t *pw = weights + o * {inputs};")
            write_products(w, op, block=block, run=inputs, apart=inputs)
            helpers = write_requantized(w, op, count=block, channel="o", target=f"y[n * {units} + o")
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"fully_connected_{inputs}_{units}",
                comment=f"{workload(op)}\nfamily {self.name}",
                parameters=WEIGHTED_PARAMETERS,
                body=w.text,
                helpers=helpers,
            ),
            constants=weighted_constants(op),
        )
