"""Fully connected layers in plain C: a schedule of loops."""

from __future__ import annotations

from utvm.codegen import CFunction, CParameter, CWriter
from utvm.cores import Core
from utvm.graph import FullyConnected, Operator
from utvm.graph.definitions.weighted_operators import weighted_compute
from utvm.kernels.base import Config, Kernel, KernelFamily
from utvm.kernels.scheduled_constants import bound_constants
from utvm.kernels.weighted import outputs_at_once
from utvm.kernels.workload_keys import workload
from utvm.loops import Schedule, render


class PortableFullyConnected(KernelFamily):
    """FullyConnected as a loop nest; up to four outputs share each load of an input."""

    name = "portable"
    kinds = (FullyConnected,)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a fully connected layer."""
        del core
        assert isinstance(op, FullyConnected)
        units, inputs = op.weights.shape
        schedule = Schedule.of(*weighted_compute(op)).fold_zero_point().split("oc", outputs_at_once(units))
        schedule = schedule.reorder("p", "oc_o", "k", "oc_i").unroll("oc_i")
        w = CWriter()
        helpers = render(w, schedule)
        parameters, constants = bound_constants(schedule)
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"fully_connected_{inputs}_{units}",
                comment=f"{workload(op)}\nfamily {self.name}",
                parameters=(
                    CParameter(name="x", c_type="int8_t", role="input"),
                    *parameters,
                    CParameter(name="y", c_type="int8_t", role="output"),
                ),
                body=w.text,
                helpers=helpers,
            ),
            constants=constants,
        )
