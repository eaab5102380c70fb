"""Pieces of assembler that all kernels of the vector extension have.

The kernels are whole functions in assembler: GCC 12 knows no vector register, so none may live across its code. All
vector registers are the caller's to save (RISC-V vector calling convention), and so is the rounding mode.
"""

from __future__ import annotations

from collections.abc import Sequence

from utvm.codegen import CParameter, CSupport
from utvm.cores import Core
from utvm.kernels.base import KernelFamily
from utvm.kernels.dsp.assembly import assembler_function

_SAVED = tuple(f"s{number}" for number in range(12))
_ROUND_HALVES_UP = "csrwi vxrm, 0"


WEIGHTED_PARAMETERS = (
    CParameter(name="x", c_type="int8_t", role="input"),
    CParameter(name="weights", c_type="int8_t", role="constant"),
    CParameter(name="finish", c_type="int32_t", role="constant"),
    CParameter(name="shape", c_type="int32_t", role="constant"),
)
OUTPUT = CParameter(name="y", c_type="int8_t", role="output")


def no_vectors(core: Core) -> str | None:
    """Return that a core lacks the vector extension of RISC-V; None where it has it."""
    return None if core.zve32x else f"{core.name} has no vector extension of RISC-V"


class RvvFamily(KernelFamily):
    """A family for cores with the vector extension of RISC-V."""

    def lacks(self, core: Core) -> str | None:
        """Return that the core has no vector extension; None where it has it."""
        return no_vectors(core)


def vector_function(name: str, prototype: str, lines: Sequence[str], comment: str, *, saved: int = 0) -> CSupport:
    """Return a function around `lines`, with rounding to nearest, halves up.

    Args:
        name: its symbol.
        prototype: its C declaration, without the semicolon.
        lines: labels and instructions, without the return.
        comment: what it does.
        saved: how many of s0 and on it changes.
    """
    frame = -(-4 * saved // 16) * 16
    kept = [(register, 4 * place) for place, register in enumerate(_SAVED[:saved])]
    body = [
        ".option push",
        ".option arch, +zicsr, +zve32x",
        *([f"addi sp, sp, -{frame}"] if frame else []),
        *(f"sw {register}, {place}(sp)" for register, place in kept),
        _ROUND_HALVES_UP,
        *lines,
        *(f"lw {register}, {place}(sp)" for register, place in kept),
        *([f"addi sp, sp, {frame}"] if frame else []),
        "ret",
        ".option pop",
    ]
    return assembler_function(name, prototype, body, comment, directives=(".balign 4",))


def group(first: int, size: int, index: int) -> str:
    """Return the name of register group `index` of groups of `size` registers from register `first`."""
    return f"v{first + size * index}"


COPY = vector_function(
    "utvm_rvv_copy",
    "void utvm_rvv_copy(int8_t *to, const int8_t *from, int32_t count)",
    [
        "beqz a2, 2f",
        "1:",
        "vsetvli t0, a2, e8, m8, ta, ma",
        "vle8.v v0, (a1)",
        "add a1, a1, t0",
        "sub a2, a2, t0",
        "vse8.v v0, (a0)",
        "add a0, a0, t0",
        "bnez a2, 1b",
        "2:",
    ],
    "count bytes",
)
FILL = vector_function(
    "utvm_rvv_fill",
    "void utvm_rvv_fill(int8_t *to, int32_t value, int32_t count)",
    [
        "beqz a2, 2f",
        "vsetvli t0, x0, e8, m8, ta, ma",
        "vmv.v.x v0, a1",
        "1:",
        "vsetvli t0, a2, e8, m8, ta, ma",
        "vse8.v v0, (a0)",
        "sub a2, a2, t0",
        "add a0, a0, t0",
        "bnez a2, 1b",
        "2:",
    ],
    "count times one byte",
)
