"""What operators compute on int16 activations (zero point 0) with int8 weights, as tflite-micro's reference does.

Sums of products have 64 bits, but beside a bias of 32, where they wrap. Those of 64 bits are scaled by 16 bits of a
multiplier.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from utvm.compute import (
    Buffer,
    Call,
    Compute,
    Const,
    Expr,
    Load,
    Reduced,
    axis,
    call,
    cast,
    number,
    where,
)
from utvm.compute.expressions import Combine
from utvm.graph.arithmetic import (
    addition_parameters,
    channel_requantization,
    integer_range,
    mean_parameters,
    multiplication_parameters,
    rescale_parameters,
)
from utvm.graph.definitions.definition import Definition, axes_of, broadcast_load, buffer_of
from utvm.graph.definitions.elementwise import elementwise as plain_elementwise
from utvm.graph.definitions.elementwise import pointwise, reduction
from utvm.graph.definitions.products import batch_matmul
from utvm.graph.definitions.weighted import terms_of
from utvm.graph.formulas import (
    CLAMP,
    REQUANTIZE,
    REQUANTIZE_WIDE,
    ROUND_INT16,
    SIGMOID_INT16,
    SOFTMAX_POWER,
    SOFTMAX_SHARE,
    TANH_INT16,
    centered,
    limits,
    requantized,
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
    Softmax,
    Sub,
    Tanh,
)
from utvm.graph.tensor import DType
from utvm.numerics import quantize_multiplier
from utvm.numerics.wide import sigmoid_argument


def weighted(op: Conv2D | DepthwiseConv2D | FullyConnected) -> Definition:
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
    scaled = Call(helper=REQUANTIZE_WIDE if wide else REQUANTIZE, arguments=(Reduced(), multiplier, shift))
    low, high = limits(op)
    compute = Compute(
        space=terms.space,
        reduce=terms.reduce,
        init=Load(buffer=Buffer(name="bias", c_type=c_type, shape=(channels,)), index=(terms.channel,)),
        term=terms.x * terms.weights(op),
        epilogue=Call(helper=CLAMP, arguments=(scaled, Const(value=low), Const(value=high))),
        output=terms.output(op),
        index=terms.index,
        # Sums of 32 bits wrap, as tflite-micro's do.
        c_type="int64_t" if wide else "uint32_t",
    )
    return Definition(stages=(compute,), inputs={"x": op.x}, constants=constants)


def _binary(op: Add | Sub | Mul) -> Definition:
    axes = axes_of(op.y.shape)
    a, b = (centered(t, broadcast_load(n, t, list(axes), op.y.shape)) for n, t in (("a", op.a), ("b", op.b)))
    if isinstance(op, Mul):
        total = requantized(a * b, multiplication_parameters(op))
    else:
        parameters = addition_parameters(op)
        one = 1 << parameters.left_shift
        left, right = requantized(a * one, parameters.a), requantized(b * one, parameters.b)
        total = requantized(left - right if isinstance(op, Sub) else left + right, parameters.y)
    return Definition(stages=(pointwise(axes, stored(op, total), buffer_of("y", op.y)),), inputs={"a": op.a, "b": op.b})


def _unary(function: Callable[[Any, Expr], Expr]) -> Callable[[Any], Definition]:
    def define(op: Any) -> Definition:
        axes = axes_of((op.y.elements,))
        x = Load(buffer=buffer_of("x", op.x, (op.x.elements,)), index=(axis("d0"),))
        output = buffer_of("y", op.y, (op.y.elements,))
        return Definition(stages=(pointwise(axes, function(op, x), output),), inputs={"x": op.x})

    return define


def _relu(op: Relu, x: Expr) -> Expr:
    low, high = integer_range(op.y.dtype)
    scaled = requantized(centered(op.x, x), rescale_parameters(op.x, op.y)) + op.y.zero_point
    return call(CLAMP, scaled, max(low, op.y.zero_point), high)


def _leaky_relu(op: LeakyRelu, x: Expr) -> Expr:
    value = centered(op.x, x)
    slope = quantize_multiplier(op.x.scale * op.alpha / op.y.scale)
    negative = call(REQUANTIZE, value, *slope)
    return stored(op, where(value >= 0, requantized(value, rescale_parameters(op.x, op.y)), negative))


def _quantize(op: Quantize, x: Expr) -> Expr:
    if op.x.dtype is DType.FLOAT32:
        return stored(op, call(ROUND_INT16, x / float(np.float32(op.y.scale))))
    return stored(op, requantized(centered(op.x, x), rescale_parameters(op.x, op.y)))


def _dequantize(op: Dequantize, x: Expr) -> Expr:
    return cast(centered(op.x, x), "float") * float(np.float32(op.x.scale))


def _mean(op: Mean) -> Definition:
    parameters = mean_parameters(op)
    shape = op.x.shape
    kept = {f"d{d}": size for d, size in enumerate(shape) if d not in op.axes}
    index = tuple(axis(f"r{d}" if d in op.axes else f"d{d}") for d in range(len(shape)))
    value = call(REQUANTIZE, Reduced(), parameters.multiplier, parameters.shift)
    compute = Compute(
        space=kept,
        reduce={f"r{d}": shape[d] for d in op.axes},
        init=Const(value=0),
        term=centered(op.x, Load(buffer=buffer_of("x", op.x), index=index)),
        epilogue=stored(op, value),
        output=buffer_of("y", op.y, tuple(kept.values())),
        index=tuple(axis(name) for name in kept),
        c_type="uint32_t",
    )
    return Definition(stages=(compute,), inputs={"x": op.x})


def _max_pool(op: MaxPool2D) -> Definition:
    value = call(CLAMP, Reduced(), *limits(op))
    return Definition(stages=(_pooled(op, "max", integer_range(op.x.dtype)[0], value),), inputs={"x": op.x})


def _average_pool(op: AveragePool2D) -> Definition:
    """Return the sum over how many pixels lie inside, halves away from zero."""
    counts = {"rows": _inside(op, 0), "columns": _inside(op, 1)}
    rows, columns = (
        Load(buffer=Buffer(name=name, c_type="int32_t", shape=values.shape), index=(axis(place),))
        for (name, values), place in zip(counts.items(), ("oy", "ox"), strict=True)
    )
    constants: dict[str, Any] = {}
    count: Expr
    half: Expr
    if all((values == values[0]).all() for values in counts.values()):
        whole = int(counts["rows"][0] * counts["columns"][0])
        count, half = Const(value=whole), Const(value=whole // 2)
    else:
        count, constants = rows * columns, counts
        half = count // 2
    total = Reduced()
    value = where(total > 0, (total + half) // count, (total - half) // count)
    stage = _pooled(op, "sum", 0, call(CLAMP, value, *limits(op)))
    return Definition(stages=(stage,), inputs={"x": op.x}, constants=constants)


def _pooled(op: MaxPool2D | AveragePool2D, combine: Combine, outside: int, value: Expr) -> Compute:
    batch, rows, columns, channels = op.y.shape
    y = axis("oy") * op.stride[0] + axis("ky") + -op.padding.top
    x = axis("ox") * op.stride[1] + axis("kx") + -op.padding.left
    space = {"n": batch, "oy": rows, "ox": columns, "c": channels}
    return Compute(
        space=space,
        reduce={"ky": op.filter[0], "kx": op.filter[1]},
        combine=combine,
        init=Const(value=outside),
        term=Load(buffer=buffer_of("x", op.x), index=(axis("n"), y, x, axis("c")), outside=outside),
        epilogue=value,
        output=buffer_of("y", op.y),
        index=tuple(axis(name) for name in space),
    )


def _inside(op: AveragePool2D, dimension: int) -> Any:
    """Return how many rows or columns of each window are inside the input."""
    before = (op.padding.top, op.padding.left)[dimension]
    first = np.arange(op.y.shape[1 + dimension]) * op.stride[dimension] - before
    last = np.minimum(first + op.filter[dimension], op.x.shape[1 + dimension])
    return (last - np.maximum(first, 0)).astype(np.int32)


def _softmax(op: Softmax) -> Definition:
    """Return four stages: the largest of a row, powers, their sum, shares."""
    size = op.x.shape[-1] if op.x.shape else 1
    rows = op.x.elements // size
    ratio = float(op.x.scale * np.float32(op.beta) / (10.0 / 65535.0))
    multiplier, shift = quantize_multiplier(ratio)
    most, total = (Buffer(name=name, c_type="int32_t", shape=(rows,)) for name in ("most", "total"))
    powers = Buffer(name="powers", c_type="int16_t", shape=(rows, size))
    row, every = {"d0": rows}, {"d0": rows, "d1": size}

    def at(buffer: Buffer, *names: str) -> Load:
        return Load(buffer=buffer, index=tuple(axis(n) for n in names))

    def over(combine: Combine, init: int, term: Expr, output: Buffer) -> Compute:
        return Compute(
            space=row,
            reduce={"d1": size},
            combine=combine,
            init=Const(value=init),
            term=term,
            epilogue=Reduced(),
            output=output,
            index=(axis("d0"),),
        )

    x = at(buffer_of("x", op.x, (rows, size)), "d0", "d1")
    power = call(SOFTMAX_POWER, x - at(most, "d0"), multiplier, shift)
    share = call(SOFTMAX_SHARE, at(powers, "d0", "d1"), at(total, "d0"))
    return Definition(
        stages=(
            over("max", -32768, x, most),
            pointwise(every, power, powers),
            over("sum", 0, at(powers, "d0", "d1"), total),
            pointwise(every, share, buffer_of("y", op.y, (rows, size))),
        ),
        inputs={"x": op.x},
    )


WIDE: Mapping[type[Operator], Callable[[Any], Definition]] = {
    Conv2D: weighted,
    DepthwiseConv2D: weighted,
    FullyConnected: weighted,
    Add: _binary,
    Sub: _binary,
    Mul: _binary,
    MaxPool2D: _max_pool,
    AveragePool2D: _average_pool,
    Mean: _mean,
    Softmax: _softmax,
    Logistic: _unary(lambda op, x: call(SIGMOID_INT16, x, *sigmoid_argument(op.x.scale, tanh=False))),
    Tanh: _unary(lambda op, x: call(TANH_INT16, x, *sigmoid_argument(op.x.scale, tanh=True))),
    Relu: _unary(_relu),
    LeakyRelu: _unary(_leaky_relu),
    Quantize: _unary(_quantize),
    Dequantize: _unary(_dequantize),
    Elementwise: plain_elementwise,
    Reduction: reduction,
    BatchMatMul: batch_matmul,
}
"""What each operator computes where an input or its output is int16."""
