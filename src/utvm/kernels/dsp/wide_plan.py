"""What the C, the micro-kernels and the stream of one layer of int16 activations and int8 weights agree on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from utvm.graph import Conv2D, FullyConnected
from utvm.kernels.base import Config
from utvm.kernels.dsp.assembly import MAX_OFFSET
from utvm.kernels.dsp.direct_plan import PAIRED, BlockPlan, BlockSize, most_pairs, weights4
from utvm.kernels.dsp.finish import Finish, Requantizer, Saturation
from utvm.kernels.dsp.geometry import ExpandedRows, Window
from utvm.kernels.dsp.multiply_spec import MOST_ADDRESSES, MultiplySpec
from utvm.kernels.dsp.stream import WeightForm, lane_words, to_words
from utvm.kernels.dsp.wide_finish import LARGEST_INPUT, biases, is_wrapping, wide_requantizer

_MOST_PAIRS = 255
"""Lane pairs whose sum never leaves 32 bits."""
_LANE_CYCLES = 1.5
"""Cycles of an activation that is copied."""
_FINISH_CYCLES, _PART_CYCLES = 20, 3
"""Cycles of an output that C finishes, and of each part of its sum."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WidePlan(BlockPlan):
    """Everything that the C, the micro-kernels and the stream of one layer agree on.

    Attributes:
        finish: of the micro-kernel; None where it stores sums, which C finishes.
        parts: the calls for one block of pixels: each sums some rows of the window, so that 32 bits suffice.
    """

    finish: Requantizer | None
    parts: int

    @staticmethod
    def of(op: Conv2D | FullyConnected, config: Config) -> WidePlan:
        """Return the plan of an operator under a legal config."""
        m, n = int(config["m"]), int(config["n"])
        rows = rows_of(op, m)
        finish = wide_requantizer(op)
        parts = _parts(op, m, n) if finish is None else 1
        assert parts is not None
        return WidePlan(
            op=op, rows=rows, finish=finish, parts=parts, m=m, n=n,
            form=WeightForm(str(config["form"])), unrolled=bool(int(config["unroll"])),
            paired=int(config["unroll"]) == PAIRED,
        )  # fmt: skip

    @property
    def chunks(self) -> int:
        return self.parts

    @property
    def in_place(self) -> bool:
        """Whether micro-kernels read the input where it is."""
        window, rows = self.window, self.rows
        if window.padding.any or window.groups > 1 or window.channels % 2 or rows.pitch != window.channels:
            return False
        return self.rows.taps()[-1] // 2 + 2 <= ((window.kernel[1] - 1) * window.dilation[1] + 1) * rows.pitch

    @property
    def sums_bytes(self) -> int:
        """Bytes of the sums of a block of pixels, all channels of a group."""
        return 0 if self.finish is not None else 4 * self.parts * self.m * self.window.out_channels

    @property
    def scratch_bytes(self) -> int:
        return self.rows_bytes + self.sums_bytes

    @property
    def around_cycles(self) -> float:
        """About the cycles of copying the input and of finishing sums in C."""
        copied = 0.0 if self.in_place else _LANE_CYCLES * self.op.x.elements
        if self.finish is not None:
            return copied
        return copied + self.op.y.elements * (_FINISH_CYCLES + _PART_CYCLES * self.parts)

    @property
    def split(self) -> tuple[int, tuple[int, ...]]:
        return _split(self.op, self.m, self.n)

    def spec(self, block: BlockSize) -> MultiplySpec:
        parts, taps = self.split
        starts = [self.rows.pixel_offset(m) for m in range(block.m)]
        finish = self.finish
        return MultiplySpec(
            rows=self.window.kernel[0] * parts // self.parts,
            offsets=tuple(tuple([start + tap for tap in taps]) for start in starts),
            channels=block.n,
            pixel_stride=self.window.out_pixel_elements if finish else self.window.out_channels,
            form=self.form_of(block),
            finish=finish.finish if finish else Finish.SUM,
            saturation=finish.saturation if finish else Saturation(),
            unrolled=self.unrolled,
            uniform=False,
            paired=self.paired and block.n == self.n,
        )

    def stream(self) -> NDArray[np.int32]:
        lanes = self.rows.weight_lanes(weights4(self.op))
        if self.finish is not None:
            lanes = lanes << self.finish.left[:, None, None]
        channels, n = self.window.out_channels, self.n
        # [OC, part, pairs of a part, lane of a pair]
        pairs = lanes.reshape(lanes.shape[0], self.parts, -1, 2)
        full, words = channels // n, []
        for first in range(0, self.window.groups * channels, channels):
            for part in range(self.parts):
                chosen = pairs[:, part]
                words += [self._words(chosen, first, full, n)] if full else []
                words += [self._words(chosen, first + full * n, 1, channels % n)] if channels % n else []
        return to_words(np.concatenate(words))

    def _words(self, pairs: NDArray[np.int64], start: int, blocks: int, n: int) -> NDArray[np.int64]:
        """Return the words of blocks of `n` channels each, one block after the other."""
        stop = start + blocks * n
        chosen = pairs[start:stop].reshape(blocks, n, -1, 2)
        if self.form_of(BlockSize(m=1, n=n)) is WeightForm.BYTES:
            chosen = (chosen[:, 0::2] & 0xFF) | ((chosen[:, 1::2] & 0xFF) << 8)
        words = lane_words(chosen[..., 0], chosen[..., 1]).transpose(0, 2, 1).reshape(blocks, -1)
        if self.finish is None:
            return words.reshape(-1)
        found = self.finish
        starts = (biases(self.op) << found.left)[start:stop].reshape(blocks, n)
        shared = np.tile(np.array(found.shared_constants(), np.int64), (blocks, 1))
        own = found.constants(start, stop).reshape(blocks, n)
        return np.concatenate([starts, words, shared, own], axis=1).reshape(-1)


