"""Softmax by vectors: the most of a row, gathers of exponentials from a table, and their shares of the sum."""

from __future__ import annotations

from utvm.cores import Core
from utvm.graph import Operator, Softmax
from utvm.graph.arithmetic import SOFTMAX_SUM_INTEGER_BITS
from utvm.kernels.base import Config, Kernel
from utvm.kernels.dsp.assembly import assembler_function
from utvm.kernels.helium.family import no_vectors
from utvm.kernels.portable.softmax import PortableSoftmax, softmax_by_calls

_ROW_CYCLES, _FOUR_CYCLES = 220, 32
_MOST = assembler_function(
    "utvm_helium_most_of",
    "int32_t utvm_helium_most_of(const int8_t *x, int32_t count)",
    [
        "push {r4, lr}",
        "mvn r2, #127",
        "wlstp.8 lr, r1, 2f",
        "1:",
        "vldrb.u8 q0, [r0], #16",
        "vmaxv.s8 r2, q0",
        "letp lr, 1b",
        "2:",
        "mov r0, r2",
        "pop {r4, pc}",
    ],
    "the most of count bytes, at least one",
)
_SUM = assembler_function(
    "utvm_helium_exponentials",
    "int32_t utvm_helium_exponentials(const int8_t *x, const int32_t *exponentials, int32_t most, int32_t count)",
    [
        "push {r4, lr}",
        "vdup.32 q3, r2",
        "mov.w r12, #0",
        "wlstp.32 lr, r3, 2f",
        "1:",
        "vldrb.s32 q0, [r0], #4",
        "vsub.i32 q0, q3, q0",
        "vldrw.u32 q1, [r1, q0, uxtw #2]",
        f"vrshr.u32 q1, q1, #{SOFTMAX_SUM_INTEGER_BITS}",
        "vaddva.u32 r12, q1",
        "letp lr, 1b",
        "2:",
        "mov r0, r12",
        "pop {r4, pc}",
    ],
    "the sum of the exponentials at most - x, without their lowest bits",
)
_SHARES = assembler_function(
    "utvm_helium_shares",
    "void utvm_helium_shares(const int8_t *x, int8_t *y, const int32_t *exponentials, int32_t most, int32_t count,\n"
    "    int32_t scale, int32_t right)",
    [
        "push {r4-r6, lr}",
        "ldrd r4, r5, [sp, #16]",
        "ldr r6, [sp, #24]",
        "rsb r6, r6, #0",
        "vdup.32 q3, r3",
        "mvn r3, #127",
        "vmov.i32 q2, #127",
        "wlstp.32 lr, r4, 2f",
        "1:",
        "vldrb.s32 q0, [r0], #4",
        "vsub.i32 q0, q3, q0",
        "vldrw.u32 q1, [r2, q0, uxtw #2]",
        "vqrdmulh.s32 q1, q1, r5",
        "vrshl.s32 q1, r6",
        "vadd.i32 q1, q1, r3",
        "vmin.s32 q1, q1, q2",
        "vstrb.32 q1, [r1], #4",
        "letp lr, 1b",
        "2:",
        "pop {r4-r6, pc}",
    ],
    "the exponentials at most - x times scale, shifted to the right, less 128",
)


class HeliumSoftmax(PortableSoftmax):
    """Softmax over the last dimension."""

    name = "helium"

    def lacks(self, core: Core) -> str | None:
        """Return that the core has no vector extension; None where it has it."""
        return no_vectors(core)

    def about(self, op: Operator, core: Core) -> float | None:
        """Return about how many cycles all rows take."""
        del core
        assert isinstance(op, Softmax)
        depth = op.x.shape[-1]
        return op.x.elements / depth * (_ROW_CYCLES + -(-depth // 4) * _FOUR_CYCLES)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a softmax."""
        assert isinstance(op, Softmax)
        return softmax_by_calls(super().build(op, core, config), op, self.name, _MOST, _SUM, _SHARES)
