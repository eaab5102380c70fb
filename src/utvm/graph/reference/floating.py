"""Operators in float32, roughly and fast, for calibration. Fused clamps are never used.

Sums run in float32 and in numpy's order: `graph.definitions.floating` says what a device computes, to the bit.
Operators that only move elements take any type and are not here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.graph.operators import (
    Add,
    AveragePool2D,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    LeakyRelu,
    Logistic,
    MaxPool2D,
    Mean,
    Mul,
    Operator,
    Relu,
    Relu6,
    ResizeBilinear,
    Softmax,
    Sub,
    Tanh,
)
from utvm.graph.reference.window import taps

FloatArray = NDArray[np.float32]


def conv2d(op: Conv2D, x: FloatArray, weights: FloatArray, bias: FloatArray | None = None) -> FloatArray:
    """x [N,H,W,IC], weights [OC,KH,KW,IC/groups] -> [N,OH,OW,OC]."""
    channels, height, width, depth = weights.shape
    groups, per_group = op.groups, channels // op.groups
    result = np.zeros(op.y.shape, np.float32)
    for ky, kx, pixels in _taps(op, x, (height, width), op.dilation, 0.0):
        for group in range(groups):
            made = slice(group * per_group, (group + 1) * per_group)
            read = slice(group * depth, (group + 1) * depth)
            result[..., made] += pixels[..., read] @ weights[made, ky, kx, :].T
    return result if bias is None else result + bias


def depthwise_conv2d(
    op: DepthwiseConv2D, x: FloatArray, weights: FloatArray, bias: FloatArray | None = None
) -> FloatArray:
    """x [N,H,W,C], weights [1,KH,KW,C*m] -> [N,OH,OW,C*m]."""
    _, height, width, _ = weights.shape
    result = np.zeros(op.y.shape, np.float32)
    repeated = x if op.multiplier == 1 else np.repeat(x, op.multiplier, axis=3)
    for ky, kx, pixels in _taps(op, repeated, (height, width), op.dilation, 0.0):
        result += pixels * weights[0, ky, kx, :]
    return result if bias is None else result + bias


def fully_connected(
    op: FullyConnected, x: FloatArray, weights: FloatArray, bias: FloatArray | None = None
) -> FloatArray:
    """x flattened to [N,I], weights [O,I] -> y, whose rows have O elements."""
    result = x.reshape(-1, weights.shape[1]) @ weights.T
    return (result if bias is None else result + bias).reshape(op.y.shape)


def max_pool(op: MaxPool2D, x: FloatArray) -> FloatArray:
    """The largest pixel of each window."""
    result = np.full(op.y.shape, -np.inf, np.float32)
    for _, _, pixels in _taps(op, x, op.filter, (1, 1), -np.inf):
        np.maximum(result, pixels, out=result)
    return result


def average_pool(op: AveragePool2D, x: FloatArray) -> FloatArray:
    """The mean of each window's pixels inside x."""
    total, count = np.zeros(op.y.shape, np.float32), np.zeros((1, *op.y.shape[1:3], 1), np.float32)
    for _, _, pixels in _taps(op, x, op.filter, (1, 1), 0.0):
        total += pixels
    for _, _, inside in _taps(op, np.ones((1, *x.shape[1:3], 1), np.float32), op.filter, (1, 1), 0.0):
        count += inside
    return total / count


def resize_bilinear(op: ResizeBilinear, x: FloatArray) -> FloatArray:
    """The four pixels around each position, weighted (TFLite's ComputeInterpolationValues)."""
    for axis in (1, 2):
        size, target = x.shape[axis], op.y.shape[axis]
        step = (size - 1) / (target - 1) if op.align_corners and target > 1 else size / target
        position = np.arange(target) * step
        if op.half_pixel_centers:
            position += step / 2 - 0.5
        first = np.maximum(np.floor(position), 0).astype(np.int64)
        second = np.minimum(np.ceil(np.maximum(position, 0)), size - 1).astype(np.int64)
        shape = [1] * x.ndim
        shape[axis] = target
        share = np.clip(position - first, 0, 1).astype(np.float32).reshape(shape)
        x = np.take(x, first, axis) * (1 - share) + np.take(x, second, axis) * share
    return x


def softmax(op: Softmax, x: FloatArray) -> FloatArray:
    """exp(beta * x) over its sum along the last dimension."""
    exponentials = np.exp((x - x.max(axis=-1, keepdims=True)) * np.float32(op.beta))
    result: FloatArray = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return result


def logistic(_: Logistic, x: FloatArray) -> FloatArray:
    """1 / (1 + exp(-x)), without overflow."""
    share = np.exp(-np.abs(x))
    result: FloatArray = np.where(x >= 0, 1, share) / (1 + share)
    return result


def _taps(
    op: Conv2D | DepthwiseConv2D | MaxPool2D | AveragePool2D,
    x: FloatArray,
    window: tuple[int, ...],
    dilation: tuple[int, int],
    fill: float,
) -> Any:
    return taps(
        x,
        window=(window[0], window[1]),
        stride=op.stride,
        dilation=dilation,
        padding=op.padding,
        output=(op.y.shape[1], op.y.shape[2]),
        fill=fill,
    )


FLOATING: Mapping[type[Operator], Callable[..., Any]] = {
    Conv2D: conv2d,
    DepthwiseConv2D: depthwise_conv2d,
    FullyConnected: fully_connected,
    Add: lambda _, a, b: a + b,
    Sub: lambda _, a, b: a - b,
    Mul: lambda _, a, b: a * b,
    MaxPool2D: max_pool,
    AveragePool2D: average_pool,
    Mean: lambda op, x: x.mean(axis=op.axes, dtype=np.float32).reshape(op.y.shape),
    Softmax: softmax,
    Logistic: logistic,
    Tanh: lambda _, x: np.tanh(x),
    Relu: lambda _, x: np.maximum(x, np.float32(0)),
    Relu6: lambda _, x: np.clip(x, np.float32(0), np.float32(6)),
    LeakyRelu: lambda op, x: np.where(x > 0, x, np.float32(op.alpha) * x),
    ResizeBilinear: resize_bilinear,
}
"""What each operator computes between float32 tensors."""
