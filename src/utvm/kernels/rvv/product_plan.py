"""What a convolution or a fully connected layer by vectors of channels reads where, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from utvm.graph import Conv2D, FullyConnected
from utvm.kernels.base import Config
from utvm.kernels.dsp.finish import folded_bias
from utvm.kernels.helium.finish import VectorFinish
from utvm.kernels.overlap import nest_ahead
from utvm.kernels.rvv.finish import constants
from utvm.kernels.rvv.product_code import ProductSpec, product_instructions, shape

_COPY_INSTRUCTIONS = 24
"""Of a call that copies or fills a few bytes, and of the C around it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProductPlan:
    """What the C and the constants of one layer agree on.

    Attributes:
        op: the layer.
        m: pixels at once.
        group: registers of a vector of sums.
        across: pixels of a row.
        inside: the first pixel of a row whose taps lie in memory as runs, and the first one behind these.
        rows_inside: the same for rows of pixels.
    """

    op: Conv2D | FullyConnected
    m: int
    group: int
    across: int
    inside: tuple[int, int]
    rows_inside: tuple[int, int]

    @staticmethod
    def of(op: Conv2D | FullyConnected, config: Config) -> ProductPlan:
        """Return the plan of a config."""
        m, size = int(config["m"]), int(config["group"])
        if isinstance(op, FullyConnected) or is_flat(op):
            pixels = op.y.elements // op.weights.shape[0]
            return ProductPlan(op=op, m=m, group=size, across=pixels, inside=(0, pixels), rows_inside=(0, 1))
        _, height, width, channels = op.x.shape
        _, out_height, out_width, _ = op.y.shape
        down = inside(out_height, height, op.stride[0], op.padding.top, (op.weights.shape[1] - 1) * op.dilation[0])
        along = inside(out_width, width, op.stride[1], op.padding.left, (op.weights.shape[2] - 1) * op.dilation[1])
        if op.weights.shape[2] > 1 and (op.dilation[1] > 1 or op.weights.shape[3] < channels):
            along = (0, 0)
        if along[0] == along[1] or down[0] == down[1]:
            along = down = (0, 0)
        return ProductPlan(op=op, m=m, group=size, across=out_width, inside=along, rows_inside=down)

    @property
    def flat(self) -> bool:
        """Whether all pixels are one row."""
        return isinstance(self.op, FullyConnected) or is_flat(self.op)

    @property
    def flat_pitch(self) -> int:
        """Bytes from pixel to pixel of the input where all pixels are one row."""
        return self.groups * self.depth

    @property
    def ahead(self) -> int:
        """How far before its input the output must start: a block of pixels is read until its last channel."""
        if not self.flat:
            assert isinstance(self.op, Conv2D)
            return nest_ahead(self.op)
        blocks = [
            (first, first + pixels)
            for pixels, begin, stop in parts(0, self.across, self.m)
            for first in range(begin, stop, pixels)
        ]
        return max(end * self.op.weights.shape[0] - first * self.flat_pitch for first, end in blocks)

    @property
    def groups(self) -> int:
        """Groups of channels."""
        return 1 if isinstance(self.op, FullyConnected) else self.op.groups

    @property
    def depth(self) -> int:
        """Taps of an output."""
        return prod(self.op.weights.shape[1:])

    @property
    def channels(self) -> int:
        """Outputs of a group."""
        return self.op.weights.shape[0] // self.groups

    @property
    def segments(self) -> list[tuple[int, int, bool]]:
        """First and end of the runs of pixels of a row inside, and whether they are read in place."""
        start, end = self.inside
        every = [(0, start, False), (start, end, True), (end, self.across, False)]
        return [each for each in every if each[0] < each[1]]

    @property
    def longest(self) -> int:
        """Pixels of the longest run."""
        whole = [self.across] if self.rows_inside != (0, self._lines) else []
        return max([end - start for start, end, _ in self.segments] + whole)

    @property
    def _lines(self) -> int:
        return 1 if self.flat else self.op.y.shape[1]

    @property
    def copies(self) -> bool:
        """Whether some taps are copied."""
        return not self.flat and (self.rows_inside != (0, self._lines) or self.inside != (0, self.across))

    @property
    def _counts(self) -> list[tuple[int, bool, int]]:
        """Lengths of runs of pixels, whether they are read in place, and how many there are in an image."""
        down = self.rows_inside[1] - self.rows_inside[0]
        found = [(end - start, there, down) for start, end, there in self.segments] if down else []
        return found + ([(self.across, False, self._lines - down)] if down < self._lines else [])

    @property
    def sizes(self) -> tuple[int, ...]:
        """The pixels at once of the functions that are called."""
        lengths = [length for length, _, _ in self._counts]
        large = any(length >= self.m for length in lengths)
        single = any(length % self.m for length in lengths)
        return tuple(sorted({*([self.m] if large else []), *([1] if single else [])}, reverse=True))

    def spec(self, pixels: int) -> ProductSpec:
        """Return the function of so many pixels."""
        return ProductSpec(pixels=pixels, group=self.group, finish=VectorFinish.of(self.op))

    def instructions(self, lanes: int) -> float:
        """Return about how many instructions a call takes, for vector registers of so many words."""
        op = self.op
        images = 1 if self.flat else op.x.shape[0]
        in_place = self._runs
        total = 0.0
        for length, there, lines in self._counts:
            rows, run = in_place if there else (1, self.depth)
            for pixels, times in ((self.m, length // self.m), (1, length % self.m)):
                call = product_instructions(self.spec(pixels), rows=rows, run=run, channels=self.channels, lanes=lanes)
                total += lines * times * (call + (0.0 if there else pixels * self._copy_instructions))
        return images * self.groups * total

    @property
    def _runs(self) -> tuple[int, int]:
        """How many runs the taps of a pixel are in memory, and the bytes of each."""
        if self.flat:
            return 1, self.depth
        height, width, channels = self.op.weights.shape[1:]
        return height, width * channels

    @property
    def _copy_instructions(self) -> float:
        height, width, _ = self.op.weights.shape[1:]
        return height * (width if self.by_taps else 3) * _COPY_INSTRUCTIONS + self.depth / 8

    @property
    def by_taps(self) -> bool:
        """Whether each tap is copied by itself, since neighbours do not lie side by side."""
        op = self.op
        assert isinstance(op, Conv2D)
        return op.dilation[1] > 1 or op.groups > 1

    def weights(self) -> NDArray[np.int8]:
        """Return the weights as [group, tap, channel]."""
        values = self.op.weights.values.reshape(self.groups, self.channels, self.depth)
        return np.ascontiguousarray(values.transpose(0, 2, 1)).astype(np.int8)

    def finish(self) -> NDArray[np.int32]:
        """Return biases and constants of the finish as [group, which, channel]."""
        rows = np.stack([folded_bias(self.op), *constants(self.op)])
        by_group = rows.reshape(len(rows), self.groups, self.channels).transpose(1, 0, 2)
        return np.ascontiguousarray(by_group).astype(np.int32)

    def shapes(self) -> NDArray[np.int32]:
        """Return the words of taps in place, and of copied ones."""
        op = self.op
        if self.flat:
            pitch, row_stride = self.flat_pitch, self.depth
        else:
            assert isinstance(op, Conv2D)
            pitch, row_stride = op.stride[1] * op.x.shape[3], op.dilation[0] * op.x.shape[2] * op.x.shape[3]

        def words(rows: int, run: int, row_stride: int, pitch: int) -> tuple[int, ...]:
            return shape(
                rows=rows, run=run, row_stride=row_stride, pitch=pitch, channels=self.channels,
                out_pitch=op.weights.shape[0], finish=VectorFinish.of(op),
            )  # fmt: skip

        copied = words(1, self.depth, self.depth, self.depth) if self.copies else ()
        return np.array([*words(*self._runs, row_stride, pitch), *copied], np.int32)


def parts(start: int, end: int, size: int) -> list[tuple[int, int, int]]:
    """Return pixels at once, first and end of whole blocks and of what is left, without the empty ones."""
    whole = start + (end - start) // size * size
    every = [(size, start, whole), (1, whole, end)]
    return [part for part in every if part[1] < part[2]]


def is_flat(op: Conv2D) -> bool:
    """Return whether the taps of all pixels are one run each, of one distance."""
    return op.weights.shape[1:3] == op.stride == (1, 1) and not op.padding.any


def inside(outputs: int, size: int, stride: int, before: int, reach: int) -> tuple[int, int]:
    """Return the first window that begins inside, and the first behind it that ends outside."""
    found = [o for o in range(outputs) if o * stride >= before and o * stride - before + reach < size]
    return (found[0], found[-1] + 1) if found else (0, 0)
