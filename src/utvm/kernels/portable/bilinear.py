"""Bilinear resizing in plain C, by tables of positions.

Not a schedule of loops: places and weights are made once a pixel for all channels, and a Compute has no such values.
"""

from __future__ import annotations

from collections.abc import Sequence

from utvm.codegen import CArray, CFunction, CParameter, CWriter
from utvm.cores import Core
from utvm.graph import Operator, ResizeBilinear
from utvm.graph.arithmetic import bilinear_positions
from utvm.kernels.base import Config, Kernel, KernelFamily
from utvm.kernels.weighted import offset
from utvm.kernels.workload_keys import dims, workload

_AT_ONCE = 2
"""Channels of a turn: their loads come before their stores, as many as registers hold."""


class PortableResizeBilinear(KernelFamily):
    """ResizeBilinear; sums of four products fit 32 bits, since weights add up to 2^20."""

    name = "portable"
    kinds = (ResizeBilinear,)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a bilinear resize."""
        del core
        assert isinstance(op, ResizeBilinear)
        batch, height, width, channels = op.x.shape
        _, out_height, out_width, _ = op.y.shape
        w = CWriter()
        with w.loop("n", batch), w.loop("oy", out_height):
            w("const int32_t below = row_fraction[oy];")
            w(f"const int8_t *first_row = x + (n * {height} + first_rows[oy]) * {width * channels};")
            w(f"const int8_t *second_row = x + (n * {height} + second_rows[oy]) * {width * channels};")
            with w.loop("ox", out_width):
                w("const int32_t right = column_fraction[ox];")
                for row in ("first", "second"):
                    w(f"const int8_t *{row}_left = {row}_row + first_columns[ox] * {channels};")
                    w(f"const int8_t *{row}_right = {row}_row + second_columns[ox] * {channels};")
                w("const int32_t w1 = (1024 - below) * right;", "const int32_t w0 = (1024 - below) * 1024 - w1;")
                w("const int32_t w3 = below * right;", "const int32_t w2 = below * 1024 - w3;")
                w(f"int8_t *const to = y + ((n * {out_height} + oy) * {out_width} + ox) * {channels};")
                rest = channels % _AT_ONCE
                if channels > rest:
                    with w.loop("c", channels - rest, step=_AT_ONCE):
                        _write_channels(w, [f"c{offset(lane)}" for lane in range(_AT_ONCE)])
                if rest:
                    with w.block(""):
                        _write_channels(w, [str(channels - 1)])
        rows, columns = bilinear_positions(op)
        tables = {
            "first_rows": rows.first,
            "second_rows": rows.second,
            "row_fraction": rows.fraction,
            "first_columns": columns.first,
            "second_columns": columns.second,
            "column_fraction": columns.fraction,
        }
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"resizebilinear_{dims(op.y.shape)}",
                comment=f"{workload(op)}\nfamily {self.name}",
                parameters=(
                    CParameter(name="x", c_type="int8_t", role="input"),
                    *(CParameter(name=name, c_type="int32_t", role="constant") for name in tables),
                    CParameter(name="y", c_type="int8_t", role="output"),
                ),
                body=w.text,
            ),
            constants={name: CArray(c_type="int32_t", values=values) for name, values in tables.items()},
        )


def _write_channels(w: CWriter, places: Sequence[str]) -> None:
    """Write the results of some channels, rounded to nearest, halves away from zero."""
    pixels = ("first_left", "first_right", "second_left", "second_right")
    for lane, place in enumerate(places):
        for number, pixel in enumerate(pixels):
            w(f"const int32_t x{lane}{number} = {pixel}[{place}];")
    for lane in range(len(places)):
        products = " + ".join(f"x{lane}{number} * w{number}" for number in range(len(pixels)))
        w(f"const int32_t total{lane} = {products};")
    for lane, place in enumerate(places):
        w(f"to[{place}] = (int8_t)((total{lane} + 524288 + (total{lane} >> 31)) >> 20);")
