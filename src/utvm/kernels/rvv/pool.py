"""Pooling by vectors of channels; windows beside each other that step by a pixel are one vector."""

from __future__ import annotations

from functools import lru_cache

from utvm.codegen import CSupport, CWriter
from utvm.cores import Core
from utvm.graph import AveragePool2D, MaxPool2D, Operator
from utvm.kernels.base import Config, Kernel
from utvm.kernels.overlap import nest_ahead
from utvm.kernels.portable.window import window_taps
from utvm.kernels.rvv.code import RvvFamily, vector_function
from utvm.kernels.rvv.mean_code import Quotient, average_function
from utvm.kernels.rvv.product_plan import inside
from utvm.kernels.word_calls import kernel_of_words
from utvm.kernels.workload_keys import dims

_Pool = MaxPool2D | AveragePool2D


@lru_cache(maxsize=2)
def _most_function(*, strided: bool) -> CSupport:
    """Return `void name(x, y, steps, rows, taps, lanes)`; `steps` as of `average_function`, and the clamp."""
    lines = ["lw a6, 0(a2)", "lw a7, 4(a2)", *(["lw t1, 8(a2)"] if strided else []), "lw t6, 12(a2)", "lw a2, 16(a2)"]
    lines += ["1:", "vsetvli t0, a5, e8, m8, ta, ma", "vmv.v.x v0, t6", "mv t2, a0", "mv t3, a3"]
    lines += ["2:", "mv t4, t2", "mv t5, a4", "3:", "vlse8.v v8, (t4), t1" if strided else "vle8.v v8, (t4)"]
    lines += ["add t4, t4, a7", "vmax.vv v0, v0, v8", "addi t5, t5, -1", "bnez t5, 3b"]
    lines += ["add t2, t2, a6", "addi t3, t3, -1", "bnez t3, 2b", "vmin.vx v0, v0, a2", "vse8.v v0, (a1)"]
    lines += ["add a1, a1, t0", "sub a5, a5, t0", *(["mul t0, t0, t1"] if strided else []), "add a0, a0, t0"]
    lines += ["bnez a5, 1b"]
    name = f"utvm_rvv_most{'_apart' if strided else ''}"
    operands = "const int8_t *x, int8_t *y, const int32_t *steps, int32_t rows, int32_t taps, int32_t lanes"
    comment = "the most of rows of taps; steps: bytes from row to row, tap to tap, lane to lane; the clamp"
    return vector_function(name, f"void {name}({operands})", lines, comment)


class RvvMaxPool2D(RvvFamily):
    """MaxPool2D of any window and clamp."""

    name = "rvv"
    kinds = (MaxPool2D,)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a maximum pooling."""
        del core
        assert isinstance(op, MaxPool2D)
        return _kernel(op, config, _most_function(strided=_lanes_apart(op)))


class RvvAveragePool2D(RvvFamily):
    """AveragePool2D of any window, rounding and clamp."""

    name = "rvv"
    kinds = (AveragePool2D,)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of an average pooling."""
        del core
        assert isinstance(op, AveragePool2D)
        finish = Quotient(rounding=op.rounding, low=op.clamp[0], high=op.clamp[1])
        return _kernel(op, config, average_function(finish, strided=_lanes_apart(op)))


def _lanes_apart(op: _Pool) -> bool:
    """Return whether lanes are windows with pixels between them: one channel leaves no others."""
    return op.x.shape[3] == 1 and op.stride[1] > 1


def _kernel(op: _Pool, config: Config, function: CSupport) -> Kernel:
    """Return the kernel that calls `function`."""
    w = CWriter()
    _write(w, op, function.name)
    _, _, width, channels = op.x.shape
    steps = [width * channels, channels, op.stride[1], *(op.clamp if isinstance(op, MaxPool2D) else ())]
    kind = "max" if isinstance(op, MaxPool2D) else "average"
    stem = f"{kind}_pool_{dims(op.x.shape[1:])}"
    return kernel_of_words(
        op,
        config,
        family="rvv",
        stem=stem,
        body=w.text,
        function=function,
        name="steps",
        words=steps,
        ahead=nest_ahead(op),
    )


def _write(w: CWriter, op: _Pool, name: str) -> None:
    """Write the calls: one a window, or one for all of a row that lie inside along it where these are lanes."""
    batch, height, width, channels = op.x.shape
    _, out_height, out_width, _ = op.y.shape
    start, end = inside(out_width, width, op.stride[1], op.padding.left, op.filter[1] - 1)
    if not (op.stride[1] == 1 or _lanes_apart(op)) or end - start < 2:
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
