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
| Logistic, Tanh, Relu, Relu6, LeakyRelu, Quantize (between int8 and uint8) | `lookup_table` |
| Softmax | `softmax_parameters`, `softmax_exponentials` |
| ResizeNearestNeighbor | `nearest_indices` |
| ResizeBilinear | `bilinear_positions` |
| Lstm | `lstm_parameters` |
| L2Normalize | `L2_OUTPUT_BITS` |

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
    DepthwiseConv2D,
    LeakyRelu,
    Logistic,
    Mean,
    Mul,
    Operator,
    Quantize,
    Relu,
    Relu6,
    ResizeBilinear,
    ResizeNearestNeighbor,
    Softmax,
    Sub,
    Tanh,
    Weighted,
)
from utvm.graph.recurrent import Lstm
from utvm.graph.tensor import DType, Tensor
from utvm.numerics import (
    exp_on_negative_values,
    logistic,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
    rounding_divide_by_pot,
    tanh,
)

Int8Array = NDArray[np.int8]
ByteArray = NDArray[np.int8] | NDArray[np.uint8]
Int32Array = NDArray[np.int32]

LookupOperator = Logistic | Tanh | Relu | Relu6 | LeakyRelu | Quantize
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


WIDE_LEFT_SHIFT = 15
"""By so many bits are int16 operands of a sum shifted."""
SOFTMAX_DIFF_INTEGER_BITS = 5
"""Scaled differences are Q5.26."""
SOFTMAX_SUM_INTEGER_BITS = 12
"""The sum of exponentials is Q12.19: each Q0.31 exponential is divided by 2^12 to nearest first."""
LOG_SUM_BITS = SOFTMAX_SUM_INTEGER_BITS
"""So many bits has the sum of the exponentials of a LogSoftmax before the point."""
SIGMOID_INTEGER_BITS = 4
"""The argument of Logistic and Tanh is Q4.27."""
BILINEAR_FRACTION_BITS = 10
"""Positions of ResizeBilinear are in 1024ths of a pixel."""


def requantization(real: float) -> Requantization:
    """Return the fixed-point form of a real factor."""
    multiplier, shift = quantize_multiplier(real)
    return Requantization(multiplier=multiplier, shift=shift)


@lru_cache(maxsize=64)
def channel_requantization(op: Weighted) -> ChannelRequantization:
    """Return the requantisation of each output channel of a weighted operator."""
    channels = op.weights.shape[3] if isinstance(op, DepthwiseConv2D) else op.weights.shape[0]
    scales = op.weights.channel_scales(channels)
    pairs = [quantize_multiplier(op.x.scale * scale / op.y.scale) for scale in scales]
    table = np.array(pairs, dtype=np.int32).reshape(channels, 2)
    return ChannelRequantization(multiplier=table[:, 0].copy(), shift=table[:, 1].copy())


def addition_parameters(op: Add | Sub) -> AdditionParameters:
    """Return the parameters of an addition or subtraction."""
    left_shift = WIDE_LEFT_SHIFT if op.y.dtype is DType.INT16 else 20
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


def log_softmax_tables(scale: float, depth: int) -> dict[str, Int32Array] | None:
    """Return what the routine LogSoftmax reads, by the distance to the largest of `depth` elements of int8.

    `powers` are exponentials, `scaled` the distances in Q5.26, `parameters` the depth, the least distance, and the way
    back to distances. None where the scale of the input does not fit 32 bits.
    """
    fraction = 31 - SOFTMAX_DIFF_INTEGER_BITS
    multiplier, shift = quantize_multiplier(min(scale * (1 << fraction), 2.0**31 - 1.0))
    if not 2 <= shift <= 30:
        return None
    least = -((((1 << SOFTMAX_DIFF_INTEGER_BITS) - 1) << fraction) >> shift)
    back, back_shift = quantize_multiplier((1 << (31 - shift)) / multiplier)
    distances = -np.arange(256, dtype=np.int64)
    scaled = multiply_by_quantized_multiplier(np.maximum(distances, least - 1), multiplier, shift)
    powers = exp_on_negative_values(np.where(distances >= least, scaled, 0), SOFTMAX_DIFF_INTEGER_BITS)
    counted = np.where(distances >= least, rounding_divide_by_pot(powers, LOG_SUM_BITS), 0)
    return {
        "powers": counted.astype(np.int32),
        "scaled": scaled.astype(np.int32),
        "parameters": np.array([depth, least - 1, back, -back_shift], np.int32),
    }


def is_lookup(op: Operator) -> bool:
    """Whether `lookup_table` serves this operator: int8 in, int8 out, each by itself; uint8 for a Quantize too."""
    bytes_of = {DType.INT8, DType.UINT8} if isinstance(op, Quantize) else {DType.INT8}
    return isinstance(op, LookupOperator) and {op.x.dtype, op.y.dtype} <= bytes_of


def integer_range(dtype: DType) -> tuple[int, int]:
    """Return the least and the largest value of a type of integers."""
    limits = np.iinfo(dtype.value)
    return int(limits.min), int(limits.max)


