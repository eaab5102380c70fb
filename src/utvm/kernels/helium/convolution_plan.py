"""What the C, the micro-kernel and the stream of a convolution or fully connected layer agree on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from utvm.cores import Core
from utvm.graph import Conv2D, DepthwiseConv2D, DType, FullyConnected
from utvm.kernels.base import Config
from utvm.kernels.dsp.finish import folded_bias
from utvm.kernels.helium.block import micro_kernel, read_order
from utvm.kernels.helium.block_spec import LANES, BlockSpec, DepthwiseBlockSpec, LongBlockSpec, WideBlockSpec, stream
from utvm.kernels.helium.finish import VectorFinish, Weighted, constants
from utvm.kernels.helium.move import copy_cycles, fill_cycles, repeat_bytes, repeat_cycles, unfold_cycles
from utvm.kernels.helium.wide_finish import WideFinish, wide_bias, wide_constants
from utvm.kernels.overlap import ring_ahead

Windowed = Conv2D | DepthwiseConv2D
STRIP = 32
"""Pixels of a stretch whose outputs are packed together."""
_SLACK = 16


def is_stretch(op: Weighted) -> bool:
    """Whether each output pixel reads just the input pixel of its number."""
    if not isinstance(op, Conv2D):
        return isinstance(op, FullyConnected)
    ones = op.weights.shape[1:3] == op.stride == (1, 1)
    return ones and op.groups == 1 and not op.padding.any


def can_pack(op: Weighted) -> bool:
    """Whether the taps of a pixel are rows of less than a vector, which can be packed."""
    if not isinstance(op, Conv2D) or op.groups > 1 or op.dilation[1] > 1:
        return False
    return op.weights.shape[1] > 1 and op.weights.shape[2] * op.weights.shape[3] * op.x.dtype.itemsize < LANES


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ConvolutionPlan:
    """What the C, the micro-kernel and the stream of one layer agree on. Sizes in bytes.

    `spec` is the block that reads rows, `block` the one that is called: where taps are `packed`, that of their copy.
    `across` is the pixels of a row, or of the stretch; `buffer_rows` those of the input that the buffer holds.
    """

    op: Weighted
    spec: BlockSpec
    packed: bool
    stretch: bool
    across: int
    groups: int
    out_channels: int
    buffer_rows: int

    @staticmethod
    def of(op: Weighted, config: Config) -> ConvolutionPlan:
        if isinstance(op, DepthwiseConv2D):
            return _depthwise(op, config)
        m, stretch = int(config["m"]), is_stretch(op)
        groups = 1 if isinstance(op, FullyConnected) else op.groups
        size = op.x.dtype.itemsize
        channels = op.weights.shape[-1] * size
        out_channels = op.weights.shape[0] // groups
        kind, finish = _kind(op)
        spec = kind(
            pixels=m, rows=1, row_stride=0, runs=(0,), run=channels, pitch=channels, out_pitch=0, groups=1,
            words=channels % 4 == 0, finish=finish,
        )  # fmt: skip
        blocks = -(-out_channels // spec.channels)
        padded = blocks * spec.channels != out_channels
        few = out_channels if padded and blocks == 1 else 0
        if padded and _is_wide(op):
            few = -(-out_channels // blocks)
        # Whole vectors are written, behind the last channel too.
        written = (blocks - 1) * (few or spec.channels) + spec.channels
        spec = replace(spec, out_pitch=size * (written if padded else out_channels * groups), groups=blocks, few=few)
        if stretch:
            pixels = op.x.nbytes // channels
            return ConvolutionPlan(
                op=op, spec=spec, packed=False, stretch=True, across=pixels, groups=1, out_channels=out_channels,
                buffer_rows=0,
            )  # fmt: skip
        assert isinstance(op, Conv2D)
        width, total = op.x.shape[2], op.x.shape[3] * size
        kernel_height, kernel_width = op.weights.shape[1:3]
        row = (width + op.padding.left + op.padding.right) * total
        whole = op.dilation[1] == 1 and groups == 1
        spec = replace(
            spec,
            rows=kernel_height,
            row_stride=row * op.dilation[0],
            runs=(0,) if whole else tuple(k * op.dilation[1] * total for k in range(kernel_width)),
            run=kernel_width * channels if whole else channels,
            pitch=op.stride[1] * total,
            words=total % 4 == 0 and channels % 4 == 0,
        )
        return ConvolutionPlan(
            op=op, spec=spec, packed=config["taps"] == "packed", stretch=False,
            across=op.y.shape[2], groups=groups, out_channels=out_channels,
            buffer_rows=_buffer_rows(op, config),
        )  # fmt: skip

    @property
    def block(self) -> BlockSpec:
        """The block that is called."""
        if not self.packed:
            return self.spec
        taps = self.spec.rows * self.spec.run
        pitch = -(-taps // LANES) * LANES
        return replace(self.spec, rows=1, row_stride=0, runs=(0,), run=taps, pitch=pitch, words=True)

    @property
    def unfolded_bytes(self) -> int:
        """Bytes of the taps of a row of pixels, and what is read or written behind them."""
        return (self.across + 1) * self.block.pitch + LANES if self.packed else 0

    @property
    def window(self) -> int:
        """Input rows that one output row reads."""
        return self.spec.row_stride // self.row_bytes * (self.spec.rows - 1) + 1

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of the buffer."""
        assert isinstance(self.op, Windowed)
        return (self.op.x.shape[2] + self.op.padding.left + self.op.padding.right) * self.in_pixel

    @property
    def in_pixel(self) -> int:
        """Bytes of a pixel of the buffer."""
        return self.repeats * self.op.x.shape[-1] * self.op.x.dtype.itemsize

    @property
    def repeats(self) -> int:
        """How often each input channel is in the buffer: once for each output channel of its own."""
        return self.op.multiplier if isinstance(self.op, DepthwiseConv2D) else 1

    @property
    def out_bytes(self) -> int:
        """Bytes of a pixel of a group's outputs."""
        return self.out_channels * self.op.y.dtype.itemsize

    @property
    def packs(self) -> bool:
        """Whether outputs go through the scratch, since blocks have more channels than the layer."""
        return self.spec.few > 0 or self.spec.groups * self.spec.channels != self.out_channels

    @property
    def tail(self) -> int:
        """The last pixels of a stretch, which vectors would read beyond."""
        over = self.spec.read_bytes - self.spec.pitch
        return min(-(-over // self.spec.pitch), self.across) if over > 0 else 0

    @property
    def main(self) -> int:
        """Pixels of a stretch that are read where they lie."""
        main = self.across - self.tail
        if self.spec.pixels == 2 and main % 2 and (self.tail or self.packs or main == 1):
            main -= 1
        return main

    @property
    def rest(self) -> int:
        """Pixels of a stretch that are read from a copy."""
        return self.across - self.main

    @property
    def rest_bytes(self) -> int:
        """Bytes of that copy, with what is read behind it."""
        if not self.rest:
            return 0
        return (-(-self.rest // self.spec.pixels) * self.spec.pixels - 1) * self.spec.pitch + self.spec.read_bytes

    @property
    def line_bytes(self) -> int:
        """Bytes of outputs in the scratch."""
        m = self.spec.pixels
        if self.packs:
            pixels = min(self.across, STRIP) if self.stretch else self.across
            pixels = max(pixels, self.rest)
            return -(-pixels // m) * m * self.spec.out_pitch
        rest = self.rest if self.stretch else (1 if self.across < m else 0)
        return -(-rest // m) * m * self.spec.out_pitch

    @property
    def buffer_bytes(self) -> int:
        """Bytes of the buffer of rows, or of the copy of the last pixels."""
        if self.stretch:
            return -(-self.rest_bytes // _SLACK) * _SLACK
        # Behind the last row: what a second pixel that does not exist, and a padded run, read.
        beyond = max(self.spec.read_bytes - self.window * self.row_bytes, 0) + self.spec.pitch + LANES
        beyond += repeat_bytes(self.repeats) if self.repeats > 1 else 0
        return -(-(self.buffer_rows * self.row_bytes + beyond) // _SLACK) * _SLACK

    @property
    def scratch_bytes(self) -> int:
        return self.buffer_bytes + self.unfolded_bytes + self.line_bytes

    @property
    def ahead(self) -> int:
        """Bytes by which the output must start before the input; see `Kernel`."""
        if not self.stretch:
            assert isinstance(self.op, Windowed)
            return ring_ahead(self.op, self.window)
        m, channels = min(self.spec.pixels, self.across), self.spec.pitch
        return max(m * self.out_bytes, self.across * self.out_bytes - (self.across - m) * channels)

    def stream(self) -> NDArray[np.int32]:
        """Return the constants of all groups."""
        spec, op = self.block, self.op
        weights = op.weights.values.astype(np.int64)
        if isinstance(op, DepthwiseConv2D):
            weights = np.moveaxis(weights, 3, 0)
        weights = weights.reshape(-1, spec.rows, len(spec.runs), weights[0].size // (spec.rows * len(spec.runs)))
        bias, others = (wide_bias(op), wide_constants(op)) if _is_wide(op) else (folded_bias(op), constants(op))
        parts = [slice(g * self.out_channels, (g + 1) * self.out_channels) for g in range(self.groups)]
        order = read_order(spec)
        found = [stream(spec, weights[p], bias[p], [each[p] for each in others], order) for p in parts]
        return np.concatenate(found)

    def cycles(self, core: Core) -> float:
        """Return the modelled cycles."""
        assert core.timing is not None
        _, call, turn = micro_kernel(self.block, core.timing)
        m = self.spec.pixels
        pack = (copy_cycles(self.out_bytes) + 8) * self.groups
        if self.stretch:
            calls = -(-self.main // STRIP) if self.packs else 1
            turns = -(-self.main // m) + -(-self.rest // m)
            packed = self.across if self.packs else self.rest
            return (calls + bool(self.rest)) * call + turns * turn + packed * pack + copy_cycles(self.rest_bytes)
        op = self.op
        assert isinstance(op, Windowed)
        images, out_height = op.x.shape[0], op.y.shape[1]
        calls = 1 + (self.across % m > 0 and self.across > m)
        row = self.groups * (calls * call + -(-self.across // m) * turn)
        row += pack * self.across if self.packs or self.across < m else 0
        row += unfold_cycles(self.spec) * self.across if self.packed else 0
        total = images * out_height * (row + 30)
        fill = sum(map(fill_cycles, (op.padding.left * self.in_pixel, op.padding.right * self.in_pixel)))
        inside = op.x.shape[2] * op.x.shape[3]
        copied = repeat_cycles(self.repeats, inside) if self.repeats > 1 else copy_cycles(op.x.shape[2] * self.in_pixel)
        total += images * op.x.shape[1] * (copied + fill + 20)
        fresh = max(self.buffer_rows - self.window, 0) // op.stride[0] + 1
        kept = max(self.window - op.stride[0], 0) * self.row_bytes
        return total + images * (max(-(-out_height // fresh) - 1, 0)) * copy_cycles(kept)


def _depthwise(op: DepthwiseConv2D, config: Config) -> ConvolutionPlan:
    """Return the plan of a layer whose channels are by themselves."""
    m, size, channels = int(config["m"]), op.x.dtype.itemsize, op.y.shape[3]
    _, height, width, _ = op.weights.shape
    pixel, blocks = size * channels, -(-size * channels // LANES)
    spec = DepthwiseBlockSpec(
        pixels=m,
        rows=height,
        row_stride=(op.x.shape[2] + op.padding.left + op.padding.right) * pixel * op.dilation[0],
        runs=tuple(k * op.dilation[1] * pixel for k in range(width)),
        run=LANES,
        pitch=op.stride[1] * pixel,
        out_pitch=blocks * LANES,
        groups=blocks,
        words=pixel % 4 == 0,
        finish=WideFinish.of(op),
    )
    return ConvolutionPlan(
        op=op, spec=spec, packed=False, stretch=False, across=op.y.shape[2], groups=1, out_channels=channels,
        buffer_rows=_buffer_rows(op, config),
    )  # fmt: skip


def _buffer_rows(op: Conv2D | DepthwiseConv2D, config: Config) -> int:
    window = (op.weights.shape[1] - 1) * op.dilation[0] + 1
    image = max(op.x.shape[1] + op.padding.top + op.padding.bottom, window)
    return min({"window": window, "double": 2 * window, "image": image}[str(config["rows"])], image)


def _kind(op: Weighted) -> tuple[type[BlockSpec], VectorFinish]:
    """Return the blocks of a layer whose channels are summed, and their finish."""
    if not _is_wide(op):
        return BlockSpec, VectorFinish.of(op)
    finish = WideFinish.of(op)
    return LongBlockSpec if finish.long else WideBlockSpec, finish


def _is_wide(op: Weighted) -> bool:
    return op.x.dtype is DType.INT16
