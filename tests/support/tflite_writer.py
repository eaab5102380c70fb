"""Graph → .tflite bytes, so that tflite-micro can run what the tests draw.

Built on the flatbuffer classes that tflite-micro ships. What a file can't say is a ValueError: explicit padding, clamps
that are no fused activation, roundings other than TFLite's, unequal splits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flatbuffers
import numpy as np
from numpy.typing import NDArray
from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

from utvm.frontends.context import quantised_range
from utvm.graph import (
    FULL_INT8,
    Add,
    AveragePool2D,
    AverageRounding,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    Dequantize,
    DType,
    FullyConnected,
    Graph,
    LeakyRelu,
    Logistic,
    MaxPool2D,
    Mean,
    Mul,
    Operator,
    Pad,
    Padding,
    Quantize,
    Relu,
    Relu6,
    Reshape,
    ResizeNearestNeighbor,
    Rounding,
    Softmax,
    Split,
    StridedSlice,
    Sub,
    Tensor,
    Transpose,
)

_TYPES = {
    DType.INT8: schema.TensorType.INT8,
    DType.INT16: schema.TensorType.INT16,
    DType.INT32: schema.TensorType.INT32,
    DType.FLOAT32: schema.TensorType.FLOAT32,
}
_ACTIVATIONS = {
    schema.ActivationFunctionType.RELU: (0.0, None),
    schema.ActivationFunctionType.RELU6: (0.0, 6.0),
    schema.ActivationFunctionType.RELU_N1_TO_1: (-1.0, 1.0),
}


def write_tflite(graph: Graph) -> bytes:
    """Return the graph as a .tflite file."""
    writer = _Writer()
    for op in graph.operators:
        writer.operator(op)
    return writer.file(graph)


class _Writer:
    def __init__(self) -> None:
        self._buffers = [schema.BufferT()]
        self._tensors: list[Any] = []
        self._indices: dict[Tensor, int] = {}
        self._codes: list[int] = []
        self._operators: list[Any] = []

    def index(self, tensor: Tensor | None) -> int:
        """Return the index of a tensor of the graph, -1 for none."""
        if tensor is None:
            return -1
        if tensor not in self._indices:
            self._indices[tensor] = self._add(tensor.name, tensor.shape, tensor.dtype, tensor.data)
            if tensor.quant is not None:
                quant = schema.QuantizationParametersT()
                quant.scale = list(tensor.quant.scale)
                quant.zeroPoint = list(tensor.quant.zero_point)
                quant.quantizedDimension = tensor.quant.axis or 0
                self._tensors[self._indices[tensor]].quantization = quant
        return self._indices[tensor]

    def integers(self, values: Sequence[Any]) -> int:
        """Return the index of a new constant int32 tensor."""
        data = np.array(values, np.int32)
        return self._add(f"constant{len(self._tensors)}", data.shape, DType.INT32, data)

    def operator(self, op: Operator) -> None:
        """Write one operator."""
        code, options, inputs = _WRITERS[type(op)](self, op)
        name = type(options).__name__.removesuffix("T") if options is not None else "NONE"
        if code not in self._codes:
            self._codes.append(code)
        written = schema.OperatorT()
        written.opcodeIndex = self._codes.index(code)
        written.inputs = inputs
        written.outputs = [self.index(tensor) for tensor in op.outputs]
        written.builtinOptionsType = getattr(schema.BuiltinOptions, name)
        written.builtinOptions = options
        self._operators.append(written)

    def file(self, graph: Graph) -> bytes:
        """Return the bytes of the whole model."""
        subgraph = schema.SubGraphT()
        subgraph.name = graph.name
        subgraph.inputs = [self.index(tensor) for tensor in graph.inputs]
        subgraph.outputs = [self.index(tensor) for tensor in graph.outputs]
        subgraph.tensors = self._tensors
        subgraph.operators = self._operators
        model = schema.ModelT()
        model.version = 3
        model.subgraphs = [subgraph]
        model.buffers = self._buffers
        model.operatorCodes = [_operator_code(code) for code in self._codes]
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _add(self, name: str, shape: tuple[int, ...], dtype: DType, data: NDArray[Any] | None) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(shape), _TYPES[dtype], 0
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            tensor.buffer = len(self._buffers)
            self._buffers.append(buffer)
        self._tensors.append(tensor)
        return len(self._tensors) - 1


def _operator_code(code: int) -> Any:
    made = schema.OperatorCodeT()
    made.builtinCode, made.deprecatedBuiltinCode, made.version = code, min(code, 127), 1
    return made


def _options(kind: str, **values: Any) -> Any:
    """Return the options table `kind` with these fields."""
    table = getattr(schema, f"{kind}OptionsT")()
    for name, value in values.items():
        if not hasattr(table, name):
            raise AttributeError(f"{kind}Options has no {name}")
        setattr(table, name, value)
    return table


def _activation(clamp: tuple[int, int], y: Tensor) -> int:
    if clamp == FULL_INT8:
        return int(schema.ActivationFunctionType.NONE)
    for activation, limits in _ACTIVATIONS.items():
        if clamp == quantised_range(y, *limits):
            return int(activation)
    raise ValueError(f"no fused activation clamps '{y.name}' to {clamp}")


def _scheme(
    op: Conv2D | DepthwiseConv2D | MaxPool2D | AveragePool2D, window: tuple[int, ...], dilation: tuple[int, int]
) -> int:
    """Return SAME or VALID, whichever gives the operator's padding and output size."""
    amounts = ((op.padding.top, op.padding.bottom), (op.padding.left, op.padding.right))
    spans = [(k - 1) * step + 1 for k, step in zip(window, dilation, strict=True)]
    valid, same = [], []
    for axis, (span, stride) in enumerate(zip(spans, op.stride, strict=True), start=1):
        size, out = op.x.shape[axis], op.y.shape[axis]
        total = max((out - 1) * stride + span - size, 0)
        valid.append(size >= span and out == (size - span) // stride + 1)
        same.append(out == -(-size // stride) and amounts[axis - 1] == (total // 2, total - total // 2))
    if all(valid) and op.padding == Padding():
        return int(schema.Padding.VALID)
    if all(same):
        return int(schema.Padding.SAME)
    raise ValueError(f"{op.kind}: its padding {op.padding} is neither SAME nor VALID")


_Written = tuple[int, Any, list[int]]
_CODES = schema.BuiltinOperator


def _weighted(w: _Writer, op: Conv2D | DepthwiseConv2D | FullyConnected) -> tuple[dict[str, Any], list[int]]:
    if op.rounding is not Rounding.DOUBLE:
        raise ValueError(f"{op.kind}: rounding {op.rounding} is not TFLite's")
    inputs = [w.index(op.x), w.index(op.weights), w.index(op.bias)]
    options: dict[str, Any] = {"fusedActivationFunction": _activation(op.clamp, op.y)}
    if not isinstance(op, FullyConnected):
        options |= {
            "strideH": op.stride[0],
            "strideW": op.stride[1],
            "dilationHFactor": op.dilation[0],
            "dilationWFactor": op.dilation[1],
            "padding": _scheme(op, op.weights.shape[1:3], op.dilation),
        }
    return options, inputs


def _conv2d(w: _Writer, op: Conv2D) -> _Written:
    options, inputs = _weighted(w, op)
    return _CODES.CONV_2D, _options("Conv2D", **options), inputs


def _depthwise(w: _Writer, op: DepthwiseConv2D) -> _Written:
    options, inputs = _weighted(w, op)
    return _CODES.DEPTHWISE_CONV_2D, _options("DepthwiseConv2D", depthMultiplier=op.multiplier, **options), inputs


def _fully_connected(w: _Writer, op: FullyConnected) -> _Written:
    options, inputs = _weighted(w, op)
    return _CODES.FULLY_CONNECTED, _options("FullyConnected", **options), inputs


def _binary(code: int, kind: str) -> Callable[[_Writer, Any], _Written]:
    def write(w: _Writer, op: Add | Sub | Mul) -> _Written:
        options = _options(kind, fusedActivationFunction=_activation(op.clamp, op.y))
        return code, options, [w.index(op.a), w.index(op.b)]

    return write


def _pool(code: int) -> Callable[[_Writer, Any], _Written]:
    def write(w: _Writer, op: MaxPool2D | AveragePool2D) -> _Written:
        if isinstance(op, AveragePool2D) and op.rounding is not AverageRounding.HALF_AWAY:
            raise ValueError(f"AveragePool2D: rounding {op.rounding} is not TFLite's")
        options = _options(
            "Pool2D",
            fusedActivationFunction=_activation(op.clamp, op.y),
            filterHeight=op.filter[0],
            filterWidth=op.filter[1],
            strideH=op.stride[0],
            strideW=op.stride[1],
            padding=_scheme(op, op.filter, (1, 1)),
        )
        return code, options, [w.index(op.x)]

    return write


def _unary(code: int, kind: str | None = None) -> Callable[[_Writer, Any], _Written]:
    def write(w: _Writer, op: Any) -> _Written:
        return code, None if kind is None else _options(kind), [w.index(op.x)]

    return write


def _mean(w: _Writer, op: Mean) -> _Written:
    options = _options("Reducer", keepDims=len(op.y.shape) == len(op.x.shape))
    return _CODES.MEAN, options, [w.index(op.x), w.integers(op.axes)]


def _softmax(w: _Writer, op: Softmax) -> _Written:
    return _CODES.SOFTMAX, _options("Softmax", beta=op.beta), [w.index(op.x)]


def _leaky_relu(w: _Writer, op: LeakyRelu) -> _Written:
    return _CODES.LEAKY_RELU, _options("LeakyRelu", alpha=op.alpha), [w.index(op.x)]


def _reshape(w: _Writer, op: Reshape) -> _Written:
    options = _options("Reshape", newShape=list(op.y.shape))
    return _CODES.RESHAPE, options, [w.index(op.x), w.integers(op.y.shape)]


def _pad(w: _Writer, op: Pad) -> _Written:
    inputs = [w.index(op.x), w.integers(op.paddings)]
    if op.value == op.x.zero_point:
        return _CODES.PAD, _options("Pad"), inputs
    value = Tensor(name="value", shape=(1,), dtype=DType.INT8, quant=op.x.quant, data=np.array([op.value], np.int8))
    return _CODES.PADV2, _options("PadV2"), [*inputs, w.index(value)]


def _concatenation(w: _Writer, op: Concatenation) -> _Written:
    return _CODES.CONCATENATION, _options("Concatenation", axis=op.axis), [w.index(x) for x in op.xs]


def _split(w: _Writer, op: Split) -> _Written:
    if len({y.shape for y in op.ys}) > 1:
        raise ValueError("Split: the parts are not equal")
    return _CODES.SPLIT, _options("Split", numSplits=len(op.ys)), [w.integers([op.axis]), w.index(op.x)]


def _strided_slice(w: _Writer, op: StridedSlice) -> _Written:
    ends, end_mask = [], 0
    for axis, (begin, stride, extent) in enumerate(zip(op.begin, op.strides, op.extents, strict=True)):
        end = begin + (extent - 1) * stride + (1 if stride > 0 else -1)
        end_mask |= (end < 0) << axis
        ends.append(max(end, 0))
    options = _options("StridedSlice", endMask=end_mask, shrinkAxisMask=sum(1 << axis for axis in op.shrink))
    inputs = [w.index(op.x), w.integers(op.begin), w.integers(ends), w.integers(op.strides)]
    return _CODES.STRIDED_SLICE, options, inputs


def _transpose(w: _Writer, op: Transpose) -> _Written:
    return _CODES.TRANSPOSE, _options("Transpose"), [w.index(op.x), w.integers(op.perm)]


def _resize(w: _Writer, op: ResizeNearestNeighbor) -> _Written:
    options = _options("ResizeNearestNeighbor", alignCorners=op.align_corners, halfPixelCenters=op.half_pixel_centers)
    return _CODES.RESIZE_NEAREST_NEIGHBOR, options, [w.index(op.x), w.integers(op.y.shape[1:3])]


_WRITERS: dict[type[Operator], Callable[[_Writer, Any], _Written]] = {
    Conv2D: _conv2d,
    DepthwiseConv2D: _depthwise,
    FullyConnected: _fully_connected,
    Add: _binary(_CODES.ADD, "Add"),
    Sub: _binary(_CODES.SUB, "Sub"),
    Mul: _binary(_CODES.MUL, "Mul"),
    MaxPool2D: _pool(_CODES.MAX_POOL_2D),
    AveragePool2D: _pool(_CODES.AVERAGE_POOL_2D),
    Mean: _mean,
    Softmax: _softmax,
    Logistic: _unary(_CODES.LOGISTIC),
    Relu: _unary(_CODES.RELU),
    Relu6: _unary(_CODES.RELU6),
    LeakyRelu: _leaky_relu,
    Quantize: _unary(_CODES.QUANTIZE, "Quantize"),
    Dequantize: _unary(_CODES.DEQUANTIZE, "Dequantize"),
    Reshape: _reshape,
    Pad: _pad,
    Concatenation: _concatenation,
    Split: _split,
    StridedSlice: _strided_slice,
    Transpose: _transpose,
    ResizeNearestNeighbor: _resize,
}
