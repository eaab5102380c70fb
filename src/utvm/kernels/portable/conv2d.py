"""Direct convolution in plain C."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from utvm.codegen import CFunction, CWriter
from utvm.cores import Core
from utvm.graph import Conv2D, DepthwiseConv2D, Operator
from utvm.kernels.base import Config, Kernel, KernelFamily
from utvm.kernels.weighted import WEIGHTED_PARAMETERS, offset, weighted_constants, write_requantized
from utvm.kernels.workload import dims, workload


class PortableConv2D(KernelFamily):
    """Conv2D as a loop nest, channels last; any stride, dilation, padding and grouping."""

    name = "portable"

    def applies(self, op: Operator, core: Core) -> bool:
        """Whether `op` is a convolution."""
        del core
        return isinstance(op, Conv2D)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a convolution."""
        del core
        assert isinstance(op, Conv2D)
        batch, height, width, channels = op.x.shape
        _, out_height, out_width, out_channels = op.y.shape
        _, kernel_height, kernel_width, depth = op.weights.shape
        group = f"(oc / {out_channels // op.groups}) * {depth}" if op.groups > 1 else "0"
        w = CWriter()
        with (
            w.loop("n", batch),
            w.loop("oy", out_height),
            w.loop("ox", out_width),
            w.loop("oc", out_channels),
        ):
            w("int32_t acc = bias[oc];")
            with window(w, op, kernel_height, kernel_width):
                w(f"const int8_t *px = x + ((n * {height} + iy) * {width} + ix) * {channels} + {group};")
                w(f"const int8_t *pw = weights + ((oc * {kernel_height} + ky) * {kernel_width} + kx) * {depth};")
                with w.loop("ic", depth):
                    w(f"acc += (px[ic]{offset(-op.x.zero_point)}) * pw[ic];")
            target = f"y[((n * {out_height} + oy) * {out_width} + ox) * {out_channels} + oc]"
            helpers = write_requantized(w, op, channel="oc", target=target)
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"conv2d_{dims(op.x.shape[1:])}_{out_channels}_k{kernel_height}x{kernel_width}",
                comment=f"{workload(op)}\nfamily {self.name}",
                parameters=WEIGHTED_PARAMETERS,
                body=w.text,
                helpers=helpers,
            ),
            constants=weighted_constants(op),
        )


@contextmanager
def window(w: CWriter, op: Conv2D | DepthwiseConv2D, kernel_height: int, kernel_width: int) -> Iterator[None]:
    """Loop (ky, kx) over the kernel's taps and (iy, ix) over the pixels below them that are inside the input."""
    with w.loop("ky", kernel_height):
        w(f"const int32_t iy = oy * {op.stride[0]} + ky * {op.dilation[0]}{offset(-op.padding.top)};")
        with w.block(f"if (iy >= 0 && iy < {op.x.shape[1]})"), w.loop("kx", kernel_width):
            w(f"const int32_t ix = ox * {op.stride[1]} + kx * {op.dilation[1]}{offset(-op.padding.left)};")
            with w.block(f"if (ix >= 0 && ix < {op.x.shape[2]})"):
                yield
