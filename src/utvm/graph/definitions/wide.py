"""What operators compute on int16 activations (zero point 0) with int8 weights, as tflite-micro's reference does.

Sums of products have 64 bits, but beside a bias of 32, where they wrap. Those of 64 bits are scaled by 16 bits of a
multiplier.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from utvm.compute import (
    Buffer,
    Compute,
    Const,
    Expr,
    HelperCall,
    Load,
    Reduced,
    call,
    cast,
    number,
    where,
)
from utvm.graph.arithmetic import (
    WIDE_LEFT_SHIFT,
    Requantization,
    addition_parameters,
    channel_requantization,
    integer_range,
    multiplication_parameters,
    requantization,
    rescale_parameters,
    stored_six,
)
from utvm.graph.definitions.definition import Definition
from utvm.graph.definitions.elementwise_operators import elementwise, reduction
from utvm.graph.definitions.fixed_point import average_pool, binary, max_pool, mean
from utvm.graph.definitions.frames import broadcast, of_each, softmax
from utvm.graph.definitions.products import batch_matmul
from utvm.graph.definitions.weighted_operators import terms_of
from utvm.graph.formulas import (
    CLAMP,
    REQUANTIZE,
    REQUANTIZE_WIDE,
    ROUND_INT16,
    SCALE_DOUBLED,
    SIGMOID_INT16,
    SOFTMAX_POWER,
    SOFTMAX_SHARE,
    TANH_INT16,
    centered,
    limits,
    rescaled,
    stored,
)
from utvm.graph.general import BatchMatMul, Elementwise, Reduction
from utvm.graph.operators import (
    Add,
    AveragePool2D,
    Conv2D,
    DepthwiseConv2D,
    Dequantize,
    FullyConnected,
    LeakyRelu,
    Logistic,
    MaxPool2D,
    Mean,
    Mul,
    Operator,
    Quantize,
    Relu,
    Relu6,
    Softmax,
    Sub,
    Tanh,
    Weighted,
)
from utvm.graph.tensor import DType, Tensor
from utvm.numerics import quantize_multiplier
from utvm.numerics.wide import sigmoid_argument

_HALF = Requantization(multiplier=1 << 30, shift=0)
"""The factor of the operand of a sum that has the larger scale."""
_FAR = 1 << 62
"""A bias beside which sums of 64 bits may overflow."""


def weighted(op: Weighted) -> Definition:
    """Return the sum of products and its way to int16."""
    terms, table = terms_of(op), channel_requantization(op)
    channels = table.multiplier.size
    wide = op.bias is None or op.bias.dtype is DType.INT64
    bias = np.zeros(channels, np.int64) if op.bias is None else op.bias.values
    stored_table = slice(1) if table.uniform else slice(None)
    constants = {
        "weights": op.weights.values,
        "bias": bias,
        "multiplier": table.multiplier[stored_table],
        "shift": table.shift[stored_table].astype(np.int8),
    }
    place = number(0) if table.uniform else terms.channel
    multiplier, shift = (
        Load(buffer=Buffer(name=name, c_type=c_type, shape=constants[name].shape), index=(place,))
        for name, c_type in (("multiplier", "int32_t"), ("shift", "int8_t"))
    )
    c_type = "int64_t" if wide else "int32_t"
    scaled = HelperCall(helper=REQUANTIZE_WIDE if wide else REQUANTIZE, arguments=(Reduced(), multiplier, shift))
    low, high = limits(op)
    compute = Compute(
        space=terms.space,
        reduce=terms.reduce,
        init=Load(buffer=Buffer(name="bias", c_type=c_type, shape=(channels,)), index=(terms.channel,)),
        term=terms.x * terms.weights(op),
        epilogue=HelperCall(helper=CLAMP, arguments=(scaled, Const(value=low), Const(value=high))),
        output=terms.output(op),
        index=terms.index,
        # Sums of 32 bits wrap, as tflite-micro's do; of 64 bits those beside a bias at the end of its range.
        c_type="uint32_t" if not wide else "int64_t" if np.abs(np.clip(bias, -_FAR, _FAR)).max() < _FAR else "uint64_t",
    )
    return Definition(stages=(compute,), inputs={"x": op.x}, constants=constants)


def _binary(op: Add | Sub | Mul) -> Definition:
    """Return what `binary` does, by sums and products that are made twice as large as they are at once."""
    factor = multiplication_parameters(op) if isinstance(op, Mul) else addition_parameters(op).y
    if factor.shift > 0 or op.a.zero_point or op.b.zero_point:
        return binary(op)

    def value(loads: Sequence[Load]) -> Expr:
        a, b = loads
        if isinstance(op, Mul):
            # Twice the product of the least values is the one that does not fit: all are made negative.
            return stored(op, call(SCALE_DOUBLED, a * -2 * b, -factor.multiplier, -factor.shift))
        parameters = addition_parameters(op)
        left, right = _doubled(a, parameters.a), _doubled(b, parameters.b)
        total = left - right if isinstance(op, Sub) else left + right
        return stored(op, call(SCALE_DOUBLED, total, factor.multiplier, -factor.shift))

    return broadcast({"a": op.a, "b": op.b}, op.y, value)


def _doubled(x: Load, factor: Requantization) -> Expr:
    """Return twice an operand of a sum, at the common scale: by at most one half, so that sums fit 32 bits."""
    if factor == _HALF:
        return x * (1 << WIDE_LEFT_SHIFT)
    return call(SCALE_DOUBLED, x * (2 << WIDE_LEFT_SHIFT), factor.multiplier, -factor.shift) * 2


def _rescaled(tensor: Tensor, x: Expr, factor: Requantization) -> Expr:
    """Return an element without its zero point at another scale."""
    low, high = (end - tensor.zero_point for end in integer_range(tensor.dtype))
    return rescaled(centered(tensor, x), factor, (low, high))


def _relu(op: Relu, x: Expr) -> Expr:
    low, high = integer_range(op.y.dtype)
    scaled = _rescaled(op.x, x, rescale_parameters(op.x, op.y)) + op.y.zero_point
    return call(CLAMP, scaled, max(low, op.y.zero_point), high)


def _relu6(op: Relu6, x: Expr) -> Expr:
    """Clamp in x's own units, without requantising."""
    return call(CLAMP, x, op.x.zero_point, stored_six(op.x))


