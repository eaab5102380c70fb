"""Float .tflite files, those with int8 weights ("hybrid") among them → Graph in float32.

They are read to be quantised here: activations become operators of their own, hybrid weights their real values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tflite
from numpy.typing import NDArray

from utvm.frontends.builder import GraphBuilder
from utvm.frontends.channels_first import mean
from utvm.frontends.context import Context, leaky_alpha, softmax_beta
from utvm.frontends.errors import FrontendError
from utvm.frontends.flatbuffer import RawModel, RawTensor
from utvm.frontends.problems import Problems
from utvm.frontends.refusal import RefusedError, axis_of
from utvm.frontends.tflite_windowed import placed
from utvm.graph import (
    Add,
    AveragePool2D,
    Conv2D,
    DepthwiseConv2D,
    DType,
    FullyConnected,
    Graph,
    LeakyRelu,
    Logistic,
    MaxPool2D,
    Mul,
    Operator,
    Relu,
    Relu6,
    Softmax,
    Sub,
    Tanh,
    Tensor,
)
from utvm.graph.names import Names

_NAMES = tflite.ActivationFunctionType
_LAYERS = frozenset(("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"))
_ADVICE = (
    "A float file with this operator is not quantised here: convert it with full integer quantisation, or take the "
    "operator out."
)


def is_float(raw: RawModel) -> bool:
    """Whether a file is a float network of layers that are quantised here."""
    ends = [raw.tensors[index] for index in (*raw.inputs, *raw.outputs)]
    made = [raw.tensors[index] for op in raw.operators for index in op.outputs]
    layers = any(op.kind in _LAYERS for op in raw.operators)
    return layers and all(t.dtype is DType.FLOAT32 for t in (*ends, *made))


def float_graph(raw: RawModel, source: str, name: str) -> Graph:
    """Return the graph of a float file.

    Raises:
        FrontendError: with every problem found.
    """
    builder, problems = GraphBuilder(name), Problems()
    values: dict[int, Tensor] = {}
    for index in raw.inputs:
        tensor = raw.tensors[index]
        try:
            values[index] = builder.input(tensor.name, tensor.shape)
        except RefusedError as reason:
            problems.of_file(f"input '{tensor.name}': {reason}")
    for op in raw.operators:
        if any(i >= 0 and i not in values and raw.tensors[i].data is None for i in op.inputs) and problems.texts:
            continue
        builder.place = f"{op.kind.lower()}_{op.index}"
        node = _Node(raw, Context(raw, op, {}, Names()), builder, values)
        try:
            convert = _CONVERTERS.get(op.kind)
            if convert is None:
                raise RefusedError("this operator is not supported", _ADVICE)
            values[op.outputs[0]] = convert(node)
        except RefusedError as reason:
            problems.of_operator(op.index, op.kind, str(reason), reason.advice)
        except Exception as error:
            problems.of_operator(op.index, op.kind, f"its options are damaged ({type(error).__name__})")
    if any(index not in values for index in raw.outputs) and not problems.texts:
        problems.of_file("nothing makes an output")
    if problems.texts:
        raise FrontendError(source, problems.texts, advice=problems.advice)
    return builder.graph([(raw.tensors[index].name, values[index]) for index in raw.outputs])


class _Node:
    """One operator on its way into the graph."""

    def __init__(self, raw: RawModel, context: Context, builder: GraphBuilder, values: Mapping[int, Tensor]) -> None:
        self._raw = raw
        self._values = values
        self.c = context
        self.b = builder

    def x(self, position: int = 0) -> Tensor:
        """Return an operand; a constant becomes one."""
        index = self.c.raw.inputs[position]
        return self._values[index] if index in self._values else self.b.constant(self.real(position))

    def real(self, position: int) -> NDArray[np.float32]:
        """Return the real values of a constant."""
        tensor = self._tensor(position)
        if tensor.data is None:
            raise RefusedError(f"tensor '{tensor.name}': it must be a constant")
        if tensor.dtype is DType.FLOAT32:
            return tensor.data
        if tensor.dtype is not DType.INT8 or tensor.quant is None:
            raise RefusedError(f"tensor '{tensor.name}': its type is {tensor.dtype}, float32 or int8 is expected")
        return tensor.quant.real(tensor.data).astype(np.float32)

    def bias(self) -> Tensor | None:
        """Return the third operand, None if it is absent."""
        absent = len(self.c.raw.inputs) < 3 or self.c.raw.inputs[2] < 0
        return None if absent else self.b.constant(self.real(2), "bias")

    def integers(self, position: int) -> tuple[int, ...]:
        """Return a constant of integers."""
        tensor = self._tensor(position)
        if tensor.data is None or tensor.dtype is not DType.INT32:
            raise RefusedError(f"tensor '{tensor.name}': constant int32 is expected")
        return tuple(int(v) for v in tensor.data.reshape(-1))

    @property
    def shape(self) -> tuple[int, ...]:
        """The result's shape as the file has it."""
        return self._raw.tensors[self.c.raw.outputs[0]].shape

    def activated(self, y: Tensor, activation: int) -> Tensor:
        """Append a fused activation."""
        kinds: Mapping[int, type[Operator]] = {_NAMES.RELU: Relu, _NAMES.RELU6: Relu6, _NAMES.TANH: Tanh}
        if activation == _NAMES.NONE:
            return y
        if activation not in kinds:
            raise RefusedError(f"its fused activation {activation} is not supported")
        return self.b.unary(kinds[activation], y)

    def _tensor(self, position: int) -> RawTensor:
        index = self.c.raw.inputs[position]
        if index < 0:
            raise RefusedError("an input that is needed is absent")
        tensor = self._raw.tensors[index]
        if tensor.problem is not None:
            raise RefusedError(f"tensor '{tensor.name}': {tensor.problem}")
        return tensor


