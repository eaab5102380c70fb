"""Pooling as calls of one function for each window, which families of vectors have in assembler."""

from __future__ import annotations

from collections.abc import Callable

from utvm.codegen import CFunction, CParameter, CSupport, CWriter
from utvm.graph import AveragePool2D, MaxPool2D
from utvm.kernels.base import Config, Kernel
from utvm.kernels.overlap import nest_ahead
from utvm.kernels.portable.window import Taps, window_taps
from utvm.kernels.workload_keys import dims, workload


def write_window_calls(w: CWriter, op: MaxPool2D | AveragePool2D, call: Callable[[str, str, Taps, Taps], str]) -> None:
    """Write a call for each window.

    Args:
        w: what is written to.
        op: the pooling.
        call: returns a call, from the C of where the first tap inside of x is and of where y is, and from the taps
            inside, of rows and of columns.
    """
    batch, height, width, channels = op.x.shape
    _, out_height, out_width, _ = op.y.shape
    with w.loop("n", batch), w.loop("oy", out_height):
        down = window_taps(w, op, "y")
        with w.loop("ox", out_width):
            along = window_taps(w, op, "x")
            row = f"(n * {height} + {down.position(down.first)}) * {width}"
            pixel = f"x + ({row} + {along.position(along.first)}) * {channels}"
            w(call(pixel, f"y + ((n * {out_height} + oy) * {out_width} + ox) * {channels}", down, along))


def max_pool_by_calls(op: MaxPool2D, family: str, config: Config, most: CSupport) -> Kernel:
    """Return the kernel that calls `most` once a window.

    Args:
        op: the pooling.
        family: the family's name.
        config: the kernel's.
        most: of the first tap inside of x, where y is written, the channels, the bytes of a row of x, how many rows and
            columns of taps lie inside, and the clamp.
    """
    _, _, width, channels = op.x.shape
    w = CWriter()

    def call(pixel: str, to: str, down: Taps, along: Taps) -> str:
        counts = f"{channels}, {width * channels}, {down.count}, {along.count}"
        return f"{most.name}({pixel}, {to}, {counts}, {op.clamp[0]}, {op.clamp[1]});"

    write_window_calls(w, op, call)
    return Kernel(
        family=family,
        config=config,
        function=CFunction(
            stem=f"max_pool_{dims(op.x.shape[1:])}_{family}",
            comment=f"{workload(op)}\nfamily {family}",
            parameters=(
                CParameter(name="x", c_type="int8_t", role="input"),
                CParameter(name="y", c_type="int8_t", role="output"),
            ),
            body=w.text,
            support=(most,),
        ),
        ahead=nest_ahead(op),
    )
