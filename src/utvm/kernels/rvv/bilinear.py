"""Bilinear resizing by vectors: two rows are blended into a line, and the columns of the line into pixels.

Sums are those of four products of the definition, since the weights of a pixel are products of a row's and a column's.
Channels are lanes; pixels of few channels are gathered from the line, several at once.
"""

from __future__ import annotations

import numpy as np

from utvm.codegen import CArray, CFunction, CParameter, CWriter
from utvm.cores import Core
from utvm.graph import Operator, ResizeBilinear
from utvm.graph.arithmetic import BILINEAR_FRACTION_BITS, BilinearPositions, bilinear_positions
from utvm.kernels.base import Config, Kernel
from utvm.kernels.rvv.code import RvvFamily, vector_function
from utvm.kernels.rvv.finish import narrowed
from utvm.kernels.workload_keys import dims, workload

_GROUP = 8
_WORD = 4
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
        batch, height, width, channels = op.x.shape
        _, out_height, out_width, _ = op.y.shape
        row = width * channels
        rows, columns = bilinear_positions(op)
        starts = [each * row for each in (rows.first, rows.second)]
        gathers = _gathers(op)
        tables = {
            "rows": CArray(c_type="int32_t", values=np.stack([*starts, rows.fraction], axis=1)),
            "columns": CArray(
                c_type=f"int{16 if gathers else 32}_t",
                values=_elements(columns, channels) if gathers else _pixels(columns, channels),
            ),
        }
        w = CWriter()
        with w.loop("n", batch), w.loop("oy", out_height):
            w("const int32_t *const place = rows + oy * 3;")
            w(f"const int8_t *const image = x + n * {height * row};")
            w(f"int8_t *const to = y + (n * {out_height} + oy) * {out_width * channels};")
            w(f"{_BLENDED.name}(line, image + place[0], image + place[1], place[2], {row});")
            if gathers:
                w(f"{_GATHERED.name}(line, to, columns, {out_width * channels});")
            else:
                w(f"{_COLUMNS.name}(line, to, columns, {out_width}, {channels});")
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"resizebilinear_{dims(op.y.shape)}_rvv",
                comment=f"{workload(op)}\nfamily {self.name}",
                parameters=(
                    CParameter(name="x", c_type="int8_t", role="input"),
                    *(CParameter(name=name, c_type=a.c_type, role="constant") for name, a in tables.items()),
                    CParameter(name="line", c_type="int32_t", role="scratch"),
                    CParameter(name="y", c_type="int8_t", role="output"),
                ),
                body=w.text,
                support=(_BLENDED, _GATHERED if gathers else _COLUMNS),
            ),
            constants=tables,
            scratch_bytes=row * _WORD,
        )


def _gathers(op: ResizeBilinear) -> bool:
    """Return whether elements are gathered one by one."""
    _, _, width, channels = op.x.shape
    return channels < _FEW and width * channels <= _MOST_GATHERED


def _pixels(columns: BilinearPositions, channels: int) -> np.ndarray:
    """Return what is read of each pixel, int32 [pixels, 3]."""
    places = [each * channels * _WORD for each in (columns.first, columns.second)]
    return np.stack([*places, columns.fraction], axis=1)


def _elements(columns: BilinearPositions, channels: int) -> np.ndarray:
    """Return the places of the first columns of all elements, of their second ones, and fractions. int16."""
    places = [
        ((each[:, None] * channels + np.arange(channels)) * _WORD).reshape(-1)
        for each in (columns.first, columns.second)
    ]
    fractions = np.repeat(columns.fraction, channels)
    return np.concatenate([*places, fractions & 0xFFFF]).astype(np.uint16).view(np.int16)
