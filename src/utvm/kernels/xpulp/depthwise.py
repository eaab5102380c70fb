"""Depthwise convolutions by dot products, four channels at once."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from utvm.codegen import CWriter
from utvm.cores import Core
from utvm.graph import DepthwiseConv2D, Operator
from utvm.kernels.base import Config, Kernel, Space
from utvm.kernels.weighted import offset
from utvm.kernels.workload_keys import dims
from utvm.kernels.xpulp.code import XpulpFamily
from utvm.kernels.xpulp.depthwise_code import (
    CHANNELS,
    MOST_PIXELS,
    SHAPE,
    TapsSpec,
    depthwise_cycles,
    depthwise_function,
    packed,
)
from utvm.kernels.xpulp.finish import StairFinish, finish_of
from utvm.kernels.xpulp.product import finish_words
from utvm.kernels.xpulp.windows import Windows, called_kernel

_MOST_TAPS = 64
"""Taps that are written out."""
_MOST_OUTPUTS = 64
"""Outputs of a channel, whose copies are written out."""
_CALL_CYCLES = 20.0
_WORDS = len(SHAPE) + 4
_SPACE: Space = {
    "m": tuple(range(1, MOST_PIXELS + 1)),
    "taps": ("window", "row"),
    "inner": ("channels", "pixels"),
    "band": (1, 2, 4),
}


class XpulpDepthwise(XpulpFamily):
    """DepthwiseConv2D.

    Knobs: `m` pixels at once, `taps` (those of a window written out, or of a row in a loop over rows), `inner` (what
    the loop in hardware goes over, inside of one over the others), `band` (rows of pixels whose input is copied at
    once).
    """

    name = "xpulp"
    kinds = (DepthwiseConv2D,)

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return why `op` is not for dot products."""
        found = super().refusal(op, core)
        if found is not None or not isinstance(op, DepthwiseConv2D):
            return found
        if op.y.shape[3] // op.x.shape[3] > _MOST_OUTPUTS:
            return f"a channel has more than {_MOST_OUTPUTS} outputs"
        if op.y.shape[3] < CHANNELS:
            return f"it has fewer than {CHANNELS} channels"
        if Windows.of(op, 1).window[1] > _MOST_TAPS:
            return f"its window has more than {_MOST_TAPS} columns"
        return "its sums have no exact finish" if finish_of(op) is None else None

    def space(self, op: Operator, core: Core) -> Space:
        """Return the knobs."""
        del op, core
        return _SPACE

    def legal(self, op: Operator, core: Core, config: Config) -> bool:
        """Whether a row has as many pixels, a loop several turns, and what is written out is little."""
        del core
        assert isinstance(op, DepthwiseConv2D)
        windows = Windows.of(op, int(config["m"]))
        rows, columns = windows.window
        if int(config["m"]) > op.y.shape[2] or not windows.may_band(int(config["band"])):
            return False
        return rows > 1 if config["taps"] == "row" else rows * columns <= _MOST_TAPS or rows == 1

    def default(self, op: Operator, core: Core) -> Config:
        """Return the config of the fewest cycles of those that copy the rows of one row of pixels: RAM is scarce."""
        every = [dict(zip(_SPACE, values, strict=True)) for values in product(*_SPACE.values())]
        return min(
            (config for config in every if config["band"] == 1 and self.legal(op, core, config)),
            key=lambda config: self.estimate(op, core, config),
        )

    def estimate(self, op: Operator, core: Core, config: Config) -> float:
        """Return the cycles of all calls and copies."""
        del core
        assert isinstance(op, DepthwiseConv2D)
        return _Plan(op, config).cycles()

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of `op`."""
        del core
        assert isinstance(op, DepthwiseConv2D)
        plan = _Plan(op, config)
        windows = plan.windows
        w = CWriter()
        for x, y in windows.rows_of_pixels(w):
            for place, call in enumerate(plan.calls):
                _write_call(w, plan, place, call, x, y)
        functions = tuple(dict.fromkeys(depthwise_function(call.spec) for call in plan.calls))
        return called_kernel(
            op,
            windows,
            config,
            stem=f"depthwise_{dims(op.x.shape[1:])}_k{op.weights.shape[1]}x{op.weights.shape[2]}",
            body=w.text,
            functions=functions,
            constants={"weights": plan.weights(), "finish": plan.finishes(), "shape": plan.shapes()},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """A call for a row of pixels: its function, the first pixel, the first channel, and turns of both loops."""

    spec: TapsSpec
    pixel: int
    channel: int
    inner: int
    outer: int


class _Plan:
    """What the C and the constants of one layer agree on."""

    def __init__(self, op: DepthwiseConv2D, config: Config) -> None:
        self.op = op
        self.m, self.by_rows, self.along = int(config["m"]), config["taps"] == "row", config["inner"] == "pixels"
        self.windows = Windows.of(op, self.m, int(config["band"]))
        found = finish_of(op)
        assert found is not None
        self.finish: StairFinish = found
        self.channels = op.y.shape[3]

    @property
    def blocks(self) -> list[tuple[int, int]]:
        """First channel and how many blocks of four; the last block of an odd number repeats channels before it."""
        whole, left = divmod(self.channels, CHANNELS)
        return [(0, whole), *([(self.channels - CHANNELS, 1)] if left else [])]

    @property
    def calls(self) -> list[_Call]:
        """The calls for a row of pixels: those for the same pixels are neighbours."""
        calls = []
        for pixels, start, end in self.windows.blocks(self.m):
            for channel, blocks in self.blocks:
                turns = (end - start) // pixels, blocks
                inner, outer = turns if self.along else turns[::-1]
                spec = TapsSpec(
                    pixels=pixels,
                    window=self.windows.window,
                    by_rows=self.by_rows,
                    along=self.along,
                    once=outer == 1,
                    form=self.finish.form,
                    saturates=self.finish.saturates,
                )
                calls.append(_Call(spec=spec, pixel=start, channel=channel, inner=inner, outer=outer))
        return calls

    def cycles(self) -> float:
        """Return about the cycles of the layer."""
        windows = self.windows
        total = 0.0
        for call in self.calls:
            total += depthwise_cycles(call.spec, inner=call.inner, outer=call.outer) + _CALL_CYCLES
            unaligned = 0.75 * (windows.channels % CHANNELS > 0)
            total += unaligned * call.spec.pixels * call.inner * call.outer * windows.window[0] * windows.window[1]
        return windows.images * windows.lines * total + windows.copy_cycles()

    def weights(self) -> NDArray[np.int8]:
        """Return the weights of all blocks."""
        values = self.op.weights.values.reshape(-1, self.channels)
        spec = self.calls[0].spec
        pieces = [packed(values[:, first : first + CHANNELS * blocks], spec) for first, blocks in self.blocks]
        return np.concatenate([piece.reshape(-1) for piece in pieces])

    def finishes(self) -> NDArray[np.int32]:
        """Return the starts of each block and then the words of its channels."""
        return finish_words(self.finish, [(CHANNELS, first, blocks) for first, blocks in self.blocks])

    def shapes(self) -> NDArray[np.int32]:
        """Return the words of `SHAPE`, and those of the finish, for each call."""
        words = [[*self._shape(call), *self.finish.common, *self.finish.clamp] for call in self.calls]
        return np.array(words, np.int64).astype(np.int32).reshape(-1)

    def _shape(self, call: _Call) -> list[int]:
        windows, pixels = self.windows, call.spec.pixels
        tap = windows.dilation[1] * windows.channels
        row = windows.row_bytes - (windows.window[1] - 1) * tap
        along = pixels * windows.pitch, pixels * windows.out_channels
        inside, around = (along, (CHANNELS, CHANNELS)) if self.along else ((CHANNELS, CHANNELS), along)
        following = [far - call.inner * near for near, far in zip(inside, around, strict=True)]
        return [tap, row, windows.pitch, windows.out_channels, call.inner, call.outer, *inside, *following]


def _write_call(w: CWriter, plan: _Plan, place: int, call: _Call, x: str, y: str) -> None:
    """Write a call for a row of pixels."""
    windows, spec = plan.windows, call.spec
    done = -(-call.channel // CHANNELS)
    weights, finish = done * spec.weight_bytes, done * spec.finish_bytes // 4
    operands = (
        f"{x}{offset(call.pixel * windows.pitch + call.channel)}",
        f"weights{offset(weights)}",
        f"finish{offset(finish)}",
        f"shape{offset(place * _WORDS)}",
        f"{y}{offset(call.pixel * windows.out_channels + call.channel)}",
    )
    w(f"{spec.name}({', '.join(operands)});")
