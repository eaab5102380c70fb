"""Softmax by vectors: the most of a row, gathers of exponentials from a table, and their shares of the sum."""

from __future__ import annotations

from collections.abc import Sequence

from utvm.cores import Core
from utvm.graph import Operator, Softmax
from utvm.graph.arithmetic import SOFTMAX_SUM_INTEGER_BITS
from utvm.kernels.base import Config, Kernel
from utvm.kernels.portable.softmax import PortableSoftmax, softmax_by_calls
from utvm.kernels.rvv.code import no_vectors, vector_function
from utvm.kernels.rvv.finish import narrowed

_GROUP = 8
_ROW_INSTRUCTIONS, _STRIP_INSTRUCTIONS = 130, 42
"""Instructions of a row beside its strips, and of a strip in all three functions."""
_VALUE, _BYTES, _PLACES, _SUM = "v8", "v0", "v4", "v16"


def _exponentials(table: str, most: str) -> list[str]:
    """Return the lines that gather the exponentials of a strip of bytes: places are of 16 bits, 1020 at most."""
    return [
        f"vrsub.vx {_BYTES}, {_BYTES}, {most}",
        f"vsetvli x0, x0, e16, m{_GROUP // 2}, ta, ma",
        f"vzext.vf2 {_PLACES}, {_BYTES}",
        f"vsll.vi {_PLACES}, {_PLACES}, 2",
        f"vsetvli x0, x0, e32, m{_GROUP}, ta, ma",
        f"vluxei16.v {_VALUE}, ({table}), {_PLACES}",
    ]


def _strips(x: str, count: str, body: Sequence[str]) -> list[str]:
    """Return the loop over strips of a row: bytes at `x`, of which t0 are in a strip."""
    start = [f"vsetvli t0, {count}, e8, m{_GROUP // 4}, ta, ma", f"vle8.v {_BYTES}, ({x})"]
    return ["1:", *start, f"add {x}, {x}, t0", *body, f"sub {count}, {count}, t0", f"bnez {count}, 1b"]


_MOST = vector_function(
    "utvm_rvv_most_of",
    "int32_t utvm_rvv_most_of(const int8_t *x, int32_t count)",
    [
        "vsetvli t0, x0, e8, m1, ta, ma",
        "li t1, -128",
        "vmv.v.x v16, t1",
        "1:",
        f"vsetvli t0, a1, e8, m{_GROUP}, ta, ma",
        "vle8.v v0, (a0)",
        "add a0, a0, t0",
        "sub a1, a1, t0",
        "vredmax.vs v16, v0, v16",
        "bnez a1, 1b",
        "vmv.x.s a0, v16",
    ],
    "the most of count bytes, at least one",
)
_TOTAL = vector_function(
    "utvm_rvv_exponentials",
    "int32_t utvm_rvv_exponentials(const int8_t *x, const int32_t *exponentials, int32_t most, int32_t count)",
    [
        "vsetvli t0, x0, e32, m1, ta, ma",
        f"vmv.v.i {_SUM}, 0",
        *_strips(
            "a0",
            "a3",
            [
                *_exponentials("a1", "a2"),
                f"vssrl.vi {_VALUE}, {_VALUE}, {SOFTMAX_SUM_INTEGER_BITS}",
                f"vredsum.vs {_SUM}, {_VALUE}, {_SUM}",
            ],
        ),
        f"vmv.x.s a0, {_SUM}",
    ],
    "the sum of the exponentials at most - x, without their lowest bits",
)
_SHARES = vector_function(
    "utvm_rvv_shares",
    "void utvm_rvv_shares(const int8_t *x, int8_t *y, const int32_t *exponentials, int32_t most, int32_t count,\n"
    "    int32_t scale, int32_t right)",
    [
        "li t1, -128",
        "li t2, 127",
        *_strips(
            "a0",
            "a4",
            [
                *_exponentials("a2", "a3"),
                f"vsmul.vx {_VALUE}, {_VALUE}, a5",
                f"vssra.vx {_VALUE}, {_VALUE}, a6",
                f"vadd.vx {_VALUE}, {_VALUE}, t1",
                f"vmin.vx {_VALUE}, {_VALUE}, t2",
                *narrowed([_VALUE], _GROUP),
                f"vse8.v {_VALUE}, (a1)",
                "add a1, a1, t0",
            ],
        ),
    ],
    "the exponentials at most - x times scale, shifted to the right, less 128",
)


class RvvSoftmax(PortableSoftmax):
    """Softmax over the last dimension."""

    name = "rvv"

    def lacks(self, core: Core) -> str | None:
        """Return that the core has no vector extension; None where it has it."""
        return no_vectors(core)

    def about(self, op: Operator, core: Core) -> float | None:
        """Return about how many instructions all rows take."""
        assert isinstance(op, Softmax)
        depth = op.x.shape[-1]
        strips = -(-depth // (core.zve32x // 32 * _GROUP))
        return op.x.elements / depth * (_ROW_INSTRUCTIONS + strips * _STRIP_INSTRUCTIONS)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a softmax."""
        assert isinstance(op, Softmax)
        return softmax_by_calls(super().build(op, core, config), op, self.name, _MOST, _TOTAL, _SHARES)