def _convolution(kind: type[Operator], options: type[Any]) -> Callable[[_Node], Tensor]:
    def convert(n: _Node) -> Tensor:
        o, x, weights = n.c.options(options), n.x(), n.real(1)
        stride, dilation = (o.StrideH(), o.StrideW()), (o.DilationHFactor(), o.DilationWFactor())
        if weights.ndim != 4:
            raise RefusedError(f"its weights have shape {list(weights.shape)}")
        padding, plane = placed(x, o.Padding(), (weights.shape[1], weights.shape[2]), stride, dilation)
        depthwise = kind is DepthwiseConv2D
        made, depth = (weights.shape[3], 1) if depthwise else (weights.shape[0], weights.shape[3])
        groups = x.shape[3] if depthwise else x.shape[3] // max(depth, 1)
        if groups < 1 or made % groups or (depth * groups != x.shape[3]) or (depthwise and weights.shape[0] != 1):
            raise RefusedError(f"its weights {list(weights.shape)} do not fit {x.shape[3]} channels")
        y = n.b.add(
            kind,
            (x.shape[0], *plane, made),
            x=x,
            weights=n.b.constant(weights, "weights"),
            bias=n.bias(),
            stride=stride,
            dilation=dilation,
            padding=padding,
        )
        return n.activated(y, o.FusedActivationFunction())

    return convert


def _fully_connected(n: _Node) -> Tensor:
    o, x, weights = n.c.options(tflite.FullyConnectedOptions), n.x(), n.real(1)
    if o.WeightsFormat() != 0 or weights.ndim != 2 or x.elements % weights.shape[1]:
        raise RefusedError(f"its weights {list(weights.shape)} do not fit an input of shape {list(x.shape)}")
    rows = x.elements // weights.shape[1]
    shape = (*x.shape[:-1], weights.shape[0]) if o.KeepNumDims() else (rows, weights.shape[0])
    y = n.b.add(FullyConnected, shape, x=x, weights=n.b.constant(weights, "weights"), bias=n.bias())
    return n.activated(y, o.FusedActivationFunction())


def _pool(kind: type[Operator]) -> Callable[[_Node], Tensor]:
    def convert(n: _Node) -> Tensor:
        o, x = n.c.options(tflite.Pool2DOptions), n.x()
        size, stride = (o.FilterHeight(), o.FilterWidth()), (o.StrideH(), o.StrideW())
        padding, plane = placed(x, o.Padding(), size, stride)
        shape = (x.shape[0], *plane, x.shape[3])
        y = n.b.add(kind, shape, x=x, filter=size, stride=stride, padding=padding)
        return n.activated(y, o.FusedActivationFunction())

    return convert


def _binary(kind: type[Add] | type[Sub] | type[Mul], options: type[Any]) -> Callable[[_Node], Tensor]:
    def convert(n: _Node) -> Tensor:
        return n.activated(n.b.binary(kind, n.x(0), n.x(1)), n.c.options(options).FusedActivationFunction())

    return convert


def _mean(n: _Node) -> Tensor:
    x = n.x()
    axes = [axis_of(axis, len(x.shape)) for axis in n.integers(1)]
    return mean(n.b, x, axes, keep=bool(n.c.options(tflite.ReducerOptions).KeepDims()))


def _pad(n: _Node) -> Tensor:
    x, flat = n.x(), n.integers(1)
    if len(flat) != 2 * len(x.shape) or any(not 0 <= v <= 1 << 20 for v in flat):
        raise RefusedError(f"its paddings {list(flat)[:16]} do not fit {len(x.shape)} dimensions")
    return n.b.pad(x, tuple(zip(flat[0::2], flat[1::2], strict=True)))


def _concatenation(n: _Node) -> Tensor:
    o, xs = n.c.options(tflite.ConcatenationOptions), [n.x(i) for i in range(len(n.c.raw.inputs))]
    y = n.b.concatenation(xs, axis_of(o.Axis(), len(xs[0].shape)))
    return n.activated(y, o.FusedActivationFunction())


def _unary(kind: type[Operator]) -> Callable[[_Node], Tensor]:
    return lambda n: n.b.unary(kind, n.x())


def _reshape(n: _Node) -> Tensor:
    return n.b.reshape(n.x(), n.shape)


_CONVERTERS: Mapping[str, Callable[[_Node], Tensor]] = {
    "CONV_2D": _convolution(Conv2D, tflite.Conv2DOptions),
    "DEPTHWISE_CONV_2D": _convolution(DepthwiseConv2D, tflite.DepthwiseConv2DOptions),
    "FULLY_CONNECTED": _fully_connected,
    "ADD": _binary(Add, tflite.AddOptions),
    "SUB": _binary(Sub, tflite.SubOptions),
    "MUL": _binary(Mul, tflite.MulOptions),
    "MAX_POOL_2D": _pool(MaxPool2D),
    "AVERAGE_POOL_2D": _pool(AveragePool2D),
    "MEAN": _mean,
    "SOFTMAX": lambda n: n.b.unary(Softmax, n.x(), beta=softmax_beta(n.c)),
    "LOGISTIC": _unary(Logistic),
    "TANH": _unary(Tanh),
    "RELU": _unary(Relu),
    "RELU6": _unary(Relu6),
    "LEAKY_RELU": lambda n: n.b.unary(LeakyRelu, n.x(), alpha=leaky_alpha(n.c)),
    "RESHAPE": _reshape,
    "SQUEEZE": _reshape,
    "EXPAND_DIMS": _reshape,
    "PAD": _pad,
    "CONCATENATION": _concatenation,
    "TRANSPOSE": lambda n: n.b.transpose(n.x(), n.integers(1)),
}