@lru_cache(maxsize=64)
def rows_of(op: Conv2D | FullyConnected, m: int) -> ExpandedRows:
    """Return how rows of activations lie: in their own order."""
    return replace(ExpandedRows.of(Window.of(op, m)), quads=False)


def plan_refusal(op: Conv2D | FullyConnected, m: int, n: int) -> str | None:
    """Return why a block of m pixels and n channels has no plan; None where it has."""
    rows = rows_of(op, m)
    split = rows.split(m, _most(op, m, n))
    if split is None:
        return "a row of its window is out of a load's reach"
    if rows.window.kernel[0] * split[0] > MOST_ADDRESSES:
        return "the addresses of its window's rows do not fit the stack"
    if wide_requantizer(op) is None and _parts(op, m, n) is None:
        return "a sum of one row of its window may leave 32 bits"
    return None


def stores_reach(op: Conv2D | FullyConnected, m: int, n: int) -> bool:
    """Whether the outputs of a block are in a store's reach."""
    window = Window.of(op, m)
    size, pixel = (4, window.out_channels) if wide_requantizer(op) is None else (2, window.out_pixel_elements)
    return size * ((m - 1) * pixel + 2 * n) <= MAX_OFFSET


def _most(op: Conv2D | FullyConnected, m: int, n: int) -> int:
    most = most_pairs(m, n)
    return most if wide_requantizer(op) is not None else min(most, _MOST_PAIRS)


def _split(op: Conv2D | FullyConnected, m: int, n: int) -> tuple[int, tuple[int, ...]]:
    found = rows_of(op, m).split(m, _most(op, m, n))
    assert found is not None
    return found


@lru_cache(maxsize=64)
def _parts(op: Conv2D | FullyConnected, m: int, n: int) -> int | None:
    """Return the fewest equal parts of a window's terms whose sums fit 32 bits; None where there are none."""
    if is_wrapping(op):
        return 1
    lanes = np.abs(rows_of(op, m).weight_lanes(weights4(op))) * LARGEST_INPUT
    addresses = lanes.shape[1] * _split(op, m, n)[0]
    for parts in range(1, addresses + 1):
        if addresses % parts == 0 and lanes.reshape(lanes.shape[0], parts, -1).sum(axis=2).max() < 1 << 31:
            return parts
    return None
