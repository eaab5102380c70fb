"""Average pooling by vectors of channels; windows beside each other that step by a pixel are one vector."""

from __future__ import annotations

import numpy as np

from utvm.codegen import CArray, CFunction, CParameter, CWriter
from utvm.cores import Core
from utvm.graph import AveragePool2D, Operator
from utvm.kernels.base import Config, Kernel
from utvm.kernels.overlap import nest_ahead
from utvm.kernels.portable.window import window_taps
from utvm.kernels.rvv.code import RvvFamily
from utvm.kernels.rvv.mean_code import Quotient, average_function
from utvm.kernels.rvv.product_plan import inside
from utvm.kernels.workload_keys import dims, workload


class RvvAveragePool2D(RvvFamily):
    """AveragePool2D of any window, rounding and clamp."""

    name = "rvv"
    kinds = (AveragePool2D,)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of an average pooling."""
        del core
        assert isinstance(op, AveragePool2D)
        finish = Quotient(rounding=op.rounding, low=op.clamp[0], high=op.clamp[1])
        # One channel leaves no other lanes than windows, whatever their distance.
        strided = op.x.shape[3] == 1 and op.stride[1] > 1
        function = average_function(finish, strided=strided)
        w = CWriter()
        _write(w, op, function.name, joined=strided or op.stride[1] == 1)
        _, _, width, channels = op.x.shape
        steps = np.array([width * channels, channels, op.stride[1]], np.int32)
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"average_pool_{dims(op.x.shape[1:])}_rvv",
                comment=f"{workload(op)}\nfamily {self.name}",
                parameters=(
                    CParameter(name="x", c_type="int8_t", role="input"),
                    CParameter(name="steps", c_type="int32_t", role="constant"),
                    CParameter(name="y", c_type="int8_t", role="output"),
                ),
                body=w.text,
                support=(function,),
            ),
            constants={"steps": CArray(c_type="int32_t", values=steps)},
            ahead=nest_ahead(op),
        )


def _write(w: CWriter, op: AveragePool2D, name: str, *, joined: bool) -> None:
    """Write the calls: one a window; where windows are `joined`, one for all of a row that lie inside along it."""
    batch, height, width, channels = op.x.shape
    _, out_height, out_width, _ = op.y.shape
    start, end = inside(out_width, width, op.stride[1], op.padding.left, op.filter[1] - 1)
    if not joined or end - start < 2:
        start = end = out_width
    with w.loop("n", batch), w.loop("oy", out_height):
        down = window_taps(w, op, "y")
        row = f"(n * {height} + {down.position(down.first)}) * {width}"
        w(f"int8_t *row = y + (n * {out_height} + oy) * {out_width * channels};")

        def single(begin: int, stop: int) -> None:
            if begin < stop:
                with w.block(f"for (int32_t ox = {begin}; ox < {stop}; ox++)"):
                    along = window_taps(w, op, "x")
                    pixel = f"x + ({row} + {along.position(along.first)}) * {channels}"
                    w(f"{name}({pixel}, row + ox * {channels}, steps, {down.count}, {along.count}, {channels});")

        single(0, start)
        if start < end:
            pixel = f"x + ({row} + {start * op.stride[1] - op.padding.left}) * {channels}"
            lanes = (end - start) * channels
            w(f"{name}({pixel}, row + {start * channels}, steps, {down.count}, {op.filter[1]}, {lanes});")
        single(end, out_width)
