"""Bilinear resizing in plain C, by tables of positions."""

from __future__ import annotations

from utvm.codegen import CArray, CFunction, CParameter, CWriter
from utvm.cores import Core
from utvm.graph import Operator, ResizeBilinear
from utvm.graph.arithmetic import bilinear_positions
from utvm.kernels.base import Config, Kernel, KernelFamily
from utvm.kernels.workload import dims, workload


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
                w(f"const int32_t left_at = first_columns[ox] * {channels};")
                w(f"const int32_t right_at = second_columns[ox] * {channels};")
                with w.loop("c", channels):
                    for row in ("first", "second"):
                        mixed = f"{row}_row[left_at + c] * (1024 - right) + {row}_row[right_at + c] * right"
                        w(f"const int32_t {row} = {mixed};")
                    w("const int32_t total = first * (1024 - below) + second * below;")
                    w("const int32_t rounded = (total + (total > 0 ? 524288 : -524288)) / 1048576;")
                    target = f"((n * {out_height} + oy) * {out_width} + ox) * {channels} + c"
                    w(f"y[{target}] = (int8_t)rounded;")
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