@lru_cache(maxsize=64)
def lookup_table(op: LookupOperator) -> ByteArray:
    """Return the operator's value for each input: 256 of y's type, read only; entry i is for x = least + i.

    Relu6 clamps in x's own units and does not requantise.
    """
    least, _ = integer_range(op.x.dtype)
    x = np.arange(least, least + 256, dtype=np.int64)
    value = x - op.x.zero_point
    match op:
        case Logistic():
            result = _logistic(value, op.x.scale)
        case Tanh():
            result = _tanh(value, op.x.scale)
        case Relu():
            result = np.maximum(_apply(value, rescale_parameters(op.x, op.y)), 0) + op.y.zero_point
        case Relu6():
            six = stored_six(op.x)
            result = np.where(x > six, six, np.maximum(x, op.x.zero_point))
        case LeakyRelu():
            slope = requantization(op.x.scale * abs(op.alpha) / op.y.scale)
            negative = _apply(value, slope) * (-1 if op.alpha < 0 else 1)
            positive = _apply(value, rescale_parameters(op.x, op.y))
            result = np.where(value >= 0, positive, negative) + op.y.zero_point
        case Quantize():
            result = _apply(value, rescale_parameters(op.x, op.y)) + op.y.zero_point
    table: ByteArray = np.clip(result, *integer_range(op.y.dtype)).astype(op.y.dtype.value)
    table.setflags(write=False)
    return table


def stored_six(x: Tensor) -> int:
    """Return 6 as a tensor stores it, or the largest value that it stores."""
    six = _round_half_away(np.float32(6) / np.float32(x.scale)) + x.zero_point
    return min(six, integer_range(x.dtype)[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class LstmParameters:
    """Factors of an LSTM.

    Attributes:
        inputs, recurrences: of the sums of products, by gate.
        forgetting, taking, showing: of products of gates.
        gate: (multiplier, shift) that make a sum the argument of `numerics.wide.sigmoid_int16` and `tanh_int16`.
        cell: likewise for the cell state.
    """

    inputs: tuple[Requantization, ...]
    recurrences: tuple[Requantization, ...]
    forgetting: Requantization
    taking: Requantization
    showing: Requantization
    gate: tuple[int, int]
    cell: tuple[int, int]


def lstm_parameters(op: Lstm) -> LstmParameters:
    """Return the factors of an LSTM: sums become Q3.12, gates are Q0.15."""
    gate, share = 2.0**-12, 2.0**-15
    # The cell's scale counts as the nearest power of two; 2^-12 of Q3.12 is one of the functions' three units.
    left = 12 + _round_half_away(np.float32(math.log2(op.cell.scale)))
    return LstmParameters(
        inputs=tuple(requantization(op.x.scale * w.scale / gate) for w in op.input_weights),
        recurrences=tuple(requantization(op.hidden.scale * w.scale / gate) for w in op.recurrent_weights),
        forgetting=requantization(share),
        taking=requantization(share * share / op.cell.scale),
        showing=requantization(share * share / op.hidden.scale),
        gate=(3, 0),
        cell=(3 << left, 0) if left >= 0 else (3, -left),
    )


L2_OUTPUT_BITS = 7
"""y of L2Normalize is in 1/128."""


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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BilinearPositions:
    """Between which two pixels of the input each output pixel of one dimension lies. int32 [outputs] each.

    The value is first * (1024 - fraction) + second * fraction, over 1024; where `first` is `second`, `fraction` is 0.
    """

    first: Int32Array
    second: Int32Array
    fraction: Int32Array


def bilinear_positions(op: ResizeBilinear) -> tuple[BilinearPositions, BilinearPositions]:
    """Return the positions of rows and of columns (TFLite's ComputeInterpolationValuesInteger).

    Raises:
        ValueError: rounded positions lie behind the last pixel, as those of very large results may.
    """
    return _bilinear(op, 1), _bilinear(op, 2)


def _bilinear(op: ResizeBilinear, axis: int) -> BilinearPositions:
    size, target, one = op.x.shape[axis], op.y.shape[axis], 1 << BILINEAR_FRACTION_BITS
    if op.align_corners and target > 1:
        step = (one * (size - 1) + (target - 1) // 2) // (target - 1)
    else:
        step = (one * size + target // 2) // target
    position = np.arange(target, dtype=np.int64) * step
    if op.half_pixel_centers:
        position += step // 2 - one // 2
    first = np.maximum(position, 0) // one
    second = np.minimum(-(np.minimum(-position, 0) // one), size - 1)
    if (first >= size).any():
        raise ValueError(f"{target} pixels out of {size} read behind the last one")
    fraction = np.where(first == second, 0, position - first * one)
    return BilinearPositions(
        first=first.astype(np.int32), second=second.astype(np.int32), fraction=fraction.astype(np.int32)
    )


def _logistic(value: NDArray[np.int64], scale: float) -> NDArray[np.int64]:
    argument, radius = _sigmoid_argument(value, scale)
    inside = rounding_divide_by_pot(logistic(argument, SIGMOID_INTEGER_BITS), 23) - 128
    return np.where(value <= -radius, -128, np.where(value >= radius, 127, inside))


def _tanh(value: NDArray[np.int64], scale: float) -> NDArray[np.int64]:
    argument, radius = _sigmoid_argument(value, scale)
    inside = rounding_divide_by_pot(tanh(argument, SIGMOID_INTEGER_BITS), 24)
    return np.where(value <= -radius, -128, np.where(value >= radius, 127, inside))


def _sigmoid_argument(value: NDArray[np.int64], scale: float) -> tuple[NDArray[np.int64], int]:
    """Return the argument in Q4.27, and from which value on the result is at its end."""
    fraction_bits = 31 - SIGMOID_INTEGER_BITS
    multiplier, shift = quantize_multiplier(scale * (1 << fraction_bits))
    radius = math.floor(((1 << SIGMOID_INTEGER_BITS) - 1) * 2.0 ** (fraction_bits - shift))
    return multiply_by_quantized_multiplier(np.clip(value, -radius, radius), multiplier, shift), radius


def _apply(value: NDArray[np.int64], factor: Requantization) -> NDArray[np.int64]:
    return multiply_by_quantized_multiplier(value, factor.multiplier, factor.shift)


def _round_half_away(value: np.float32) -> int:
    return math.floor(float(value) + 0.5)
