"""Bilinear resizing by vectors: two rows are blended into a line, and the columns of the line into pixels.

Sums are those of four products of the definition, since the weights of a pixel are products of a row's and a column's.
Channels are lanes; pixels of few channels are gathered from the line, several at once.
"""

from __future__ import annotations

import numpy as np

from utvm.cores import Core
from utvm.graph import Operator, ResizeBilinear
from utvm.graph.arithmetic import BILINEAR_FRACTION_BITS
from utvm.kernels.base import Config, Kernel
from utvm.kernels.resize_calls import bilinear_by_calls, element_columns
from utvm.kernels.rvv.code import RvvFamily, vector_function
from utvm.kernels.rvv.finish import narrowed

_GROUP = 8
_ONE = 1 << BILINEAR_FRACTION_BITS
_FEW = 8
"""Channels from which pixels are worth a turn each."""
_MOST_GATHERED = 1 << 14
"""Words of a line whose places fit 16 bits."""
_ROW, _BLEND, _PIXEL, _STRIP, _GATHER = 40, 14, 9, 20, 25
"""Instructions of a row, and of strips and pixels within it."""
_ROUNDED = [
    # To nearest, halves away from zero.
    "vsra.vi v16, v8, 31",
    "vadd.vv v8, v8, v16",
    f"vssra.vi v8, v8, {2 * BILINEAR_FRACTION_BITS}",
    *narrowed(["v8"], _GROUP),
    "vse8.v v8, (a1)",
    "add a1, a1, t0",
]
_BLENDED = vector_function(
    "utvm_rvv_blend",
    "void utvm_rvv_blend(int32_t *line, const int8_t *first, const int8_t *second, int32_t fraction, int32_t count)",
    [
        f"li a5, {_ONE}",
        "sub a5, a5, a3",
        "1:",
        f"vsetvli t0, a4, e8, m{_GROUP // 4}, ta, ma",
        "vle8.v v0, (a1)",
        "vle8.v v4, (a2)",
        f"vsetvli x0, x0, e32, m{_GROUP}, ta, ma",
        "vsext.vf4 v8, v0",
        "vsext.vf4 v16, v4",
        "vmul.vx v8, v8, a5",
        "vmacc.vx v8, a3, v16",
        "vse32.v v8, (a0)",
        "add a1, a1, t0",
        "add a2, a2, t0",
        "sub a4, a4, t0",
        "slli t0, t0, 2",
        "add a0, a0, t0",
        "bnez a4, 1b",
    ],
    "count elements of two rows, by a fraction",
)
_COLUMNS = vector_function(
    "utvm_rvv_columns",
    "void utvm_rvv_columns(const int32_t *line, int8_t *y, const int32_t *columns, int32_t pixels, int32_t channels)",
    [
        "1:",
        "lw t1, 0(a2)",
        "lw t2, 4(a2)",
        "lw t3, 8(a2)",
        "addi a2, a2, 12",
        "add t1, t1, a0",
        "add t2, t2, a0",
        f"li t4, {_ONE}",
        "sub t4, t4, t3",
        "mv t5, a4",
        "2:",
        f"vsetvli t0, t5, e32, m{_GROUP}, ta, ma",
        "vle32.v v8, (t1)",
        "vle32.v v16, (t2)",
        "sub t5, t5, t0",
        "slli t6, t0, 2",
        "add t1, t1, t6",
        "add t2, t2, t6",
        "vmul.vx v8, v8, t4",
        "vmacc.vx v8, t3, v16",
        *_ROUNDED,
        "bnez t5, 2b",
        "addi a3, a3, -1",
        "bnez a3, 1b",
    ],
    "pixels; columns: of each the bytes from the line to its first and second column, and its fraction",
)
_GATHERED = vector_function(
    "utvm_rvv_gathered_columns",
    "void utvm_rvv_gathered_columns(const int32_t *line, int8_t *y, const int16_t *columns, int32_t count)",
    [
        "slli t1, a3, 1",
        "add t2, a2, t1",
        "add t3, t2, t1",
        "1:",
        f"vsetvli t0, a3, e16, m{_GROUP // 2}, ta, ma",
        "vle16.v v0, (a2)",
        "vle16.v v4, (t2)",
        "vle16.v v24, (t3)",
        "sub a3, a3, t0",
        "slli t1, t0, 1",
        "add a2, a2, t1",
        "add t2, t2, t1",
        "add t3, t3, t1",
        f"vsetvli x0, x0, e32, m{_GROUP}, ta, ma",
        "vluxei16.v v8, (a0), v0",
        "vluxei16.v v16, (a0), v4",
        "vsext.vf2 v0, v24",
        "vsub.vv v16, v16, v8",
        "vmul.vv v16, v16, v0",
        f"vsll.vi v8, v8, {BILINEAR_FRACTION_BITS}",
        "vadd.vv v8, v8, v16",
        *_ROUNDED,
        "bnez a3, 1b",
    ],
    "count elements; columns: the bytes from the line to all first columns, to all second ones, all fractions",
)


class RvvResizeBilinear(RvvFamily):
    """ResizeBilinear of any sizes and alignment."""

    name = "rvv"
    kinds = (ResizeBilinear,)

    def about(self, op: Operator, core: Core) -> float | None:
        """Return about how many instructions all rows take."""
        assert isinstance(op, ResizeBilinear)
        batch, height, width, channels = op.y.shape
        lanes = core.zve32x // 32 * _GROUP
        row = _ROW + _BLEND * -(-op.x.shape[2] * channels // lanes)
        row += _GATHER * -(-width * channels // lanes) if _gathers(op) else 0
        row += 0 if _gathers(op) else width * (_PIXEL + _STRIP * -(-channels // lanes))
        return float(batch * height * row)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a bilinear resize."""
        del core
        assert isinstance(op, ResizeBilinear)
        if not _gathers(op):
            return bilinear_by_calls(op, self.name, config, _BLENDED, _COLUMNS, elements=None)
        # The places of the first columns of all elements, of their second ones, and fractions.
        elements = (np.concatenate(element_columns(op)) & 0xFFFF).astype(np.uint16).view(np.int16)
        return bilinear_by_calls(op, self.name, config, _BLENDED, _GATHERED, elements=elements)


def _gathers(op: ResizeBilinear) -> bool:
    """Return whether elements are gathered one by one."""
    _, _, width, channels = op.x.shape
    return channels < _FEW and width * channels <= _MOST_GATHERED
