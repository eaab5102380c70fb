"""Weighted operators in blocks of pixels and channels, row by row; taps outside of the input are left out.

What a block computes with is a `BlockWriter`'s.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from utvm.codegen import CWriter
from utvm.graph import Conv2D, DepthwiseConv2D, FullyConnected
from utvm.kernels.portable.window import Taps, window_taps
from utvm.kernels.weighted import offset

Weighted = Conv2D | DepthwiseConv2D | FullyConnected

_MOST_TERMS = 72
"""Terms of a row of a depthwise window that are written out."""


class PixelStretch(NamedTuple):
    """Pixels of a row from `start` to below `stop`, so many at once; `inside` if all columns of their windows are."""

    start: int
    stop: int
    pixels: int
    inside: bool


class Layer:
    """A weighted operator as one of images; where each output pixel reads the input pixel of its number, of one row.

    Attributes:
        flat: whether it has one row, of all pixels or all rows of a fully connected layer.
        channels: of the output, in a group.
        multiplier: channels of the output that a channel of a depthwise input makes.
        depth: neighbours in memory that a tap reads.
        width: pixels of a row of the output.
        step: elements from a pixel to the next window's.
    """

    def __init__(self, op: Weighted) -> None:
        self.op = op
        self.depthwise = isinstance(op, DepthwiseConv2D)
        self.multiplier = op.multiplier if isinstance(op, DepthwiseConv2D) else 1
        self.flat = isinstance(op, FullyConnected) or _is_pointwise(op)
        self.groups = op.groups if isinstance(op, Conv2D) else 1
        if isinstance(op, DepthwiseConv2D):
            self.channels, self.depth = op.weights.shape[3], 1
        else:
            self.channels, self.depth = op.weights.shape[0] // self.groups, op.weights.shape[-1]
        if isinstance(op, FullyConnected) or self.flat:
            self.rows, self.window = (1, 1), (1, 1)
            self.width = op.x.elements // self.depth
            self.step = self.depth
            return
        self.rows = op.y.shape[0], op.y.shape[1]
        self.window = op.weights.shape[1], op.weights.shape[2]
        self.width = op.y.shape[2]
        self.step = op.stride[1] * op.x.shape[3]

    @property
    def terms(self) -> int:
        """Products of an output."""
        return prod(self.window) * self.depth

    @property
    def is_run(self) -> bool:
        """Whether the columns of a row of the window lie together in memory."""
        op = self.op
        if isinstance(op, FullyConnected):
            return True
        return not self.depthwise and self.groups == 1 and (op.dilation[1] == 1 or self.window[1] == 1)

    def blocks(self, n: int) -> list[tuple[int, int, int]]:
        """Return where blocks of channels start and stop, and how many channels each has: n, then those that are left.

        Blocks of groups are full.
        """
        total = self.channels * self.groups
        full = total // n * n
        return [each for each in ((0, full, n), (full, total, total - full)) if each[0] < each[1]]

    def pieces(self, m: int) -> list[PixelStretch]:
        """Return the pieces of a row: by m pixels where all windows are inside, else one by one."""
        whole = [ox for ox in range(self.width) if self.is_whole(ox)] if not self.flat else [0, self.width - 1]
        first, last = (whole[0], whole[-1] + 1) if whole else (self.width, self.width)
        end = first + (last - first) // m * m
        every = ((0, first, 1, False), (first, end, m, True), (end, last, 1, True), (last, self.width, 1, False))
        return [PixelStretch(*each) for each in every if each[0] < each[1]]

    def seen(self, axis: int, start: int, stop: int) -> float:
        """Return how many taps of outputs from `start` to below `stop` lie inside, on average; axis 0 is down."""
        op = self.op
        if isinstance(op, FullyConnected) or self.flat:
            return 1.0
        before, stride, step = (op.padding.top, op.padding.left)[axis], op.stride[axis], op.dilation[axis]
        places = (
            output * stride - before + tap * step for output in range(start, stop) for tap in range(self.window[axis])
        )
        return sum(0 <= place < op.x.shape[1 + axis] for place in places) / (stop - start)

    def packed(self, n: int) -> NDArray[Any]:
        """Return weights: for each block of channels [ky, kx, terms, channels]; depthwise [ky, kx, channels]."""
        values: NDArray[Any] = self.op.weights.values
        if self.depthwise:
            return values
        rows = values.reshape(-1, self.terms)
        parts = [
            rows[start:stop].reshape(-1, size, self.terms).transpose(0, 2, 1).reshape(-1)
            for start, stop, size in self.blocks(n)
        ]
        return np.concatenate(parts)

    def is_whole(self, ox: int) -> bool:
        """Whether all columns of a window lie inside the input."""
        op = self.op
        if isinstance(op, FullyConnected):
            return True
        first = ox * op.stride[1] - op.padding.left
        return first >= 0 and first + (self.window[1] - 1) * op.dilation[1] < op.x.shape[2]


def _is_pointwise(op: Weighted) -> bool:
    if not isinstance(op, Conv2D):
        return False
    return op.weights.shape[1:3] == op.stride == (1, 1) and op.groups == 1 and not op.padding.any


class BlockWriter(ABC):
    """What writes the loops of a layer around its blocks.

    Args:
        w: what is written to.
        layer: the layer.
        m: pixels of a block.
        n: channels of a block.
        unroll: terms without a branch.
    """

    x_type: str
    weight_type: str

    def __init__(self, w: CWriter, layer: Layer, m: int, n: int, unroll: int) -> None:
        self.w, self.layer, self.m, self.n, self.unroll = w, layer, m, n, unroll

    @abstractmethod
    def start(self, pixel: int, channel: int) -> str:
        """Return the declaration of a sum."""

    @abstractmethod
    def write_run(self, m: int, n: int, run: str) -> None:
        """Write the terms of m pixels and n channels: `run` neighbours at `px` and `pw`, a multiple of `unroll`."""

    @abstractmethod
    def write_tap(self, m: int, n: int, x: int, w: int) -> None:
        """Write one tap of a depthwise convolution, x elements behind `px` and w behind `pw`."""

    @abstractmethod
    def finish(self, pixel: int, channel: int) -> str:
        """Return what is stored of a sum; `oc` is the block's first channel."""

    def write(self) -> None:
        """Write the whole layer."""
        w, layer, m, op = self.w, self.layer, self.m, self.layer.op
        pieces = layer.pieces(m)
        if isinstance(op, FullyConnected) or layer.flat:
            for piece in pieces:
                with w.loop("ox", piece.stop, start=piece.start, step=piece.pixels):
                    self._write_blocks(piece.pixels, None, None)
            return
        with w.loop("n", layer.rows[0]), w.loop("oy", layer.rows[1]):
            ty = window_taps(w, op, "y")
            for piece in pieces:
                pixels = w.loop("ox", piece.stop, start=piece.start, step=piece.pixels)
                with pixels, self._columns(inside=piece.inside) as tx:
                    self._write_blocks(piece.pixels, ty, tx)

    @contextmanager
    def _columns(self, *, inside: bool) -> Iterator[Taps]:
        """Write where a window starts, and which of its columns are inside where some are not."""
        op, width = self.layer.op, self.layer.window[1]
        assert not isinstance(op, FullyConnected)
        if inside:
            self.w(f"const int32_t start_x = ox * {op.stride[1]}{offset(-op.padding.left)};")
            yield Taps(axis="x", first="0", last=str(width), window=width, dilation=op.dilation[1], may_be_none=False)
            return
        yield window_taps(self.w, op, "x")

    def _write_blocks(self, m: int, ty: Taps | None, tx: Taps | None) -> None:
        """Write the sums of m pixels and all channels."""
        for start, stop, n in self.layer.blocks(self.n):
            with self.w.loop("oc", stop, start=start, step=n):
                self._write_block(m, n, ty, tx)

    def _write_block(self, m: int, n: int, ty: Taps | None, tx: Taps | None) -> None:
        """Write the sums of m pixels and n channels."""
        w, layer = self.w, self.layer
        for pixel, channel in product(range(m), range(n)):
            w(self.start(pixel, channel))
        if ty is None or tx is None:
            w(f"const {self.x_type} *px = x + ox * {layer.depth};")
            w(f"const {self.weight_type} *pw = weights + oc * {layer.depth};")
            self.write_run(m, n, str(layer.depth))
        else:
            with ty.loop(w) as ky:
                self._write_row(m, n, ky, ty, tx)
        rows = f"(n * {layer.rows[1]} + oy) * {layer.width} + " if ty is not None else ""
        for pixel, channel in product(range(m), range(n)):
            place = f"({rows}ox{offset(pixel)}) * {layer.channels * layer.groups} + oc{offset(channel)}"
            w(f"y[{place}] = {self.finish(pixel, channel)};")

    def _write_row(self, m: int, n: int, ky: str, ty: Taps, tx: Taps) -> None:
        """Write the terms of one row of the window."""
        w, layer, op = self.w, self.layer, self.layer.op
        assert not isinstance(op, FullyConnected)
        _, height, width, channels = op.x.shape
        row = f"(n * {height} + {ty.position(ky)}) * {width}"
        taps, depth = layer.window, layer.depth
        if layer.depthwise:
            self._write_taps(m, n, ky, row, tx)
            return
        block, step = f"oc * {layer.terms} + {ky} * {taps[1] * depth * n}", depth * n
        if layer.is_run:
            with tx.if_any(w):
                w(f"const {self.x_type} *px = x + ({row} + {tx.position(tx.first)}) * {channels};")
                w(f"const {self.weight_type} *pw = weights + {block} + {tx.first} * {step};")
                self.write_run(m, n, str(taps[1] * depth) if tx.all_inside else f"{tx.count} * {depth}")
            return
        group = "" if layer.groups == 1 else f" + oc / {layer.channels} * {depth}"
        with tx.loop(w) as kx:
            w(f"const {self.x_type} *px = x + ({row} + {tx.position(kx)}) * {channels}{group};")
            w(f"const {self.weight_type} *pw = weights + {block} + {kx} * {step};")
            self.write_run(m, n, str(depth))

    def _write_taps(self, m: int, n: int, ky: str, row: str, tx: Taps) -> None:
        """Write the taps of one row of a depthwise window: in a row where all are inside and few."""
        w, layer, op = self.w, self.layer, self.layer.op
        assert isinstance(op, DepthwiseConv2D)
        channels, columns = op.x.shape[3], layer.window[1]
        first = "oc" if layer.multiplier == 1 else f"oc / {layer.multiplier}"

        def point(kx: str) -> None:
            w(f"const {self.x_type} *px = x + ({row} + {tx.position(kx)}) * {channels} + {first};")
            w(f"const {self.weight_type} *pw = weights + ({ky} * {columns} + {kx}) * {layer.channels} + oc;")

        if tx.all_inside and m * n * columns <= _MOST_TERMS:
            point("0")
            for column in range(columns):
                with w.block(""):
                    self.write_tap(m, n, column * op.dilation[1] * channels, column * layer.channels)
            return
        with tx.loop(w) as kx:
            point(kx)
            self.write_tap(m, n, 0, 0)
