"""Maximum pooling by vectors of channels."""

from __future__ import annotations

from utvm.codegen import CFunction, CParameter, CWriter
from utvm.cores import Core
from utvm.graph import MaxPool2D
from utvm.graph.operators import Operator
from utvm.kernels.base import Config, Kernel
from utvm.kernels.overlap import nest_ahead
from utvm.kernels.portable.window import write_taps
from utvm.kernels.rvv.code import RvvFamily, vector_function
from utvm.kernels.workload_keys import dims, workload

_MOST = vector_function(
    "utvm_rvv_most",
    "void utvm_rvv_most(const int8_t *x, int8_t *y, int32_t channels, int32_t row, int32_t rows, int32_t taps,\n"
    "    int32_t low, int32_t high)",
    [
        "mv t1, a2",
        "1:",
        "vsetvli t0, t1, e8, m8, ta, ma",
        "vmv.v.x v0, a6",
        "mv t2, a0",
        "mv t3, a4",
        "2:",
        "mv t4, t2",
        "mv t5, a5",
        "3:",
        "vle8.v v8, (t4)",
        "add t4, t4, a2",
        "vmax.vv v0, v0, v8",
        "addi t5, t5, -1",
        "bnez t5, 3b",
        "add t2, t2, a3",
        "addi t3, t3, -1",
        "bnez t3, 2b",
        "vmin.vx v0, v0, a7",
        "vse8.v v0, (a1)",
        "add a0, a0, t0",
        "add a1, a1, t0",
        "sub t1, t1, t0",
        "bnez t1, 1b",
    ],
    "the most of a window of rows of taps, clamped, for each channel",
)


class RvvMaxPool2D(RvvFamily):
    """MaxPool2D of any window and clamp."""

    name = "rvv"
    kinds = (MaxPool2D,)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a maximum pooling."""
        del core
        assert isinstance(op, MaxPool2D)
        batch, height, width, channels = op.x.shape
        _, out_height, out_width, _ = op.y.shape
        w = CWriter()
        with w.loop("n", batch), w.loop("oy", out_height):
            down = write_taps(
                w, "y", stride=op.stride[0], before=op.padding.top, window=op.filter[0], size=height, output=out_height
            )
            with w.loop("ox", out_width):
                along = write_taps(
                    w, "x", stride=op.stride[1], before=op.padding.left, window=op.filter[1], size=width,
                    output=out_width,
                )  # fmt: skip
                row = f"(n * {height} + {down.position(down.first)}) * {width}"
                pixel = f"x + ({row} + {along.position(along.first)}) * {channels}"
                to = f"y + ((n * {out_height} + oy) * {out_width} + ox) * {channels}"
                counts = f"{channels}, {width * channels}, {down.count}, {along.count}"
                w(f"{_MOST.name}({pixel}, {to}, {counts}, {op.clamp[0]}, {op.clamp[1]});")
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"max_pool_{dims(op.x.shape[1:])}_rvv",
                comment=f"{workload(op)}\nfamily {self.name}",
                parameters=(
                    CParameter(name="x", c_type="int8_t", role="input"),
                    CParameter(name="y", c_type="int8_t", role="output"),
                ),
                body=w.text,
                support=(_MOST,),
            ),
            ahead=nest_ahead(op),
        )
