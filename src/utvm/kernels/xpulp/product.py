"""Convolutions and fully connected layers by dot products of four bytes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from utvm.codegen import CWriter
from utvm.cores import Core
from utvm.graph import Conv2D, FullyConnected, Operator
from utvm.kernels.base import Config, Kernel, Space
from utvm.kernels.workload_keys import dims
from utvm.kernels.xpulp.code import XpulpFamily
from utvm.kernels.xpulp.finish import StairFinish, finish_of
from utvm.kernels.xpulp.product_code import SHAPE, WORD, DotSpec, fits, product_cycles, product_function
from utvm.kernels.xpulp.windows import Windows, called_kernel

_SPACE: Space = {"m": (1, 2, 3, 4), "n": (1, 2, 3, 4, 5, 6, 7, 8)}
_CALL_CYCLES = 20.0
"""Cycles of the C around a call."""


class XpulpProduct(XpulpFamily):
    """Conv2D and FullyConnected. Knobs: `m` pixels and `n` channels whose sums are in registers."""

    name = "xpulp"
    kinds = (Conv2D, FullyConnected)

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return why `op` is not for dot products."""
        found = super().refusal(op, core)
        if found is not None or not isinstance(op, Conv2D | FullyConnected):
            return found
        return "its sums have no exact finish" if finish_of(op) is None else None

    def space(self, op: Operator, core: Core) -> Space:
        """Return the knobs."""
        del op, core
        return _SPACE

    def legal(self, op: Operator, core: Core, config: Config) -> bool:
        """Whether a block has registers, and the layer as many pixels and channels."""
        del core
        assert isinstance(op, Conv2D | FullyConnected)
        m, n = int(config["m"]), int(config["n"])
        return fits(m, n) and m <= Windows.of(op, m).across and n <= _outputs(op)

    def default(self, op: Operator, core: Core) -> Config:
        """Return the config of the fewest cycles."""
        every = [{"m": m, "n": n} for m in (1, 2, 3, 4) for n in range(1, 9)]
        return min(
            (config for config in every if self.legal(op, core, config)),
            key=lambda config: self.estimate(op, core, config),
        )

    def estimate(self, op: Operator, core: Core, config: Config) -> float:
        """Return the cycles of all calls and copies."""
        del core
        assert isinstance(op, Conv2D | FullyConnected)
        return _Plan(op, config).cycles()

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of `op`."""
        del core
        assert isinstance(op, Conv2D | FullyConnected)
        plan = _Plan(op, config)
        w = CWriter()
        windows = plan.windows
        windows.write(w, plan.m, lambda pixels, x, y: _write_calls(w, plan, pixels, x, y))
        functions = tuple(
            product_function(plan.spec(pixels, channels))
            for pixels, _, _ in windows.blocks(plan.m)
            for channels, _, _ in plan.channel_blocks
        )
        return called_kernel(
            op,
            windows,
            config,
            stem=_stem(op),
            body=w.text,
            functions=functions,
            constants={"weights": plan.weights(), "finish": plan.finishes(), "shape": plan.shapes()},
        )


class _Plan:
    """What the C and the constants of one layer agree on."""

    def __init__(self, op: Conv2D | FullyConnected, config: Config) -> None:
        self.op = op
        self.m, self.n = int(config["m"]), int(config["n"])
        self.windows = Windows.of(op, self.m)
        found = finish_of(op)
        assert found is not None
        self.finish: StairFinish = found
        self.groups = 1 if isinstance(op, FullyConnected) else op.groups
        self.channels = _outputs(op)
        self.rows = self.windows.window[0]
        self.depth = op.weights.shape[-1]
        self.run_words = -(-self.windows.window[1] * self.depth // WORD)

    @property
    def channel_blocks(self) -> list[tuple[int, int, int]]:
        """Channels at once, their first in a group and how many blocks: of n, and what is left."""
        blocks, left = divmod(self.channels, self.n)
        return [(self.n, 0, blocks), *([(left, blocks * self.n, 1)] if left else [])]

    @property
    def all_blocks(self) -> list[tuple[int, int, int]]:
        """The blocks of all groups, with their first channel of all."""
        firsts = [group * self.channels for group in range(self.groups)]
        return [(n, begin + first, blocks) for begin in firsts for n, first, blocks in self.channel_blocks]

    def spec(self, pixels: int, channels: int) -> DotSpec:
        """Return the function of a block."""
        return DotSpec(
            pixels=pixels,
            channels=channels,
            rows=self.rows > 1,
            form=self.finish.form,
            saturates=self.finish.saturates,
        )

    def cycles(self) -> float:
        """Return about the cycles of the layer."""
        windows = self.windows
        total = 0.0
        for pixels, start, end in windows.blocks(self.m):
            for channels, _, blocks in self.channel_blocks:
                spec = self.spec(pixels, channels)
                call = product_cycles(spec, rows=self.rows, words=self.run_words, blocks=blocks) + _CALL_CYCLES
                call += self._unaligned * pixels * self.rows * self.run_words * blocks
                total += (end - start) // pixels * call
        return windows.images * windows.lines * self.groups * total + windows.copy_cycles()

    @property
    def _unaligned(self) -> float:
        """Cycles that a load of a pixel takes more since it may cross a word."""
        both = (self.windows.pitch, self.windows.row_bytes, self.depth if self.groups > 1 else 0)
        return 0.0 if all(value % WORD == 0 for value in both) else 0.5 if all(v % 2 == 0 for v in both) else 0.75

    def weights(self) -> NDArray[np.int8]:
        """Return the weights as words [group, block, row, word, channel]."""
        channels = self.groups * self.channels
        values = self.op.weights.values.reshape(channels, self.rows, -1)
        padded = np.zeros((channels, self.rows, self.run_words * WORD), np.int8)
        padded[:, :, : values.shape[2]] = values
        words = padded.reshape(channels, self.rows * self.run_words, WORD)
        pieces = [
            words[first : first + n * blocks].reshape(blocks, n, -1, WORD).transpose(0, 2, 1, 3).reshape(-1)
            for n, first, blocks in self.all_blocks
        ]
        return np.concatenate(pieces)

    def finishes(self) -> NDArray[np.int32]:
        """Return the starts of each block and then the words of its channels."""
        return finish_words(self.finish, self.all_blocks)

    def shapes(self) -> NDArray[np.int32]:
        """Return the words of `SHAPE`, and those of the finish, for each of the channel blocks."""
        windows = self.windows
        words = [
            [self.rows, self.run_words, windows.row_bytes - self.run_words * WORD, windows.pitch, blocks,
             windows.out_channels, *self.finish.common, *self.finish.clamp]
            for _, _, blocks in self.channel_blocks
        ]  # fmt: skip
        assert len(words[0]) == len(SHAPE) + 4
        return np.array(words, np.int64).astype(np.int32).reshape(-1)


def finish_words(finish: StairFinish, blocks: list[tuple[int, int, int]]) -> NDArray[np.int32]:
    """Return what functions read as `finish`: for each block its starts, and then the words of its channels."""
    pieces = []
    for n, first, count in blocks:
        for block in range(count):
            channels = slice(first + block * n, first + (block + 1) * n)
            pieces += [finish.start[channels] & 0xFFFFFFFF, finish.words[channels].reshape(-1).astype(np.int64)]
    return np.concatenate(pieces).astype(np.uint32).view(np.int32)


def _write_calls(w: CWriter, plan: _Plan, pixels: int, x: str, y: str) -> None:
    """Write the calls for a block of pixels and all channels."""
    taps, words = plan.rows * plan.run_words * WORD, 1 + plan.finish.form.words
    if plan.groups == 1:
        _write_group(w, plan, pixels, x, y, "weights", "finish")
        return
    with w.loop("g", plan.groups):
        weights, finish = (f"{n} + g * {plan.channels * s}" for n, s in (("weights", taps), ("finish", words)))
        _write_group(w, plan, pixels, f"{x} + g * {plan.depth}", f"{y} + g * {plan.channels}", weights, finish)


def _write_group(w: CWriter, plan: _Plan, pixels: int, x: str, y: str, weights: str, finish: str) -> None:
    """Write the calls for a block of pixels and the channels of a group."""
    taps, words = plan.rows * plan.run_words * WORD, 1 + plan.finish.form.words
    for place, (channels, first, _) in enumerate(plan.channel_blocks):
        name = plan.spec(pixels, channels).name
        shape = f"shape + {place * (len(SHAPE) + 4)}" if place else "shape"
        w_at, f_at = (f"{n} + {first * s}" if first else n for n, s in ((weights, taps), (finish, words)))
        w(f"{name}({x}, {w_at}, {f_at}, {shape}, {y}{f' + {first}' if first else ''});")


def _outputs(op: Conv2D | FullyConnected) -> int:
    """Return the outputs of a group."""
    return op.weights.shape[0] // (1 if isinstance(op, FullyConnected) else op.groups)


def _stem(op: Conv2D | FullyConnected) -> str:
    if isinstance(op, FullyConnected):
        return f"fully_connected_{op.weights.shape[1]}_{op.weights.shape[0]}"
    return f"conv2d_{dims(op.x.shape[1:])}_{op.weights.shape[0]}_k{op.weights.shape[1]}x{op.weights.shape[2]}"
