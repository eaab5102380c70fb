"""The integer parameters and tables that TFLite derives from an operator's scales.

Reference and kernels both read them here, so a kernel never derives a constant on its own. Products and quotients
of scales are taken in double precision, as tflite-micro takes them since autumn 2026; earlier releases took those of
Sub, Relu, LeakyRelu and of a FullyConnected quantised per tensor in float32, which moves rare ties by one.

| operator | read |
|---|---|
| Conv2D, DepthwiseConv2D, FullyConnected | `channel_requantization` |
| Add, Sub | `addition_parameters` |
| Mul | `multiplication_parameters` |
| Mean | `mean_parameters` |
| Logistic, Relu, Relu6, LeakyRelu, Quantize (int8 to int8) | `lookup_table` |
| Softmax | `softmax_parameters`, `softmax_exponentials` |
| ResizeNearestNeighbor | `nearest_indices` |

AveragePool2D, MaxPool2D and the operators that only move data need nothing beyond their own fields. Quantize
from float32 divides by the scale in float32, rounds halves away from zero, adds the zero point and saturates;
Dequantize is one float32 product, scale * (q - zero_point).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from utvm.graph.operators import (
    Add,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    LeakyRelu,
    Logistic,
    Mean,
    Mul,
    Operator,
    Quantize,
    Relu,
    Relu6,
    ResizeNearestNeighbor,
    Softmax,
    Sub,
)
from utvm.graph.tensor import DType, Tensor
from utvm.numerics import (
    exp_on_negative_values,
    logistic,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
    rounding_divide_by_pot,
)

Int8Array = NDArray[np.int8]
Int32Array = NDArray[np.int32]

LookupOperator = Logistic | Relu | Relu6 | LeakyRelu | Quantize
"""The operators that `lookup_table` may serve; `is_lookup` says whether it does."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChannelRequantization:
    """One (multiplier, shift) a channel: y = zero_point + acc * multiplier * 2^(shift - 31). int32 [OC] each.

    Under Rounding.HALF_UP_SHIFT every multiplier is 2^30 and the right shift is 1 - shift.
    """

    multiplier: Int32Array
    shift: Int32Array

    @property
    def uniform(self) -> bool:
        """Whether all channels share one pair, as under weights that are quantised as a whole."""
        return bool((self.multiplier == self.multiplier[0]).all() and (self.shift == self.shift[0]).all())


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


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanParameters:
    """y = zero_point + (sum - count * x.zero_point) * multiplier * 2^(shift - 31), double rounding."""

    count: int
    multiplier: int
    shift: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftmaxParameters:
    """The scaling of differences to a row's maximum, to Q5.26; below `diff_min` (<= 0) nothing."""

    multiplier: int
    shift: int
    diff_min: int


SOFTMAX_DIFF_INTEGER_BITS = 5
"""Scaled differences are Q5.26."""
SOFTMAX_SUM_INTEGER_BITS = 12
"""The sum of exponentials is Q12.19: each Q0.31 exponential is divided by 2^12 to nearest first."""
LOGISTIC_INTEGER_BITS = 4
"""Logistic's argument is Q4.27."""


def requantization(real: float) -> Requantization:
    """Return the fixed-point form of a real factor."""
    multiplier, shift = quantize_multiplier(real)
    return Requantization(multiplier=multiplier, shift=shift)


@lru_cache(maxsize=8)
def channel_requantization(op: Conv2D | DepthwiseConv2D | FullyConnected) -> ChannelRequantization:
    """Return the requantisation of each output channel of a weighted operator."""
    channels = op.weights.shape[3] if isinstance(op, DepthwiseConv2D) else op.weights.shape[0]
    scales = op.weights.channel_scales(channels)
    pairs = [quantize_multiplier(op.x.scale * scale / op.y.scale) for scale in scales]
    table = np.array(pairs, dtype=np.int32).reshape(channels, 2)
    return ChannelRequantization(multiplier=table[:, 0].copy(), shift=table[:, 1].copy())


def addition_parameters(op: Add | Sub) -> AdditionParameters:
    """Return the parameters of an addition or subtraction."""
    left_shift = 20
    twice_max = 2.0 * max(op.a.scale, op.b.scale)
    return AdditionParameters(
        left_shift=left_shift,
        a=requantization(op.a.scale / twice_max),
        b=requantization(op.b.scale / twice_max),
        y=requantization(twice_max / ((1 << left_shift) * op.y.scale)),
    )


def multiplication_parameters(op: Mul) -> Requantization:
    """Return the requantisation of a product of values without their zero points."""
    return requantization(op.a.scale * op.b.scale / op.y.scale)


