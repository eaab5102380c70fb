"""Maximum and average pooling in plain C, with one body for all windows at the edges as in `conv2d`."""

from __future__ import annotations

from utvm.codegen import CFunction, CParameter, CWriter
from utvm.cores import Core
from utvm.graph import AveragePool2D, AverageRounding, MaxPool2D, Operator
from utvm.kernels.base import Config, Kernel, KernelFamily
from utvm.kernels.overlap import nest_ahead
from utvm.kernels.weighted import offset
from utvm.kernels.workload_keys import dims, workload

_MOST_UNROLLED = 16
"""Taps of a window that are written out, one after another."""


class PortablePool2D(KernelFamily):
    """MaxPool2D and AveragePool2D as loop nests, channels last."""

    name = "portable"
    kinds = (MaxPool2D, AveragePool2D)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a pooling."""
        del core
        assert isinstance(op, MaxPool2D | AveragePool2D)
        batch, height, width, channels = op.x.shape
        _, out_height, out_width, _ = op.y.shape
        w = CWriter()
        with w.loop("n", batch), w.loop("oy", out_height):
            _write_bounds(w, "y", op.stride[0], op.padding.top, op.filter[0], height)
            with w.loop("ox", out_width):
                _write_bounds(w, "x", op.stride[1], op.padding.left, op.filter[1], width)
                w(f"const int8_t *pixels = x + ((n * {height} + first_y) * {width} + first_x) * {channels};")
                w(f"int8_t *to = y + ((n * {out_height} + oy) * {out_width} + ox) * {channels};")
                taps = op.filter[0] * op.filter[1]
                if taps <= _MOST_UNROLLED or isinstance(op, AveragePool2D):
                    w("const int32_t count = (last_y - first_y) * (last_x - first_x);")
                if taps > _MOST_UNROLLED:
                    _write_counted(w, op)
                else:
                    with w.block(f"if (count == {taps})"):
                        _write_whole(w, op)
                    with w.block("else"):
                        _write_counted(w, op)
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"{'max' if isinstance(op, MaxPool2D) else 'average'}_pool_{dims(op.x.shape[1:])}",
                comment=f"{workload(op)}\nfamily {self.name}",
                parameters=(
                    CParameter(name="x", c_type="int8_t", role="input"),
                    CParameter(name="y", c_type="int8_t", role="output"),
                ),
                body=w.text,
                helpers=("utvm_clamp",),
            ),
            ahead=nest_ahead(op),
        )


def _write_bounds(w: CWriter, axis: str, stride: int, padding: int, size: int, limit: int) -> None:
    """Write the first pixel of the window and the one after its last, both inside the input."""
    w(f"const int32_t start_{axis} = o{axis} * {stride} - {padding};")
    w(f"const int32_t first_{axis} = start_{axis} < 0 ? 0 : start_{axis};")
    w(f"const int32_t last_{axis} = start_{axis} + {size} < {limit} ? start_{axis} + {size} : {limit};")


def _write_whole(w: CWriter, op: MaxPool2D | AveragePool2D) -> None:
    """Write the channels of a window that lies inside of the input: all taps, one after another."""
    row, pixel = op.x.shape[2] * op.x.shape[3], op.x.shape[3]
    with w.loop("c", pixel):
        w(f"int32_t value = {-128 if isinstance(op, MaxPool2D) else 0};")
        for place in (ky * row + kx * pixel for ky in range(op.filter[0]) for kx in range(op.filter[1])):
            _write_tap(w, op, f"pixels[c{offset(place)}]")
        _write_result(w, op, str(op.filter[0] * op.filter[1]))


def _write_counted(w: CWriter, op: MaxPool2D | AveragePool2D) -> None:
    """Write the channels of a window of which some taps may lie outside of the input."""
    row, pixel = op.x.shape[2] * op.x.shape[3], op.x.shape[3]
    with w.loop("c", pixel):
        w(f"int32_t value = {-128 if isinstance(op, MaxPool2D) else 0};")
        with w.block("for (int32_t ky = 0; ky < last_y - first_y; ky++)"):
            w(f"const int8_t *at = pixels + c + ky * {row};")
            with w.block("for (int32_t kx = 0; kx < last_x - first_x; kx++)"):
                _write_tap(w, op, f"at[kx * {pixel}]")
        _write_result(w, op, "count")


def _write_tap(w: CWriter, op: MaxPool2D | AveragePool2D, element: str) -> None:
    if isinstance(op, MaxPool2D):
        w(f"value = {element} > value ? {element} : value;")
    else:
        w(f"value += {element};")


def _write_result(w: CWriter, op: MaxPool2D | AveragePool2D, count: str) -> None:
    if isinstance(op, AveragePool2D):
        if op.rounding is AverageRounding.HALF_UP:
            w(f"value = (value + 128 * {count} + {count} / 2) / {count} - 128;")
        else:
            if op.rounding is AverageRounding.HALF_AWAY:
                w(f"value += value > 0 ? {count} / 2 : -({count} / 2);")
            w(f"value /= {count};")
    w(f"to[c] = (int8_t)utvm_clamp(value, {op.clamp[0]}, {op.clamp[1]});")
