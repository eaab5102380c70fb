"""Maximum and average pooling in plain C."""

from __future__ import annotations

from utvm.codegen import CFunction, CParameter, CWriter
from utvm.cores import Core
from utvm.graph import AveragePool2D, AverageRounding, MaxPool2D, Operator
from utvm.kernels.base import Config, Kernel, KernelFamily
from utvm.kernels.overlap import nest_ahead
from utvm.kernels.workload import dims, workload


class PortablePool2D(KernelFamily):
    """MaxPool2D and AveragePool2D as loop nests, channels last."""

    name = "portable"

    def applies(self, op: Operator, core: Core) -> bool:
        """Whether `op` is a pooling."""
        del core
        return isinstance(op, MaxPool2D | AveragePool2D)

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
                with w.loop("c", channels):
                    element = f"x[((n * {height} + iy) * {width} + ix) * {channels} + c]"
                    target = f"y[((n * {out_height} + oy) * {out_width} + ox) * {channels} + c]"
                    _write_window(w, op, element, target)
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


def _write_window(w: CWriter, op: MaxPool2D | AveragePool2D, element: str, target: str) -> None:
    w(f"int32_t value = {-128 if isinstance(op, MaxPool2D) else 0};")
    with (
        w.block("for (int32_t iy = first_y; iy < last_y; iy++)"),
        w.block("for (int32_t ix = first_x; ix < last_x; ix++)"),
    ):
        if isinstance(op, MaxPool2D):
            w(f"value = {element} > value ? {element} : value;")
        else:
            w(f"value += {element};")
    if isinstance(op, AveragePool2D):
        w("const int32_t count = (last_y - first_y) * (last_x - first_x);")
        if op.rounding is AverageRounding.HALF_AWAY:
            w("value += value > 0 ? count / 2 : -(count / 2);")
        w("value /= count;")
    w(f"{target} = (int8_t)utvm_clamp(value, {op.clamp[0]}, {op.clamp[1]});")
