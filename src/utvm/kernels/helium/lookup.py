"""Operators on single bytes: by gathers from a table of all 256, or by a saturating addition and a clamp."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from utvm.codegen import CSupport, statements
from utvm.cores import Core
from utvm.graph import Operator
from utvm.kernels.base import Config, Kernel
from utvm.kernels.dsp.assembly import assembler_function
from utvm.kernels.helium.code import constant
from utvm.kernels.helium.family import no_vectors
from utvm.kernels.portable.lookup import PortableLookup

_VECTOR = 16
_CALL_CYCLES, _GATHER_CYCLES = 60, 23
_LOOKUP = assembler_function(
    "utvm_helium_lookup",
    "void utvm_helium_lookup(const void *x, const uint8_t *table, void *y, int32_t count)",
    [
        "push {r4, lr}",
        "wlstp.8 lr, r3, 2f",
        "1:",
        "vldrb.u8 q0, [r0], #16",
        "vldrb.u8 q1, [r1, q0]",
        "vstrb.8 q1, [r2], #16",
        "letp lr, 1b",
        "2:",
        "pop {r4, pc}",
    ],
    "count bytes, each by the table at its unsigned value",
)


class HeliumLookup(PortableLookup):
    """What `PortableLookup` serves. Tables that say `min(max(x + d, low), high)` are not read."""

    name = "helium"

    def lacks(self, core: Core) -> str | None:
        """Return that the core has no vector extension; None where it has it."""
        return no_vectors(core)

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return why `op` does not map each byte by itself, or what the core lacks."""
        return self.lacks(core) or super().refusal(op, core)

    def about(self, op: Operator, core: Core) -> float | None:
        """Return about how many cycles all vectors take."""
        del core
        return _CALL_CYCLES + -(-op.outputs[0].elements // _VECTOR) * _GATHER_CYCLES

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a table look-up."""
        plain = super().build(op, core, config)
        count = op.outputs[0].elements
        function = replace(plain.function, stem=f"{plain.function.stem}_helium", helpers=())
        shifted = _shift(np.roll(plain.constants["table"].values, 128))
        if shifted is None:
            call = statements(f"{_LOOKUP.name}(x, table, y, {count});")
            return replace(plain, family=self.name, function=replace(function, body=call, support=(_LOOKUP,)))
        parameters = tuple(p for p in function.parameters if p.role != "constant")
        call = statements(f"{shifted.name}(x, y, {count});")
        function = replace(function, parameters=parameters, body=call, support=(shifted,))
        return replace(plain, family=self.name, function=function, constants={})


def _shift(table: NDArray[np.uint8]) -> CSupport | None:
    """Return the function of a table, of inputs from -128 on, if an addition and a clamp have its results."""
    x, y = np.arange(-128, 128), table.view(np.int8).astype(np.int64)
    low, high = int(y.min()), int(y.max())
    for by in sorted(set((y - x).tolist()), key=abs):
        if -128 <= by <= 127 and bool((np.clip(x + by, low, high) == y).all()):
            return _shifting(by, low, high)
    return None


def _shifting(by: int, low: int, high: int) -> CSupport:
    """Return `void name(const void *x, void *y, int32_t count)`: y = min(max(x + by, low), high) of bytes."""
    numbers = "_".join(f"{'m' if value < 0 else ''}{abs(value)}" for value in (by, low, high))
    name = f"utvm_helium_shift_{numbers}"
    lines = ["push {r4, lr}", *constant("r4", by & 0xFF)]
    for register, value in (("q2", low), ("q3", high)):
        lines += [*constant("r3", value & 0xFF), f"vdup.8 {register}, r3"]
    lines += ["wlstp.8 lr, r2, 2f", "1:", "vldrb.u8 q0, [r0], #16"]
    lines += ["vqadd.s8 q0, q0, r4"] if by else []
    lines += ["vmax.s8 q0, q0, q2"] if low > -128 else []
    lines += ["vmin.s8 q0, q0, q3"] if high < 127 else []
    lines += ["vstrb.8 q0, [r1], #16", "letp lr, 1b", "2:", "pop {r4, pc}"]
    prototype = f"void {name}(const void *x, void *y, int32_t count)"
    return assembler_function(name, prototype, lines, f"count bytes plus {by}, from {low} to {high}")
