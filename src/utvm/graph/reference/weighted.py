"""Operators with weights (zero point 0): int32 sums of products, requantised channel by channel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.graph.arithmetic import channel_requantization
from utvm.graph.formulas import limits
from utvm.graph.operators import Conv2D, DepthwiseConv2D, FullyConnected, Rounding, Weighted
from utvm.graph.reference.window import taps
from utvm.graph.tensor import DType
from utvm.numerics import half_up_shift, multiply_by_quantized_multiplier, multiply_single_rounding, wrap_int32
from utvm.numerics.wide import requantize_wide

Int8Array = NDArray[Any]
"""int8, or int16 where activations are."""
Int32Array = NDArray[np.int32]
Accumulators = NDArray[np.float64]
"""Exact: sums of int8 products stay far below 2^53. Floats, because numpy multiplies these matrices fast."""


def conv2d(op: Conv2D, x: Int8Array, weights: Int8Array, bias: Int32Array | None = None) -> Int8Array:
    """x [N,H,W,IC], weights [OC,KH,KW,IC/groups] -> [N,OH,OW,OC]; padding stands for the real value 0."""
    channels, height, width, depth = weights.shape
    groups, per_group = op.groups, channels // op.groups
    w = weights.astype(np.float64)
    acc = np.zeros(op.y.shape)
    for ky, kx, pixels in taps(
        x.astype(np.float64) - op.x.zero_point,
        window=(height, width),
        stride=op.stride,
        dilation=op.dilation,
        padding=op.padding,
        output=(op.y.shape[1], op.y.shape[2]),
        fill=0,
    ):
        for group in range(groups):
            made = slice(group * per_group, (group + 1) * per_group)
            read = slice(group * depth, (group + 1) * depth)
            acc[..., made] += pixels[..., read] @ w[made, ky, kx, :].T
    return _requantized(op, acc, bias)


def depthwise_conv2d(
    op: DepthwiseConv2D, x: Int8Array, weights: Int8Array, bias: Int32Array | None = None
) -> Int8Array:
    """x [N,H,W,C], weights [1,KH,KW,C*m] -> [N,OH,OW,C*m]; output channel c reads input channel c // m."""
    _, height, width, _ = weights.shape
    w = weights.astype(np.float64)
    acc = np.zeros(op.y.shape)
    for ky, kx, pixels in taps(
        np.repeat(x.astype(np.float64) - op.x.zero_point, op.multiplier, axis=3),
        window=(height, width),
        stride=op.stride,
        dilation=op.dilation,
        padding=op.padding,
        output=(op.y.shape[1], op.y.shape[2]),
        fill=0,
    ):
        acc += pixels * w[0, ky, kx, :]
    return _requantized(op, acc, bias)


def fully_connected(op: FullyConnected, x: Int8Array, weights: Int8Array, bias: Int32Array | None = None) -> Int8Array:
    """x flattened to [N,I], weights [O,I] -> y, whose rows have O elements."""
    outputs, inputs = weights.shape
    rows = x.reshape(-1, inputs).astype(np.float64) - op.x.zero_point
    acc = rows @ weights.astype(np.float64).T
    return _requantized(op, acc.reshape(-1, outputs), bias).reshape(op.y.shape)


def _requantized(op: Weighted, acc: Accumulators, bias: Int32Array | None) -> Int8Array:
    """Return accumulators [..., OC] with bias as integers of y's scale."""
    total = acc.astype(np.int64) + (0 if bias is None else bias)
    table = channel_requantization(op)
    if op.y.dtype is DType.INT16:
        if bias is None or bias.dtype == np.int64:
            scaled = requantize_wide(total, table.multiplier, table.shift)
        else:
            scaled = multiply_by_quantized_multiplier(wrap_int32(total), table.multiplier, table.shift)
        return np.clip(scaled, *limits(op)).astype(np.int16)
    match op.rounding:
        case Rounding.DOUBLE:
            scaled = multiply_by_quantized_multiplier(total, table.multiplier, table.shift)
        case Rounding.SINGLE:
            scaled = multiply_single_rounding(total, table.multiplier, table.shift)
        case Rounding.HALF_UP_SHIFT:
            scaled = half_up_shift(total, 1 - table.shift)
    return np.clip(scaled + op.y.zero_point, *op.clamp).astype(np.int8)
