"""Depthwise convolution in plain C, with one body for all windows as in `conv2d`."""

from __future__ import annotations

from utvm.codegen import CFunction, CWriter
from utvm.cores import Core
from utvm.graph import DepthwiseConv2D, Operator
from utvm.kernels.base import Config, Kernel, KernelFamily
from utvm.kernels.overlap import nest_ahead
from utvm.kernels.portable.conv2d import windows
from utvm.kernels.weighted import WEIGHTED_PARAMETERS, accumulators, offset, weighted_constants, write_requantized
from utvm.kernels.workload_keys import dims, workload


class PortableDepthwise(KernelFamily):
    """DepthwiseConv2D as a loop nest, channels last; any multiplier, stride, dilation and padding."""

    name = "portable"
    kinds = (DepthwiseConv2D,)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a depthwise convolution."""
        del core
        assert isinstance(op, DepthwiseConv2D)
        _, _, _, out_channels = op.y.shape
        _, kernel_height, kernel_width, _ = op.weights.shape
        w = CWriter()
        helpers = write_pixels(w, op)
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"depthwise_{dims(op.x.shape[1:])}_{out_channels}_k{kernel_height}x{kernel_width}",
                comment=f"{workload(op)}\nfamily {self.name}",
                parameters=WEIGHTED_PARAMETERS,
                body=w.text,
                helpers=helpers,
            ),
            constants=weighted_constants(op),
            ahead=nest_ahead(op),
        )


def write_pixels(w: CWriter, op: DepthwiseConv2D) -> tuple[str, ...]:
    """Write all outputs, from the int8 array `weights`; returns the helpers used."""
    _, height, width, channels = op.x.shape
    _, out_height, out_width, out_channels = op.y.shape
    kernel_width = op.weights.shape[2]
    channel = "oc" if op.multiplier == 1 else f"oc / {op.multiplier}"
    with windows(w, op) as (ty, tx), w.loop("oc", out_channels):
        accumulators(w, 1, "oc")
        with ty.loop(w) as ky, tx.if_any(w):
            pixel = f"(n * {height} + {ty.position(ky)}) * {width} + {tx.position(tx.first)}"
            w(f"const int8_t *px = x + ({pixel}) * {channels} + {channel};")
            w(f"const int8_t *pw = weights + ({ky} * {kernel_width} + {tx.first}) * {out_channels} + oc;")
            value = f"(px[i * {tx.dilation * channels}]{offset(-op.x.zero_point)})"
            with tx.count_loop(w, "i"):
                w(f"acc0 += {value} * pw[i * {out_channels}];")
        target = f"y[((n * {out_height} + oy) * {out_width} + ox) * {out_channels} + oc"
        return write_requantized(w, op, count=1, channel="oc", target=target)
