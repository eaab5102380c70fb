"""Direct convolution in plain C.

Not a schedule of loops: these kernels are the smallest, with one body for all windows, whose loops run over the taps
that are inside. The renderer cuts loops where windows leave the input, and writes the body up to nine times.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from utvm.codegen import CFunction, CWriter
from utvm.cores import Core
from utvm.graph import Conv2D, DepthwiseConv2D, Operator
from utvm.kernels.base import Config, Kernel, KernelFamily
from utvm.kernels.overlap import nest_ahead
from utvm.kernels.portable.window import Taps, window_taps
from utvm.kernels.weighted import (
    WEIGHTED_PARAMETERS,
    accumulators,
    outputs_at_once,
    weighted_constants,
    write_products,
    write_requantized,
)
from utvm.kernels.workload_keys import dims, workload


class PortableConv2D(KernelFamily):
    """Conv2D as a loop nest, channels last; any stride, dilation, padding and grouping.

    Up to four output channels share each load of a pixel; the taps of a row are one run of memory where they can be.
    """

    name = "portable"
    kinds = (Conv2D,)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a convolution."""
        del core
        assert isinstance(op, Conv2D)
        out_channels, kernel_height, kernel_width, _ = op.weights.shape
        block = outputs_at_once(out_channels // op.groups)
        w = CWriter()
        with windows(w, op) as (ty, tx), w.loop("oc", out_channels, step=block):
            accumulators(w, block, "oc")
            with ty.loop(w) as ky:
                write_row(w, op, block, ky, (ty, tx))
            target = f"y[((n * {op.y.shape[1]} + oy) * {op.y.shape[2]} + ox) * {out_channels} + oc"
            helpers = write_requantized(w, op, count=block, channel="oc", target=target)
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
            ahead=nest_ahead(op),
        )


def write_row(w: CWriter, op: Conv2D, block: int, ky: str, window: tuple[Taps, Taps], first: str = "oc") -> None:
    """Write the products of one row of the window; `first` is the channel whose weights stand where channel oc's do."""
    ty, tx = window
    _, height, width, channels = op.x.shape
    out_channels, kernel_height, kernel_width, depth = op.weights.shape
    apart = kernel_height * kernel_width * depth
    row = f"(n * {height} + {ty.position(ky)}) * {width}"
    line = f"{first} * {kernel_height} + {ky}"
    if op.groups == 1 and (tx.dilation == 1 or kernel_width == 1):
        with tx.if_any(w):
            w(f"const int8_t *px = x + ({row} + {tx.position(tx.first)}) * {channels};")
            w(f"const int8_t *pw = weights + (({line}) * {kernel_width} + {tx.first}) * {depth};")
            run = kernel_width * depth if tx.all_inside else f"{tx.count} * {depth}"
            write_products(w, op, block=block, run=run, apart=apart)
        return
    group = "" if op.groups == 1 else f" + oc / {out_channels // op.groups} * {depth}"
    with tx.loop(w) as kx:
        w(f"const int8_t *px = x + ({row} + {tx.position(kx)}) * {channels}{group};")
        w(f"const int8_t *pw = weights + (({line}) * {kernel_width} + {kx}) * {depth};")
        write_products(w, op, block=block, run=depth, apart=apart)


@contextmanager
def windows(w: CWriter, op: Conv2D | DepthwiseConv2D) -> Iterator[tuple[Taps, Taps]]:
    """Loop (n, oy, ox) over all windows; yields the taps of both dimensions that are inside the input."""
    with w.loop("n", op.y.shape[0]), w.loop("oy", op.y.shape[1]):
        ty = window_taps(w, op, "y")
        with w.loop("ox", op.y.shape[2]):
            yield ty, window_taps(w, op, "x")
