"""The integer parameters that TFLite derives from an operator's scales.

Reference and kernels both read them here, so a kernel never derives a constant on its own. Products of scales are
taken in double precision unless the interpreter takes them in float32, which is said where it happens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from utvm.graph.operators import Add, Conv2D, DepthwiseConv2D, FullyConnected, LeakyRelu, Mul, Sub
from utvm.graph.tensor import Tensor
from utvm.numerics import quantize_multiplier

Int32Array = NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChannelRequantization:
    """One (multiplier, shift) a channel: y = zero_point + acc * multiplier * 2^(shift - 31). int32 [OC] each."""

    multiplier: Int32Array
    shift: Int32Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Requantization:
    """One (multiplier, shift) for a whole tensor; shift > 0 is to the left."""

    multiplier: int
    shift: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AdditionParameters:
    """Both inputs, shifted left by `left_shift`, are brought to a common scale; the sum to y's."""

    left_shift: int
    a: Requantization
    b: Requantization
    y: Requantization


def requantization(real: float) -> Requantization:
    """Return the fixed-point form of a real factor."""
    multiplier, shift = quantize_multiplier(real)
    return Requantization(multiplier=multiplier, shift=shift)


def channel_requantization(op: Conv2D | DepthwiseConv2D | FullyConnected) -> ChannelRequantization:
    """Return the requantisation of each output channel of a weighted operator.

    A fully connected layer quantised per tensor multiplies input and weight scale in float32, as its kernel does.
    """
    channels = op.weights.shape[3] if isinstance(op, DepthwiseConv2D) else op.weights.shape[0]
    scales = op.weights.channel_scales(channels)
    if isinstance(op, FullyConnected) and len(op.weights.quant.scale if op.weights.quant else ()) == 1:
        product = float(np.float32(op.x.scale) * np.float32(scales[0]))
        pairs = [quantize_multiplier(product / op.y.scale)] * channels
    else:
        pairs = [quantize_multiplier(op.x.scale * scale / op.y.scale) for scale in scales]
    table = np.array(pairs, dtype=np.int32).reshape(channels, 2)
    return ChannelRequantization(multiplier=table[:, 0].copy(), shift=table[:, 1].copy())


def addition_parameters(op: Add | Sub) -> AdditionParameters:
    """Return the parameters of an addition or subtraction (int8: left shift 20)."""
    left_shift = 20
    twice_max = 2.0 * max(op.a.scale, op.b.scale)
    return AdditionParameters(
        left_shift=left_shift,
        a=requantization(op.a.scale / twice_max),
        b=requantization(op.b.scale / twice_max),
        y=requantization(twice_max / ((1 << left_shift) * op.y.scale)),
    )


def multiplication_parameters(op: Mul) -> Requantization:
    """Return the requantisation of a product."""
    return requantization(op.a.scale * op.b.scale / op.y.scale)


def rescale_parameters(x: Tensor, y: Tensor) -> Requantization:
    """Return the requantisation from x's scale to y's (Relu, Quantize int8 to int8)."""
    return requantization(x.scale / y.scale)


def leaky_parameters(op: LeakyRelu) -> tuple[Requantization, Requantization]:
    """Return the requantisation of the positive side (identity) and of the negative side (alpha)."""
    return requantization(op.x.scale / op.y.scale), requantization(op.x.scale * op.alpha / op.y.scale)
