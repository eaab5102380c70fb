"""Depthwise convolutions by vectors of channels, read in place; taps outside of the input are left out."""

from __future__ import annotations

import numpy as np

from utvm.codegen import CArray, CFunction, CWriter
from utvm.cores import Core
from utvm.graph import DepthwiseConv2D, Operator
from utvm.kernels.base import Config, Kernel, Space
from utvm.kernels.helium.finish import VectorFinish, refusal
from utvm.kernels.overlap import nest_ahead
from utvm.kernels.portable.window import Taps, write_taps
from utvm.kernels.rvv.code import OUTPUT, WEIGHTED_PARAMETERS, RvvFamily
from utvm.kernels.rvv.depthwise_code import (
    MOST_PIXELS,
    DepthwiseSpec,
    depthwise_function,
    depthwise_instructions,
    shape,
)
from utvm.kernels.rvv.finish import constants
from utvm.kernels.rvv.product_plan import inside
from utvm.kernels.workload_keys import dims, workload

_BOUNDS_INSTRUCTIONS = 14
_MOST_SPREAD = 1 << 16


class RvvDepthwise(RvvFamily):
    """DepthwiseConv2D. Knob: `m` pixels at once where all taps lie inside of the input."""

    name = "rvv"
    kinds = (DepthwiseConv2D,)

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return why `op` has no exact finish, or that its channels are too many."""
        found = super().refusal(op, core)
        if found is not None or not isinstance(op, DepthwiseConv2D):
            return found
        if _spread(op) and op.y.shape[3] > _MOST_SPREAD:
            return f"{op.y.shape[3]} channels are more than indices of 16 bits"
        return refusal(op)

    def space(self, op: Operator, core: Core) -> Space:
        """Return the knob."""
        del op, core
        return {"m": tuple(range(1, MOST_PIXELS + 1))}

    def default(self, op: Operator, core: Core) -> Config:
        """Return the config of the fewest instructions."""
        every = [{"m": m} for m in range(1, MOST_PIXELS + 1)]
        return min(every, key=lambda config: self.estimate(op, core, config))

    def estimate(self, op: Operator, core: Core, config: Config) -> float:
        """Return the instructions of all calls."""
        assert isinstance(op, DepthwiseConv2D)
        m, lanes = int(config["m"]), core.zve32x // 32
        batch, rows, columns, channels = op.y.shape
        _, height, width, _ = op.weights.shape
        finish = VectorFinish.of(op)

        def call(pixels: int) -> float:
            spec = DepthwiseSpec(pixels=pixels, spread=_spread(op), finish=finish)
            return depthwise_instructions(spec, rows=height, taps=width, channels=channels, lanes=lanes)

        start, end = _columns(op)
        whole, rest = divmod(end - start, m)
        single = rest + columns - (end - start)
        return batch * rows * (whole * call(m) + single * (call(1) + _BOUNDS_INSTRUCTIONS))

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of `op`."""
        del core
        assert isinstance(op, DepthwiseConv2D)
        m = int(config["m"])
        w = CWriter()
        used = _write(w, op, m)
        finish = VectorFinish.of(op)
        rows = np.stack([np.zeros(op.y.shape[3], np.int64) if op.bias is None else op.bias.values, *constants(op)])
        _, _, width, channels = op.x.shape
        words = shape(
            tap=op.dilation[1] * channels,
            row=op.dilation[0] * width * channels,
            weight_row=op.weights.shape[2] * op.y.shape[3],
            pitch=op.stride[1] * channels,
            channels=op.y.shape[3],
            outputs=op.y.shape[3] // channels,
            zero=op.x.zero_point,
            finish=finish,
        )
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"depthwise_{dims(op.x.shape[1:])}_k{op.weights.shape[1]}x{op.weights.shape[2]}_rvv",
                comment=f"{workload(op)}\nfamily {self.name}, m {m}",
                parameters=(*WEIGHTED_PARAMETERS, OUTPUT),
                body=w.text,
                support=tuple(
                    depthwise_function(DepthwiseSpec(pixels=size, spread=_spread(op), finish=finish)) for size in used
                ),
            ),
            constants={
                "weights": CArray(c_type="int8_t", values=op.weights.values),
                "finish": CArray(c_type="int32_t", values=rows.astype(np.int32)),
                "shape": CArray(c_type="int32_t", values=np.array(words, np.int32)),
            },
            ahead=nest_ahead(op),
        )


def _spread(op: DepthwiseConv2D) -> bool:
    """Return whether a channel has several outputs."""
    return op.x.shape[3] != op.y.shape[3]


def _columns(op: DepthwiseConv2D) -> tuple[int, int]:
    """Return the first pixel of a row, and the first behind it, whose taps all lie inside along the row."""
    reach = (op.weights.shape[2] - 1) * op.dilation[1]
    return inside(op.y.shape[2], op.x.shape[2], op.stride[1], op.padding.left, reach)


def _write(w: CWriter, op: DepthwiseConv2D, m: int) -> tuple[int, ...]:
    """Write the body of the kernel; returns the pixels at once of the functions that it calls."""
    batch, height, width, channels = op.x.shape
    _, out_height, out_width, outputs = op.y.shape
    _, rows, columns, _ = op.weights.shape
    start, end = _columns(op)
    whole = start + (end - start) // m * m
    used: dict[int, None] = {}

    def call(pixels: int, x: str, weights: str, down: Taps, taps: Taps | None) -> None:
        """Write the call of a block of pixels. Where no tap is inside, a pointer to it would leave its array."""
        used[pixels] = None
        name = DepthwiseSpec(pixels=pixels, spread=_spread(op), finish=VectorFinish.of(op)).name
        target = f"finish, shape, row + ox * {outputs}"
        count = str(columns) if taps is None else taps.count
        empty = [each for each in (down, taps) if each is not None and each.may_be_none]
        if not empty:
            w(f"{name}({x}, {weights}, {target}, {down.count}, {count});")
            return
        with w.block(f"if ({' && '.join(f'{each.first} < {each.last}' for each in empty)})"):
            w(f"{name}({x}, {weights}, {target}, {down.count}, {count});")
        with w.block("else"):
            w(f"{name}(x, weights, {target}, 0, 0);")

    with w.loop("n", batch), w.loop("oy", out_height):
        down = write_taps(
            w, "y", stride=op.stride[0], before=op.padding.top, window=rows, dilation=op.dilation[0], size=height,
            output=out_height,
        )  # fmt: skip
        w(f"int8_t *row = y + (n * {out_height} + oy) * {out_width * outputs};")
        across_row = f"(n * {height} + {down.position(down.first)}) * {width}"
        first_row = "" if down.first == "0" else f" + {down.first} * {columns * outputs}"

        def single(begin: int, stop: int) -> None:
            with w.block(f"for (int32_t ox = {begin}; ox < {stop}; ox++)"):
                along = write_taps(
                    w, "x", stride=op.stride[1], before=op.padding.left, window=columns, dilation=op.dilation[1],
                    size=width, output=out_width,
                )  # fmt: skip
                first = "" if along.first == "0" else f" + {along.first} * {outputs}"
                x = f"x + ({across_row} + {along.position(along.first)}) * {channels}"
                call(1, x, f"weights{first_row}{first}", down, along)

        if start > 0:
            single(0, start)
        if whole > start:
            with w.block(f"for (int32_t ox = {start}; ox < {whole}; ox += {m})"):
                x = f"x + ({across_row} + ox * {op.stride[1]} - {op.padding.left}) * {channels}"
                call(m, x, f"weights{first_row}", down, None)
        if whole < out_width:
            single(whole, out_width)
    return tuple(used)
