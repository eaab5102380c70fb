"""Resizing as PyTorch does it: TFLite's operators where these pick the same pixels, else products with weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from utvm.frontends.builder import GraphBuilder
from utvm.frontends.channels_first import linear, to_channels_first, to_channels_last
from utvm.frontends.refusal import RefusedError
from utvm.graph import ResizeBilinear, ResizeNearestNeighbor, Tensor

FloatArray = NDArray[np.float32]
LONGEST = 512
"""Pixels of a dimension before and after: weights are their product."""


def along(b: GraphBuilder, x: Tensor, axis: int, weights: FloatArray) -> Tensor:
    """Return x with weights [after,before] applied along a non-negative axis."""
    if max(weights.shape) > LONGEST:
        before, after = weights.shape[::-1]
        raise RefusedError(f"it makes {after} of {before} pixels in a mode for which at most {LONGEST} are supported")
    order = [d for d in range(len(x.shape)) if d != axis] + [axis]
    made = linear(b, b.transpose(x, order), weights, None)
    return b.transpose(made, [order.index(d) for d in range(len(order))])


def interpolated(
    b: GraphBuilder,
    x: Tensor,
    sizes: Sequence[int],
    scales: Sequence[float | None],
    mode: str,
    *,
    align_corners: bool = False,
) -> Tensor:
    """Return x [N,C,...] resized.

    Args:
        sizes: of the result.
        scales: factors that say where pixels are, None where that follows from the sizes.
        mode: nearest, nearest-exact, linear or cubic.
    """
    before = x.shape[2:]
    if len(before) != len(sizes) or min(sizes, default=0) < 1:
        raise RefusedError(f"sizes {list(sizes)} do not fit an input of shape {list(x.shape)}")
    plain = all(s is None or s * n == m for n, m, s in zip(before, sizes, scales, strict=True))
    if len(before) in (1, 2) and plain and mode in ("nearest", "linear"):
        last = to_channels_last(b, x)
        shape = (x.shape[0], *(1, *sizes)[-2:], x.shape[1])
        if mode == "nearest":
            y = b.add(ResizeNearestNeighbor, shape, x=last)
        else:
            half = not align_corners
            y = b.add(ResizeBilinear, shape, x=last, align_corners=align_corners, half_pixel_centers=half)
        return to_channels_first(b, y, len(x.shape))
    for axis, (n, m, scale) in enumerate(zip(before, sizes, scales, strict=True), 2):
        if n != m or scale not in (None, 1.0):
            if max(n, m) > LONGEST:
                raise RefusedError(f"it resizes {n} to {m} pixels in a mode for which at most {LONGEST} are supported")
            x = along(b, x, axis, _weights(n, m, scale, mode, align_corners))
    return x


def averaged(size: int, target: int) -> FloatArray:
    """Return weights [target,size] of means over parts that need not be equal (adaptive pools)."""
    weights = np.zeros((target, size), np.float32)
    for index in range(target):
        first, last = part(index, size, target)
        weights[index, first:last] = 1 / (last - first)
    return weights


def part(index: int, size: int, target: int) -> tuple[int, int]:
    """Return which places an adaptive pool joins: from, up to."""
    return index * size // target, -(-(index + 1) * size // target)


def _weights(size: int, target: int, scale: float | None, mode: str, align_corners: bool) -> FloatArray:
    """Return [target,size]: how much of each pixel each result has (at::native::UpSample.h)."""
    step = size / target if scale is None else 1 / scale
    weights = np.zeros((target, size), np.float64)
    for index in range(target):
        if mode.startswith("nearest"):
            place = math.floor(np.float32((index + (0.5 if mode == "nearest-exact" else 0)) * step))
            weights[index, min(place, size - 1)] = 1
            continue
        if align_corners:
            where = index * (size - 1) / (target - 1) if target > 1 else 0.0
        else:
            where = (index + 0.5) * step - 0.5
            where = max(where, 0.0) if mode == "linear" else where
        first = math.floor(where)
        rest = where - first
        shares = {0: 1 - rest, 1: rest} if mode == "linear" else {d: _cubic(abs(rest - d)) for d in (-1, 0, 1, 2)}
        for offset, share in shares.items():
            weights[index, min(max(first + offset, 0), size - 1)] += share
    return weights.astype(np.float32)


def _cubic(x: float, a: float = -0.75) -> float:
    if x <= 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
