"""Random operators with weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tests.support.drawer import Drawer
from utvm.graph import (
    Conv2D,
    DepthwiseConv2D,
    DType,
    FullyConnected,
    Operator,
    Padding,
    Quantization,
    Rounding,
    Tensor,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Weights:
    weights: Tensor
    bias: Tensor | None
    y: Quantization
    clamp: tuple[int, int]
    rounding: Rounding


def _weights(d: Drawer, x: Quantization, shape: tuple[int, ...], axis: int, fan_in: int) -> _Weights:
    """Weights and bias whose results mostly fill y's range; some overflow it. Multipliers from 2^-20 to 32.

    Channels with large multipliers have small weights, as they have in real networks.
    """
    channels = shape[axis]
    rounding = Rounding.DOUBLE if d.tflite else d.pick(Rounding.DOUBLE, Rounding.DOUBLE, *Rounding)
    typical = 1.0 / (256 * math.sqrt(fan_in))
    if rounding is Rounding.HALF_UP_SHIFT:
        x_scale, y_scale = 2.0**-7, 2.0 ** -d.integer(0, 7)
        factors = [2.0 ** -max(0, d.integer(-3, 3) - round(math.log2(typical)))]
    else:
        x_scale, y_scale = x.scale[0], d.scale()
        per_channel = d.flag()
        odd = d.pick(0.0, 0.0, 0.1, 0.5)
        usual = d.log_uniform(typical / 2, typical * 2)
        factors = [
            d.pick(0.25, 0.5, 1.0, d.log_uniform(2**-3, 32.0), d.log_uniform(2**-20, 4.0))
            if d.rng.uniform() < odd
            else d.log_uniform(usual / 2, usual * 2)
            for _ in range(channels if per_channel else 1)
        ]
    scales = tuple(float(np.float32(factor * y_scale / x_scale)) for factor in factors)
    many = len(scales) > 1
    data = d.int8(shape, low=-127)
    if d.integer(0, 3):
        # Small weights where scales are large.
        most = np.clip([127 * typical / factor for factor in factors], 1, 127).reshape(-1)
        along = [-1 if i == axis else 1 for i in range(len(shape))]
        data = np.round(data * (np.resize(most, channels).reshape(along) / 127)).astype(np.int8)
    weights = Tensor(
        name="weights",
        shape=shape,
        dtype=DType.INT8,
        quant=Quantization(scale=scales, zero_point=(0,) * len(scales), axis=axis if many else None),
        data=data,
    )
    bias = None
    if d.integer(0, 3):
        limit = min(1 << 24, round(d.pick(8, 64, 64, 512) / max(factors)) + 1)
        bias = Tensor(
            name="bias",
            shape=(channels,),
            dtype=DType.INT32,
            quant=Quantization(
                scale=tuple(float(np.float32(x_scale) * np.float32(scale)) for scale in scales),
                zero_point=(0,) * len(scales),
                axis=0 if many else None,
            ),
            data=d.rng.integers(-limit, limit + 1, channels).astype(np.int32),
        )
    y = Quantization.per_tensor(y_scale, d.zero_point())
    return _Weights(weights=weights, bias=bias, y=y, clamp=d.clamp(y), rounding=rounding)


def _with_scale(x: Tensor, rounding: Rounding) -> Tensor:
    """The input, at the scale that `_weights` assumes for power-of-two rounding."""
    if rounding is not Rounding.HALF_UP_SHIFT or x.quant is None:
        return x
    quant = Quantization.per_tensor(2.0**-7, x.zero_point)
    return Tensor(name=x.name, shape=x.shape, dtype=x.dtype, quant=quant)


def _spatial(
    d: Drawer, size: tuple[int, int], window: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> tuple[Padding, tuple[int, int]]:
    """Return padding and output size of a convolution."""
    scheme = d.pick("valid", "same") if d.tflite else d.pick("valid", "same", "any")
    spans = [(k - 1) * step + 1 for k, step in zip(window, dilation, strict=True)]
    if scheme == "valid" and any(span > extent for span, extent in zip(spans, size, strict=True)):
        scheme = "same"
    amounts, output = [], []
    for extent, span, step in zip(size, spans, stride, strict=True):
        if scheme == "same":
            out = -(-extent // step)
            total = max((out - 1) * step + span - extent, 0)
            before, after = total // 2, total - total // 2
        else:
            before, after = (0, 0) if scheme == "valid" else (d.integer(0, span), d.integer(0, span))
            after = max(after, span - extent - before)
            out = (extent + before + after - span) // step + 1
        amounts += [before, after]
        output.append(out)
    return Padding(top=amounts[0], bottom=amounts[1], left=amounts[2], right=amounts[3]), (output[0], output[1])


def conv2d(d: Drawer) -> Operator:
    """Return a random Conv2D."""
    size = d.integer(1, 2), d.size(12), d.size(12)
    groups = d.pick(1, 1, 1, 2, 3)
    depth = d.size(9 if groups == 1 else 4)
    channels = groups * d.size(9 if groups == 1 else 4)
    window = (d.integer(1, 5), d.integer(1, 5)) if d.integer(0, 2) else (1, 1)
    return conv2d_of(d, (*size, groups * depth), (channels, *window, depth))


def conv2d_of(d: Drawer, shape: tuple[int, int, int, int], weights: tuple[int, int, int, int]) -> Operator:
    """Return a random Conv2D of an input [N, H, W, C] and weights [OC, KH, KW, C / groups]."""
    window, stride, dilation = weights[1:3], *_steps(d)
    x = d.tensor("x", shape)
    assert x.quant is not None
    w = _weights(d, x.quant, weights, 0, math.prod(weights[1:]))
    padding, output = _spatial(d, shape[1:3], window, stride, dilation)
    return Conv2D(
        name="op",
        x=_with_scale(x, w.rounding),
        weights=w.weights,
        bias=w.bias,
        y=d.tensor("y", (shape[0], *output, weights[0]), w.y),
        clamp=w.clamp,
        rounding=w.rounding,
        stride=stride,
        dilation=dilation,
        padding=padding,
    )


def _steps(d: Drawer) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return stride and dilation."""
    return (d.integer(1, 3), d.integer(1, 3)), (d.integer(1, 3), d.integer(1, 3)) if d.flag() else (1, 1)


