"""Weighted operators in blocks of pixels and channels, row by row; taps outside of the input are left out.

What a block computes with is a `BlockWriter`'s.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.codegen import CWriter
from utvm.graph import Conv2D, DepthwiseConv2D, FullyConnected
from utvm.kernels.portable.window import Taps, window_taps
from utvm.kernels.weighted import offset

Weighted = Conv2D | DepthwiseConv2D | FullyConnected


class Layer:
    """A weighted operator as one of images: a fully connected one has an image of one row, whose pixels are rows.

    Attributes:
        channels: of the output, in a group.
        depth: neighbours in memory that a tap reads.
        width: pixels of a row of the output.
        step: elements from a pixel to the next window's.
    """

    def __init__(self, op: Weighted) -> None:
        self.op = op
        self.depthwise = isinstance(op, DepthwiseConv2D)
        if isinstance(op, FullyConnected):
            self.channels, self.depth = op.weights.shape
            self.rows, self.groups, self.window = (1, 1), 1, (1, 1)
            self.width = op.x.elements // self.depth
            self.step = self.depth
            return
        self.rows = op.y.shape[0], op.y.shape[1]
        self.window = op.weights.shape[1], op.weights.shape[2]
        self.width = op.y.shape[2]
        self.step = op.stride[1] * op.x.shape[3]
        if isinstance(op, DepthwiseConv2D):
            self.channels, self.depth, self.groups = op.x.shape[3], 1, 1
        else:
            self.groups = op.groups
            self.channels, self.depth = op.weights.shape[0] // op.groups, op.weights.shape[3]

    @property
    def is_run(self) -> bool:
        """Whether the columns of a row of the window lie together in memory."""
        op = self.op
        if isinstance(op, FullyConnected):
            return True
        return not self.depthwise and self.groups == 1 and (op.dilation[1] == 1 or self.window[1] == 1)

    def packed(self, n: int) -> NDArray[Any]:
        """Return weights [blocks of n channels, ky, kx, terms, n]; depthwise [ky, kx, channels]."""
        values: NDArray[Any] = self.op.weights.values
        if self.depthwise:
            return values
        blocks = values.reshape(-1, n, self.window[0] * self.window[1] * self.depth)
        return np.ascontiguousarray(blocks.transpose(0, 2, 1))

    def is_whole(self, ox: int) -> bool:
        """Whether all columns of a window lie inside the input."""
        op = self.op
        if isinstance(op, FullyConnected):
            return True
        first = ox * op.stride[1] - op.padding.left
        return first >= 0 and first + (self.window[1] - 1) * op.dilation[1] < op.x.shape[2]


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
    def write_run(self, m: int, run: str) -> None:
        """Write the terms of `run` neighbours, a multiple of `unroll`, from `px` and `pw`."""

    @abstractmethod
    def write_tap(self) -> None:
        """Write one tap of a depthwise convolution, from `px` and `pw`."""

    @abstractmethod
    def finish(self, pixel: int, channel: int) -> str:
        """Return what is stored of a sum; `oc` is the block's first channel."""

    def write(self) -> None:
        """Write the whole layer."""
        w, layer, m, op = self.w, self.layer, self.m, self.layer.op
        if isinstance(op, FullyConnected):
            blocks = layer.width // m * m
            for start, stop, pixels in ((0, blocks, m), (blocks, layer.width, 1)):
                if stop > start:
                    with w.loop("ox", stop, start=start, step=pixels):
                        self._write_block(pixels, None, None)
            return
        whole = [ox for ox in range(layer.width) if layer.is_whole(ox)]
        first, last = (whole[0], whole[-1] + 1) if whole else (layer.width, layer.width)
        end = first + (last - first) // m * m
        pieces = ((0, first, 1, False), (first, end, m, True), (end, last, 1, True), (last, layer.width, 1, False))
        with w.loop("n", layer.rows[0]), w.loop("oy", layer.rows[1]):
            ty = window_taps(w, op, "y")
            for start, stop, pixels, inside in pieces:
                if stop > start:
                    with w.loop("ox", stop, start=start, step=pixels), self._columns(inside=inside) as tx:
                        self._write_block(pixels, ty, tx)

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

    def _write_block(self, m: int, ty: Taps | None, tx: Taps | None) -> None:
        """Write the sums of m pixels and all channels, n at once."""
        w, layer, n = self.w, self.layer, self.n
        total = layer.channels * layer.groups
        with w.loop("oc", total, step=n):
            for pixel, channel in product(range(m), range(n)):
                w(self.start(pixel, channel))
            if ty is None or tx is None:
                w(f"const {self.x_type} *px = x + ox * {layer.depth};")
                w(f"const {self.weight_type} *pw = weights + oc * {layer.depth};")
                self.write_run(m, str(layer.depth))
            else:
                with ty.loop(w) as ky:
                    self._write_row(m, ky, ty, tx)
            rows = f"(n * {layer.rows[1]} + oy) * {layer.width} + " if ty is not None else ""
            for pixel, channel in product(range(m), range(n)):
                place = f"({rows}ox{offset(pixel)}) * {total} + oc{offset(channel)}"
                w(f"y[{place}] = {self.finish(pixel, channel)};")

    def _write_row(self, m: int, ky: str, ty: Taps, tx: Taps) -> None:
        """Write the terms of one row of the window."""
        w, layer, n, op = self.w, self.layer, self.n, self.layer.op
        assert not isinstance(op, FullyConnected)
        _, height, width, channels = op.x.shape
        row = f"(n * {height} + {ty.position(ky)}) * {width}"
        taps, depth = layer.window, layer.depth
        if layer.depthwise:
            with tx.loop(w) as kx:
                w(f"const {self.x_type} *px = x + ({row} + {tx.position(kx)}) * {channels} + oc;")
                w(f"const {self.weight_type} *pw = weights + ({ky} * {taps[1]} + {kx}) * {channels} + oc;")
                self.write_tap()
            return
        block = f"(oc / {n} * {taps[0]} + {ky}) * {taps[1]}"
        step = depth * n
        if layer.is_run:
            with tx.if_any(w):
                w(f"const {self.x_type} *px = x + ({row} + {tx.position(tx.first)}) * {channels};")
                w(f"const {self.weight_type} *pw = weights + ({block} + {tx.first}) * {step};")
                self.write_run(m, str(taps[1] * depth) if tx.all_inside else f"{tx.count} * {depth}")
            return
        group = "" if layer.groups == 1 else f" + oc / {layer.channels} * {depth}"
        with tx.loop(w) as kx:
            w(f"const {self.x_type} *px = x + ({row} + {tx.position(kx)}) * {channels}{group};")
            w(f"const {self.weight_type} *pw = weights + ({block} + {kx}) * {step};")
            self.write_run(m, str(depth))
