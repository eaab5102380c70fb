"""Operators on single bytes, by a table of all 256: loads by two registers, results stored as words."""

from __future__ import annotations

from dataclasses import replace

from utvm.codegen import statements
from utvm.cores import Core
from utvm.graph import Operator
from utvm.kernels.base import Config, Kernel
from utvm.kernels.portable.lookup import PortableLookup
from utvm.kernels.xpulp.code import (
    load_indexed_byte,
    load_unsigned_byte_step,
    no_xpulp,
    pack_bytes,
    repeat,
    store_step,
    xpulp_function,
)

_VALUES = ("t1", "t2", "t3", "t4")
_LOOKUP = xpulp_function(
    "utvm_xpulp_lookup",
    "void utvm_xpulp_lookup(const void *x, const uint8_t *table, void *y, int32_t count)",
    [
        "srli t0, a3, 2",
        "beqz t0, 1f",
        *repeat(
            "t0",
            [
                *(load_unsigned_byte_step(value, "a0", 1) for value in _VALUES),
                *(load_indexed_byte(value, "a1", value) for value in _VALUES),
                *pack_bytes(_VALUES[0], _VALUES),
                store_step(_VALUES[0], "a2", 4),
            ],
        ),
        "1:",
        "andi a3, a3, 3",
        "beqz a3, 3f",
        "2:",
        load_unsigned_byte_step("t1", "a0", 1),
        "addi a3, a3, -1",
        load_indexed_byte("t1", "a1", "t1"),
        "addi a2, a2, 1",
        "sb t1, -1(a2)",
        "bnez a3, 2b",
        "3:",
    ],
    "count bytes, each by the table at its unsigned value",
)
_CALL_CYCLES, _CYCLES = 40, 2.75


class XpulpLookup(PortableLookup):
    """What `PortableLookup` serves."""

    name = "xpulp"

    def lacks(self, core: Core) -> str | None:
        """Return that the core has no Xpulp extension; None where it has it."""
        return no_xpulp(core)

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return why `op` does not map each byte by itself, or what the core lacks."""
        return self.lacks(core) or super().refusal(op, core)

    def about(self, op: Operator, core: Core) -> float | None:
        """Return about how many cycles it takes."""
        del core
        return _CALL_CYCLES + _CYCLES * op.outputs[0].elements

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a table look-up."""
        plain = super().build(op, core, config)
        (output,) = op.outputs
        function = replace(
            plain.function,
            stem=f"{plain.function.stem}_xpulp",
            body=statements(f"{_LOOKUP.name}(x, table, y, {output.elements});"),
            helpers=(),
            support=(_LOOKUP,),
        )
        return replace(plain, function=function)
