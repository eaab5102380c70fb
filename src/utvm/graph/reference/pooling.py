"""Pooling and means."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from utvm.graph.arithmetic import mean_parameters
from utvm.graph.operators import AveragePool2D, AverageRounding, MaxPool2D, Mean
from utvm.graph.reference.window import taps
from utvm.numerics import multiply_by_quantized_multiplier, wrap_int32

Int8Array = NDArray[np.int8]


def max_pool(op: MaxPool2D, x: Int8Array) -> Int8Array:
    """The largest pixel of each window; what is outside x never wins."""
    result = np.full(op.y.shape, -128, np.int8)
    for pixels in _pixels(op, x, fill=-128):
        result = np.maximum(result, pixels)
    return np.clip(result, *op.clamp).astype(np.int8)


def average_pool(op: AveragePool2D, x: Int8Array) -> Int8Array:
    """The mean of each window's pixels inside x; values are averaged as stored, with their zero point."""
    total = np.zeros(op.y.shape, np.int64)
    for pixels in _pixels(op, x.astype(np.int64), fill=0):
        total += pixels
    count = np.zeros(op.y.shape, np.int64)
    for inside in _pixels(op, np.ones_like(x, np.int64), fill=0):
        count += inside
    if op.rounding is AverageRounding.HALF_UP:
        upward: Int8Array = np.clip((total + count // 2) // count, *op.clamp).astype(np.int8)
        return upward
    magnitude = np.abs(total)
    if op.rounding is AverageRounding.HALF_AWAY:
        magnitude = magnitude + count // 2
    return np.clip(np.sign(total) * (magnitude // count), *op.clamp).astype(np.int8)


def mean(op: Mean, x: Int8Array) -> Int8Array:
    """The mean over `op.axes`, requantised; the division by the count is part of the multiplier."""
    parameters = mean_parameters(op)
    total = x.astype(np.int64).sum(axis=op.axes) - parameters.count * op.x.zero_point
    scaled = multiply_by_quantized_multiplier(wrap_int32(total), parameters.multiplier, parameters.shift)
    return np.clip(scaled + op.y.zero_point, -128, 127).astype(np.int8).reshape(op.y.shape)


def _pixels(op: MaxPool2D | AveragePool2D, x: NDArray[np.int64] | Int8Array, fill: int) -> list[NDArray[np.int64]]:
    """Return the pixels [N,OH,OW,C] under each tap of the window."""
    found = taps(
        x,
        window=op.filter,
        stride=op.stride,
        dilation=(1, 1),
        padding=op.padding,
        output=(op.y.shape[1], op.y.shape[2]),
        fill=fill,
    )
    return [pixels for _, _, pixels in found]
