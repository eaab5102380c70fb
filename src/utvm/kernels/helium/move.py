"""Copies and fills of bytes by vectors whose last one is predicated: nothing behind the end is touched."""

from __future__ import annotations

from utvm.kernels.dsp.assembly import assembler_function

COPY = assembler_function(
    "utvm_helium_copy",
    "void utvm_helium_copy(int8_t *to, const int8_t *from, int32_t count)",
    [
        "push {r4, lr}",
        "wlstp.8 lr, r2, 2f",
        "1:",
        "vldrb.u8 q0, [r1], #16",
        "vstrb.8 q0, [r0], #16",
        "letp lr, 1b",
        "2:",
        "pop {r4, pc}",
    ],
    "count bytes",
)
FILL = assembler_function(
    "utvm_helium_fill",
    "void utvm_helium_fill(int8_t *to, int32_t value, int32_t count)",
    [
        "push {r4, lr}",
        "vdup.8 q0, r1",
        "wlstp.8 lr, r2, 2f",
        "1:",
        "vstrb.8 q0, [r0], #16",
        "letp lr, 1b",
        "2:",
        "pop {r4, pc}",
    ],
    "count times one byte",
)


def copy_cycles(count: int) -> float:
    """Return about how many cycles a copy takes."""
    return 16 + 5 * -(-count // 16)


def fill_cycles(count: int) -> float:
    """Return about how many cycles a fill takes; none where there is nothing to fill."""
    return 16 + 2 * -(-count // 16) if count else 0.0
