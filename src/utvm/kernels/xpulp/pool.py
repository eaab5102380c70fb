"""Maximum pooling, four channels at once."""

from __future__ import annotations

from utvm.cores import Core
from utvm.graph import MaxPool2D, Operator
from utvm.kernels.base import Config, Kernel
from utvm.kernels.pool_calls import max_pool_by_calls
from utvm.kernels.xpulp.code import (
    XpulpFamily,
    higher_bytes,
    higher_of,
    load_byte_step_by,
    load_step_by,
    lower_bytes,
    lower_of,
    repeat,
    store_step,
    xpulp_function,
)

_ROWS = ["mv t2, a0", "mv t3, a4"]
_NEXT_ROW = ["add t2, t2, a3", "addi t3, t3, -1"]
_MOST = xpulp_function(
    "utvm_xpulp_most",
    "void utvm_xpulp_most(const int8_t *x, int8_t *y, int32_t channels, int32_t row, int32_t rows, int32_t taps,\n"
    "    int32_t low, int32_t high)",
    [
        *["srli t1, a2, 2", "li t6, 0x01010101", "andi s0, a6, 255", "andi s1, a7, 255"],
        *["mul s0, s0, t6", "mul s1, s1, t6", "beqz t1, 3f"],
        "1:",
        *["mv t0, s0", *_ROWS],
        "2:",
        "mv t4, t2",
        *repeat("a5", [load_step_by("t5", "t4", "a2"), "nop", higher_bytes("t0", "t0", "t5")]),
        *[*_NEXT_ROW, "bnez t3, 2b"],
        lower_bytes("t0", "t0", "s1"),
        store_step("t0", "a1", 4),
        *["addi a0, a0, 4", "addi t1, t1, -1", "bnez t1, 1b"],
        "3:",
        *["andi t1, a2, 3", "beqz t1, 6f"],
        "4:",
        *["mv t0, a6", *_ROWS],
        "5:",
        "mv t4, t2",
        *repeat("a5", [load_byte_step_by("t5", "t4", "a2"), "nop", higher_of("t0", "t0", "t5")]),
        *[*_NEXT_ROW, "bnez t3, 5b"],
        lower_of("t0", "t0", "a7"),
        *["sb t0, 0(a1)", "addi a1, a1, 1", "addi a0, a0, 1", "addi t1, t1, -1", "bnez t1, 4b"],
        "6:",
    ],
    "the most of a window of rows of taps, clamped, for each channel",
)


class XpulpMaxPool2D(XpulpFamily):
    """MaxPool2D of any window and clamp."""

    name = "xpulp"
    kinds = (MaxPool2D,)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a maximum pooling."""
        del core
        assert isinstance(op, MaxPool2D)
        return max_pool_by_calls(op, self.name, config, _MOST)
