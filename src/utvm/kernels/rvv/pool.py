"""Maximum pooling by vectors of channels."""

from __future__ import annotations

from utvm.cores import Core
from utvm.graph import MaxPool2D
from utvm.graph.operators import Operator
from utvm.kernels.base import Config, Kernel
from utvm.kernels.pool_calls import max_pool_by_calls
from utvm.kernels.rvv.code import RvvFamily, vector_function

_MOST = vector_function(
    "utvm_rvv_most",
    "void utvm_rvv_most(const int8_t *x, int8_t *y, int32_t channels, int32_t row, int32_t rows, int32_t taps,\n"
    "    int32_t low, int32_t high)",
    [
        "mv t1, a2",
        "1:",
        "vsetvli t0, t1, e8, m8, ta, ma",
        "vmv.v.x v0, a6",
        "mv t2, a0",
        "mv t3, a4",
        "2:",
        "mv t4, t2",
        "mv t5, a5",
        "3:",
        "vle8.v v8, (t4)",
        "add t4, t4, a2",
        "vmax.vv v0, v0, v8",
        "addi t5, t5, -1",
        "bnez t5, 3b",
        "add t2, t2, a3",
        "addi t3, t3, -1",
        "bnez t3, 2b",
        "vmin.vx v0, v0, a7",
        "vse8.v v0, (a1)",
        "add a0, a0, t0",
        "add a1, a1, t0",
        "sub t1, t1, t0",
        "bnez t1, 1b",
    ],
    "the most of a window of rows of taps, clamped, for each channel",
)


class RvvMaxPool2D(RvvFamily):
    """MaxPool2D of any window and clamp."""

    name = "rvv"
    kinds = (MaxPool2D,)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a maximum pooling."""
        del core
        assert isinstance(op, MaxPool2D)
        return max_pool_by_calls(op, self.name, config, _MOST)
