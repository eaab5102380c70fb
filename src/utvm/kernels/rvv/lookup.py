"""Operators on single bytes, by gathers from a table of all 256."""

from __future__ import annotations

from dataclasses import replace

from utvm.codegen import statements
from utvm.cores import Core
from utvm.graph import Operator
from utvm.kernels.base import Config, Kernel
from utvm.kernels.portable.lookup import PortableLookup
from utvm.kernels.rvv.code import no_vectors, vector_function

_LOOKUP = vector_function(
    "utvm_rvv_lookup",
    "void utvm_rvv_lookup(const void *x, const uint8_t *table, void *y, int32_t count)",
    [
        "1:",
        "vsetvli t0, a3, e8, m8, ta, ma",
        "vle8.v v0, (a0)",
        "vluxei8.v v8, (a1), v0",
        "vse8.v v8, (a2)",
        "add a0, a0, t0",
        "add a2, a2, t0",
        "sub a3, a3, t0",
        "bnez a3, 1b",
    ],
    "count bytes, each by the table at its unsigned value",
)


class RvvLookup(PortableLookup):
    """What `PortableLookup` serves."""

    name = "rvv"

    def lacks(self, core: Core) -> str | None:
        """Return that the core has no vector extension; None where it has it."""
        return no_vectors(core)

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return why `op` does not map each byte by itself, or what the core lacks."""
        return self.lacks(core) or super().refusal(op, core)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a table look-up."""
        plain = super().build(op, core, config)
        (output,) = op.outputs
        function = replace(
            plain.function,
            stem=f"{plain.function.stem}_rvv",
            body=statements(f"{_LOOKUP.name}(x, table, y, {output.elements});"),
            helpers=(),
            support=(_LOOKUP,),
        )
        return replace(plain, function=function)
