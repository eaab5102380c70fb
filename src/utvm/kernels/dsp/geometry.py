"""How the activations of a convolution lie in int16 rows, so that a micro-kernel reads lane pairs at fixed offsets.

A row of the input is expanded once to int16, with its padding at both sides. Where the pixel pitch is odd (1 or 3
channels, packed over the kernel's width) every other window starts at an odd lane: a second copy of the row, shifted by
one lane, keeps all word loads aligned.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from utvm.graph import Conv2D, FullyConnected, Padding

_MAX_OFFSET = 4000
_PART_WORDS = range(16, 81)
"""Words of a part of a long contiguous row: few enough for the largest block, and enough to pay for its address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A convolution's shape: pixels, lanes and taps.

    Channels and output channels are those of one group, of which a convolution has `groups`. Where each output pixel
    reads just the input pixel of its number, all pixels of all images are one stretch (`strips`): `height` rows of
    `width` pixels without regard to the image's, then one of `rest` pixels. A fully connected layer is such a stretch.
    """

    height: int
    width: int
    channels: int
    out_height: int
    out_width: int
    out_channels: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    padding: Padding
    groups: int = 1
    strips: bool = False
    rest: int = 0

    @staticmethod
    def of(op: Conv2D | FullyConnected, pixels: int = 1) -> Window:
        """Return the shape of one image of a convolution, or of a stretch in strips of a multiple of `pixels`.

        Strips are no longer than the image's rows, if those have `pixels` of them.
        """
        if isinstance(op, FullyConnected):
            units, inputs = op.weights.shape
            return _stretch(op.x.elements // inputs, op.x.elements // inputs, inputs, units)
        height, width = op.weights.shape[1:3]
        if (height, width) == op.stride == (1, 1) and op.groups == 1 and not op.padding.any:
            images, rows, columns, channels = op.x.shape
            strip = max(columns // pixels, 1) * pixels
            return _stretch(images * rows * columns, strip, channels, op.y.shape[3])
        return Window(
            height=op.x.shape[1],
            width=op.x.shape[2],
            channels=op.weights.shape[3],
            out_height=op.y.shape[1],
            out_width=op.y.shape[2],
            out_channels=op.y.shape[3] // op.groups,
            kernel=(op.weights.shape[1], op.weights.shape[2]),
            stride=op.stride,
            dilation=op.dilation,
            padding=op.padding,
            groups=op.groups,
        )

    @property
    def row_elements(self) -> int:
        """Elements of an input row of all groups."""
        return self.width * self.channels * self.groups

    @property
    def out_pixel_elements(self) -> int:
        """Elements of an output pixel of all groups."""
        return self.out_channels * self.groups

    @property
    def slots(self) -> int:
        """Input rows that one output row reads."""
        return (self.kernel[0] - 1) * self.dilation[0] + 1


def _stretch(pixels: int, strip: int, channels: int, out_channels: int) -> Window:
    strip = min(strip, pixels)
    count, rest = divmod(pixels, strip)
    return Window(
        height=count,
        width=strip,
        channels=channels,
        out_height=count,
        out_width=strip,
        out_channels=out_channels,
        kernel=(1, 1),
        stride=(1, 1),
        dilation=(1, 1),
        padding=Padding(),
        strips=True,
        rest=rest,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpandedRows:
    """The layout of expanded rows of a `Window`. Sizes in int16 lanes unless they say bytes.

    `pitch` is one pixel's lanes, `lead` the lanes before the left padding; with `two_copies` the second copy starts
    `copy_bytes` after the first. `quads` says that channels are expanded four at a time in the order 0, 2, 1, 3.
    """

    window: Window
    pitch: int
    packed: bool
    two_copies: bool
    lead: int
    lanes: int
    quads: bool

    @staticmethod
    def of(window: Window) -> ExpandedRows:
        """Return the layout for a convolution's shape."""
        channels, step = window.channels, window.stride[1]
        packed = channels % 2 == 1 and window.dilation[1] == 1 and (window.kernel[1] > 1 or channels < 4)
        pitch = channels if packed else channels + channels % 2
        two = (step * pitch) % 2 == 1 and window.out_width > 1
        lead = (window.padding.left * pitch) % 2 if two else 0
        span = (window.kernel[1] - 1) * window.dilation[1] + 1
        read = (window.out_width - 1) * step * pitch + max(span * pitch, 2 * _words(window, pitch, packed))
        filled = (window.padding.left + window.width) * pitch
        return ExpandedRows(
            window=window,
            pitch=pitch,
            packed=packed,
            two_copies=two,
            lead=lead,
            lanes=(lead + max(read, filled) + 5) // 4 * 4,
            quads=channels % 4 == 0,
        )

    @property
    def copy_bytes(self) -> int:
        """Bytes of one copy of a row."""
        return 2 * self.lanes

    @property
    def row_bytes(self) -> int:
        """Bytes of one expanded row, both copies."""
        return self.copy_bytes * (2 if self.two_copies else 1)

    @property
    def interior(self) -> int:
        """The lane at which the row's first real pixel starts."""
        return self.lead + self.window.padding.left * self.pitch

    def taps(self) -> tuple[int, ...]:
        """Return the byte offsets of the lane pairs of a window's row."""
        width = self.window.kernel[1]
        if self.packed or _contiguous(self.window):
            return tuple(4 * i for i in range(_words(self.window, self.pitch, self.packed)))
        step = 2 * self.pitch * self.window.dilation[1]
        return tuple(kx * step + 4 * i for kx in range(width) for i in range(self.pitch // 2))

    def pixel_offset(self, m: int) -> int:
        """Return the byte offset of pixel m's window from that of the row's table entry."""
        lane = self.lead + m * self.window.stride[1] * self.pitch
        if self.two_copies and lane % 2:
            return self.copy_bytes + 2 * (lane - 1)
        return 2 * lane

    def advance_bytes(self, pixels: int) -> int:
        """Return how far the row addresses move for a block of `pixels`."""
        return 2 * pixels * self.window.stride[1] * self.pitch

    def split(self, pixels: int, most_pairs: int) -> tuple[int, tuple[int, ...]] | None:
        """Return (parts, taps of one part) of a window's row, or None if its offsets can't fit a load.

        Parts are equal; each has an address of its own. One part has at most `most_pairs` lane pairs if the row divides
        so: contiguous rows anywhere, dilated ones between the columns of the kernel.
        """
        return _split(self, pixels, most_pairs)

    def part_offset(self, part: int, parts: int) -> int:
        """Return the byte offset of a part's address from the row's."""
        taps = self.taps()
        return taps[part * len(taps) // parts]

    def weight_lanes(self, weights: NDArray[np.int8]) -> NDArray[np.int64]:
        """Return weights [OC, KH, KW, IC] in the order of the lanes: [OC, KH, lanes of a window's row]."""
        out_channels, height, width, channels = weights.shape
        lanes = weights.astype(np.int64)
        if self.quads:
            lanes = extension_order(lanes)
        padded = np.pad(lanes, ((0, 0), (0, 0), (0, 0), (0, self.pitch - channels)))
        flat = padded.reshape(out_channels, height, width * self.pitch)
        return np.pad(flat, ((0, 0), (0, 0), (0, 2 * len(self.taps()) - flat.shape[2])))


@lru_cache(maxsize=1024)
def _split(rows: ExpandedRows, pixels: int, most_pairs: int) -> tuple[int, tuple[int, ...]] | None:
    whole = rows.taps()
    reach = max(rows.pixel_offset(m) for m in range(pixels))
    contiguous = whole[-1] == 4 * (len(whole) - 1)
    count = len(whole) if contiguous else rows.window.kernel[1]
    for parts in range(1, count + 1):
        pairs = len(whole) // parts
        if count % parts == 0 and reach + whole[pairs - 1] <= _MAX_OFFSET and (pairs <= most_pairs or parts == count):
            return (parts, whole[:pairs]) if pairs > 1 or len(whole) == 1 else _few(whole, reach)
    return _few(whole, reach)


def _few(whole: tuple[int, ...], reach: int) -> tuple[int, tuple[int, ...]] | None:
    """Return the whole row if nothing smaller suits."""
    return (1, whole) if reach + whole[-1] <= _MAX_OFFSET else None


def _contiguous(window: Window) -> bool:
    """Whether the lanes of a window's row stand next to each other."""
    return window.kernel[1] == 1 or window.dilation[1] == 1


def _words(window: Window, pitch: int, packed: bool) -> int:
    """Return the words that a window's row reads; zero weights fill up a long one that nothing divides."""
    words = (window.kernel[1] * pitch + 1) // 2
    if words < _PART_WORDS.stop or not (packed or _contiguous(window)) or any(words % n == 0 for n in _PART_WORDS):
        return words
    parts = -(-words // _PART_WORDS[-1])
    return parts * -(-words // parts)


def extension_order(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return an array with each four elements of its last axis in the order 0, 2, 1, 3.

    So SXTB16 and SXTB16 with a rotation by 8 leave the four bytes of a word in two words of int16 lanes.
    """
    return values.reshape(*values.shape[:-1], -1, 4)[..., [0, 2, 1, 3]].reshape(values.shape)
