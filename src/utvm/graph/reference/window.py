"""The pixels under each tap of a sliding window."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.graph.operators import Padding


def taps(
    x: NDArray[Any],
    *,
    window: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    padding: Padding,
    output: tuple[int, int],
    fill: float,
) -> Iterator[tuple[int, int, NDArray[Any]]]:
    """Yield (ky, kx, pixels [N,OH,OW,C]) for each tap; what falls outside x [N,H,W,C] is `fill`.

    `output` is (OH, OW). Windows may start anywhere and reach beyond the padding: that too is outside.
    """
    padded = np.pad(
        x,
        (
            (0, 0),
            (padding.top, _beyond(x.shape[1], padding.top, 0, window, stride, dilation, output)),
            (padding.left, _beyond(x.shape[2], padding.left, 1, window, stride, dilation, output)),
            (0, 0),
        ),
        constant_values=fill,
    )
    for ky in range(window[0]):
        for kx in range(window[1]):
            top, left = ky * dilation[0], kx * dilation[1]
            rows = slice(top, top + (output[0] - 1) * stride[0] + 1, stride[0])
            columns = slice(left, left + (output[1] - 1) * stride[1] + 1, stride[1])
            yield ky, kx, padded[:, rows, columns, :]


def _beyond(
    size: int,
    before: int,
    axis: int,
    window: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    output: tuple[int, int],
) -> int:
    """Return how far the last window reaches beyond the input."""
    last = (output[axis] - 1) * stride[axis] + (window[axis] - 1) * dilation[axis]
    return max(0, last - before - size + 1)