def _leaky_relu(op: LeakyRelu, x: Expr) -> Expr:
    slope = requantization(op.x.scale * op.alpha / op.y.scale)
    scaled = where(
        centered(op.x, x) >= 0,
        _rescaled(op.x, x, rescale_parameters(op.x, op.y)),
        _rescaled(op.x, x, slope),
    )
    return stored(op, scaled)


def _quantize(op: Quantize, x: Expr) -> Expr:
    if op.x.dtype is DType.FLOAT32:
        return stored(op, call(ROUND_INT16, x / float(np.float32(op.y.scale))))
    return stored(op, _rescaled(op.x, x, rescale_parameters(op.x, op.y)))


def _dequantize(op: Dequantize, x: Expr) -> Expr:
    return cast(centered(op.x, x), "float") * float(np.float32(op.x.scale))


def _softmax(op: Softmax) -> Definition:
    multiplier, shift = quantize_multiplier(float(op.x.scale * np.float32(op.beta) / (10.0 / 65535.0)))
    return softmax(
        op,
        integer_range(op.x.dtype)[0],
        power=lambda difference: call(SOFTMAX_POWER, difference, multiplier, shift),
        share=lambda power, total: call(SOFTMAX_SHARE, power, total),
        powers_type="int16_t",
    )


def _batch_matmul(op: BatchMatMul) -> Definition:
    """Return the sums of 64 bits of products of int16."""
    found = batch_matmul(op)
    (stage,) = found.stages
    factor = requantization(op.a.scale * op.b.scale / op.y.scale)
    value = stored(op, call(REQUANTIZE_WIDE, Reduced(), factor.multiplier, factor.shift))
    return replace(found, stages=(replace(stage, epilogue=value, c_type="int64_t"),))


WIDE: Mapping[type[Operator], Callable[[Any], Definition]] = {
    Conv2D: weighted,
    DepthwiseConv2D: weighted,
    FullyConnected: weighted,
    Add: _binary,
    Sub: _binary,
    Mul: _binary,
    MaxPool2D: max_pool,
    AveragePool2D: average_pool,
    Mean: mean,
    Softmax: _softmax,
    Logistic: of_each(lambda op, x: call(SIGMOID_INT16, x, *sigmoid_argument(op.x.scale, tanh=False))),
    Tanh: of_each(lambda op, x: call(TANH_INT16, x, *sigmoid_argument(op.x.scale, tanh=True))),
    Relu: of_each(_relu),
    Relu6: of_each(_relu6),
    LeakyRelu: of_each(_leaky_relu),
    Quantize: of_each(_quantize),
    Dequantize: of_each(_dequantize),
    Elementwise: elementwise,
    Reduction: reduction,
    BatchMatMul: _batch_matmul,
}
"""What each operator computes where an input or its output is int16."""
