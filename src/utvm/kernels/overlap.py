"""How far before its input an output must start so that it only ever overwrites rows that were read before."""

from __future__ import annotations

from collections.abc import Callable

from utvm.graph import AveragePool2D, Conv2D, DepthwiseConv2D, MaxPool2D

Windowed = Conv2D | DepthwiseConv2D | MaxPool2D | AveragePool2D


def rows_ahead(op: Windowed, first_needed: Callable[[int], int], *, last_is_free: bool) -> int:
    """Return the bytes by which the output must start before the input; negative where it may start after it.

    Args:
        op: an operator whose kernel writes its output row by row.
        first_needed: output row → the first input row of the same image that is still to be read while it is written.
        last_is_free: whether nothing of an image is read any more while its last row is written.
    """
    images, height, width, channels = op.x.shape
    _, out_height, out_width, out_channels = op.y.shape
    row, out_row = width * channels * op.x.dtype.itemsize, out_width * out_channels * op.y.dtype.itemsize
    ahead = -op.x.nbytes
    for image in range(images):
        for y in range(out_height):
            free = height if last_is_free and y == out_height - 1 else min(max(first_needed(y), 0), height)
            ahead = max(ahead, (image * out_height + y + 1) * out_row - (image * height + free) * row)
    return ahead


def nest_ahead(op: Windowed) -> int:
    """Return `rows_ahead` of a loop nest over rows, which reads a window's rows while it writes."""
    stride, top = op.stride[0], op.padding.top
    return rows_ahead(op, lambda y: y * stride - top, last_is_free=False)


def line_ahead(op: Windowed, *, rows: int = 1) -> int:
    """Return `rows_ahead` of a kernel that reads all that `rows` rows of output need before it writes them."""
    stride, top = op.stride[0], op.padding.top
    return rows_ahead(op, lambda y: (y // rows + 1) * rows * stride - top, last_is_free=True)


def ring_ahead(op: Windowed, window: int) -> int:
    """Return `rows_ahead` of a kernel that reads each input row once, into a ring of `window` rows."""
    stride, top = op.stride[0], op.padding.top
    return rows_ahead(op, lambda y: y * stride - top + window, last_is_free=True)