def depthwise(d: Drawer) -> Operator:
    """Return a random DepthwiseConv2D."""
    shape = d.integer(1, 2), d.size(12), d.size(12), d.size(9)
    channels = shape[3] * d.pick(1, 1, 2, 3)
    return depthwise_of(d, shape, (1, d.integer(1, 5), d.integer(1, 5), channels))


def depthwise_of(d: Drawer, shape: tuple[int, int, int, int], weights: tuple[int, int, int, int]) -> Operator:
    """Return a random DepthwiseConv2D of an input [N, H, W, C] and weights [1, KH, KW, C * multiplier]."""
    window, stride, dilation = weights[1:3], *_steps(d)
    x = d.tensor("x", shape)
    assert x.quant is not None
    w = _weights(d, x.quant, weights, 3, math.prod(window))
    padding, output = _spatial(d, shape[1:3], window, stride, dilation)
    return DepthwiseConv2D(
        name="op",
        x=_with_scale(x, w.rounding),
        weights=w.weights,
        bias=w.bias,
        y=d.tensor("y", (shape[0], *output, weights[3]), w.y),
        clamp=w.clamp,
        rounding=w.rounding,
        stride=stride,
        dilation=dilation,
        padding=padding,
    )


def fully_connected(d: Drawer) -> Operator:
    """Return a random FullyConnected."""
    batch, outputs = d.integer(1, 3), d.size(12)
    inner = d.pick((d.integer(1, 40),), (d.integer(1, 4), d.integer(1, 4), d.integer(1, 4)))
    return fully_connected_of(d, (batch, *inner), outputs)


def fully_connected_of(d: Drawer, shape: tuple[int, ...], outputs: int) -> Operator:
    """Return a random FullyConnected of an input [N, ...]."""
    inputs = math.prod(shape[1:])
    x = d.tensor("x", shape)
    assert x.quant is not None
    w = _weights(d, x.quant, (outputs, inputs), 0, inputs)
    return FullyConnected(
        name="op",
        x=_with_scale(x, w.rounding),
        weights=w.weights,
        bias=w.bias,
        y=d.tensor("y", (shape[0], outputs), w.y),
        clamp=w.clamp,
        rounding=w.rounding,
    )
