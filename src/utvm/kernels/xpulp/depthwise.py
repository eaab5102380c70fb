"""Depthwise convolutions by dot products, four channels at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from utvm.codegen import CWriter
from utvm.cores import Core
from utvm.graph import DepthwiseConv2D, Operator
from utvm.kernels.base import Config, Kernel, Space
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
"""Taps of a window, all of which are written out."""
_MOST_OUTPUTS = 64
"""Outputs of a channel, whose copies are written out."""
_CALL_CYCLES = 20.0
_WORDS = len(SHAPE) + 4


class XpulpDepthwise(XpulpFamily):
    """DepthwiseConv2D. Knob: `m` pixels at once."""

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
        if op.weights.shape[1] * op.weights.shape[2] > _MOST_TAPS:
            return f"its window has more than {_MOST_TAPS} taps"
        return "its sums have no exact finish" if finish_of(op) is None else None

    def space(self, op: Operator, core: Core) -> Space:
        """Return the knob."""
        del op, core
        return {"m": tuple(range(1, MOST_PIXELS + 1))}

    def legal(self, op: Operator, core: Core, config: Config) -> bool:
        """Whether a row has as many pixels."""
        del core
        assert isinstance(op, DepthwiseConv2D)
        return int(config["m"]) <= op.y.shape[2]

    def default(self, op: Operator, core: Core) -> Config:
        """Return the config of the fewest cycles."""
        every = [{"m": m} for m in range(1, MOST_PIXELS + 1)]
        return min(
            (config for config in every if self.legal(op, core, config)),
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
        windows.write(w, plan.m, lambda pixels, x, y: _write_calls(w, plan, pixels, x, y))
        functions = tuple(depthwise_function(plan.spec(pixels)) for pixels, _, _ in windows.blocks(plan.m))
        return called_kernel(
            op,
            windows,
            config,
            stem=f"depthwise_{dims(op.x.shape[1:])}_k{op.weights.shape[1]}x{op.weights.shape[2]}",
            body=w.text,
            functions=functions,
            constants={"weights": plan.weights(), "finish": plan.finishes(), "shape": plan.shapes()},
        )


class _Plan:
    """What the C and the constants of one layer agree on."""

    def __init__(self, op: DepthwiseConv2D, config: Config) -> None:
        self.op = op
        self.m = int(config["m"])
        self.windows = Windows.of(op, self.m)
        found = finish_of(op)
        assert found is not None
        self.finish: StairFinish = found
        self.channels = op.y.shape[3]

    @property
    def blocks(self) -> list[tuple[int, int]]:
        """First channel and how many blocks of four; the last block of an odd number repeats channels before it."""
        whole, left = divmod(self.channels, CHANNELS)
        return [(0, whole), *([(self.channels - CHANNELS, 1)] if left else [])]

    def spec(self, pixels: int) -> TapsSpec:
        """Return the function of so many pixels."""
        return TapsSpec(
            pixels=pixels,
            window=self.windows.window,
            form=self.finish.form,
            saturates=self.finish.saturates,
        )

    def cycles(self) -> float:
        """Return about the cycles of the layer."""
        windows = self.windows
        total = 0.0
        for pixels, start, end in windows.blocks(self.m):
            for _, blocks in self.blocks:
                call = depthwise_cycles(self.spec(pixels), blocks=blocks) + _CALL_CYCLES
                unaligned = 0.75 * (windows.channels % CHANNELS > 0)
                call += unaligned * pixels * blocks * windows.window[0] * windows.window[1]
                total += (end - start) // pixels * call
        return windows.images * windows.lines * total + windows.copy_cycles()

    def weights(self) -> NDArray[np.int8]:
        """Return the weights of all blocks."""
        values = self.op.weights.values.reshape(-1, self.channels)
        pieces = [packed(values[:, first : first + CHANNELS * blocks]).reshape(-1) for first, blocks in self.blocks]
        return np.concatenate(pieces)

    def finishes(self) -> NDArray[np.int32]:
        """Return the starts of each block and then the words of its channels."""
        return finish_words(self.finish, [(CHANNELS, first, blocks) for first, blocks in self.blocks])

    def shapes(self) -> NDArray[np.int32]:
        """Return the words of `SHAPE`, and those of the finish, for all blocks and for the last one."""
        windows = self.windows
        tap = windows.dilation[1] * windows.channels
        row = windows.row_bytes - (windows.window[1] - 1) * tap
        words = [
            [tap, row, windows.pitch, blocks, windows.out_channels, 0, *self.finish.common, *self.finish.clamp]
            for _, blocks in self.blocks
        ]
        return np.array(words, np.int64).astype(np.int32).reshape(-1)


def _write_calls(w: CWriter, plan: _Plan, pixels: int, x: str, y: str) -> None:
    """Write the calls for a block of pixels and all channels."""
    name = plan.spec(pixels).name
    height, width = plan.windows.window
    words = (height * width + 1) // 2 * CHANNELS * CHANNELS
    finish_size = CHANNELS * (1 + plan.finish.form.words)
    done = 0
    for place, (first, blocks) in enumerate(plan.blocks):
        more = f" + {first}" if first else ""
        weights = f"weights + {done * words}" if done else "weights"
        finish = f"finish + {done * finish_size}" if done else "finish"
        shape = f"shape + {place * _WORDS}" if place else "shape"
        w(f"{name}({x}{more}, {weights}, {finish}, {shape}, {y}{more});")
        done += blocks