def mean_parameters(op: Mean) -> MeanParameters:
    """Return the requantisation of a sum over `op.axes`; the division by the count is in the multiplier."""
    count = math.prod(op.x.shape[axis] for axis in op.axes)
    multiplier, shift = quantize_multiplier(op.x.scale / op.y.scale)
    extra = min(count.bit_length() - 1, 32, 31 + shift)
    return MeanParameters(count=count, multiplier=(multiplier << extra) // count, shift=shift - extra)


def softmax_parameters(op: Softmax) -> SoftmaxParameters:
    """Return the scaling of a softmax; y must have scale 1/256 and zero point -128."""
    fraction_bits = 31 - SOFTMAX_DIFF_INTEGER_BITS
    real = min(float(np.float32(op.beta)) * op.x.scale * (1 << fraction_bits), 2.0**31 - 1.0)
    multiplier, shift = quantize_multiplier(real)
    radius = ((1 << SOFTMAX_DIFF_INTEGER_BITS) - 1) * (1 << fraction_bits) // (1 << shift)
    return SoftmaxParameters(multiplier=multiplier, shift=shift, diff_min=-radius)


def softmax_exponentials(op: Softmax) -> Int32Array:
    """Return exp((x - max) * scale * beta) in Q0.31, indexed by max - x (0 ... 255); 0 for nothing.

    With e the entry of each element of a row, sum = Σ (e + 2^11) >> 12. With (scale, bits) the sum's
    `numerics.reciprocal`, y = min(127, p / 2^(bits + 23) - 128), the quotient to nearest, where p is the
    rounding doubling high product of scale and e.
    """
    parameters = softmax_parameters(op)
    differences = -np.arange(256, dtype=np.int64)
    counted = differences >= parameters.diff_min
    scaled = multiply_by_quantized_multiplier(
        np.where(counted, differences, 0), parameters.multiplier, parameters.shift
    )
    exponentials = exp_on_negative_values(scaled, SOFTMAX_DIFF_INTEGER_BITS)
    return np.where(counted, exponentials, 0).astype(np.int32)


def is_lookup(op: Operator) -> bool:
    """Whether `lookup_table` serves this operator: int8 in, int8 out, each element by itself."""
    return isinstance(op, LookupOperator) and op.x.dtype is DType.INT8 and op.y.dtype is DType.INT8


def lookup_table(op: LookupOperator) -> Int8Array:
    """Return the operator's value for each int8 input: int8 [256], entry i is for x = i - 128.

    Relu6 clamps in x's own units and does not requantise.
    """
    x = np.arange(-128, 128, dtype=np.int64)
    value = x - op.x.zero_point
    match op:
        case Logistic():
            result = _logistic(value, op.x.scale)
        case Relu():
            result = np.maximum(_apply(value, rescale_parameters(op.x, op.y)), 0) + op.y.zero_point
        case Relu6():
            six = _round_half_away(np.float32(6) / np.float32(op.x.scale)) + op.x.zero_point
            result = np.where(x > min(six, 127), min(six, 127), np.maximum(x, op.x.zero_point))
        case LeakyRelu():
            slope = requantization(op.x.scale * abs(op.alpha) / op.y.scale)
            negative = _apply(value, slope) * (-1 if op.alpha < 0 else 1)
            positive = _apply(value, rescale_parameters(op.x, op.y))
            result = np.where(value >= 0, positive, negative) + op.y.zero_point
        case Quantize():
            result = _apply(value, rescale_parameters(op.x, op.y)) + op.y.zero_point
    return np.clip(result, -128, 127).astype(np.int8)


def rescale_parameters(x: Tensor, y: Tensor) -> Requantization:
    """Return the requantisation from x's scale to y's (Quantize from int8 to int8, Relu)."""
    return requantization(x.scale / y.scale)


def nearest_indices(op: ResizeNearestNeighbor) -> tuple[Int32Array, Int32Array]:
    """Return the input row of each output row, int32 [OH], and the same for columns, int32 [OW]."""
    return _nearest(op, 1), _nearest(op, 2)


def _nearest(op: ResizeNearestNeighbor, axis: int) -> Int32Array:
    """All in float32, as the interpreter computes it."""
    size, target = op.x.shape[axis], op.y.shape[axis]
    if op.align_corners and target > 1:
        scale = np.float32(size - 1) / np.float32(target - 1)
    else:
        scale = np.float32(size) / np.float32(target)
    offset = np.float32(0.5 if op.half_pixel_centers else 0.0)
    position = (np.arange(target, dtype=np.float32) + offset) * scale
    nearest = np.floor(position.astype(np.float64) + (0.5 if op.align_corners else 0.0))
    return np.clip(nearest, 0, size - 1).astype(np.int32)


def _logistic(value: NDArray[np.int64], scale: float) -> NDArray[np.int64]:
    fraction_bits = 31 - LOGISTIC_INTEGER_BITS
    multiplier, shift = quantize_multiplier(scale * (1 << fraction_bits))
    radius = math.floor(((1 << LOGISTIC_INTEGER_BITS) - 1) * 2.0 ** (fraction_bits - shift))
    argument = multiply_by_quantized_multiplier(np.clip(value, -radius, radius), multiplier, shift)
    inside = rounding_divide_by_pot(logistic(argument, LOGISTIC_INTEGER_BITS), 23) - 128
    return np.where(value <= -radius, -128, np.where(value >= radius, 127, inside))


def _apply(value: NDArray[np.int64], factor: Requantization) -> NDArray[np.int64]:
    return multiply_by_quantized_multiplier(value, factor.multiplier, factor.shift)


def _round_half_away(value: np.float32) -> int:
    return math.floor(float(value) + 0.5)
