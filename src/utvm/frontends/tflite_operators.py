"""One function per TFLite operator: options and tensors in, an operator of the graph out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import tflite

from utvm.frontends.context import (
    ACTIVATION_RANGES,
    Context,
    expect_shape,
    quantised_bytes,
    quantised_range,
    same_quantisation,
)
from utvm.frontends.refusal import RefusedError, axis_of
from utvm.frontends.tflite_general import GENERAL
from utvm.frontends.tflite_parts import PARTS, Converted
from utvm.frontends.tflite_transposed import transpose_conv
from utvm.frontends.tflite_views import VIEWS
from utvm.graph import (
    Add,
    AveragePool2D,
    Conv2D,
    DepthwiseConv2D,
    Dequantize,
    DType,
    FullyConnected,
    LeakyRelu,
    Logistic,
    MaxPool2D,
    Mean,
    Mul,
    Operator,
    Padding,
    Quantize,
    Relu,
    Relu6,
    ResizeBilinear,
    ResizeNearestNeighbor,
    Softmax,
    Sub,
    Tanh,
    Tensor,
    same_padding,
)
from utvm.graph.arithmetic import bilinear_positions

_SCALE_256 = 1.0 / 256.0


def _clamp(activation: int, y: Tensor) -> tuple[int, int]:
    if activation not in ACTIVATION_RANGES:
        raise RefusedError(f"its fused activation {activation} is not supported")
    return quantised_range(y, *ACTIVATION_RANGES[activation])


def _positive(**values: int) -> None:
    for name, value in values.items():
        if not 1 <= value <= 4096:
            raise RefusedError(f"its {name.replace('_', ' ')} is {value}")


def _padding_1d(scheme: int, size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int, int]:
    """Return (before, after, output size) of one dimension for SAME or VALID padding."""
    span = (kernel - 1) * dilation + 1
    if scheme == tflite.Padding.SAME:
        return same_padding(size, span, stride)
    if scheme != tflite.Padding.VALID:
        raise RefusedError(f"its padding {scheme} is neither SAME nor VALID")
    if span > size:
        raise RefusedError(f"its window of {span} pixels is larger than the input's {size}")
    return 0, 0, (size - span) // stride + 1


def _spatial(
    x: Tensor,
    y: Tensor,
    channels: int,
    scheme: int,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int] = (1, 1),
) -> Padding:
    """Return the padding of a sliding window and check y's shape."""
    if len(x.shape) != 4:
        raise RefusedError(f"tensor '{x.name}': its shape is {list(x.shape)}, four dimensions are expected")
    top, bottom, height = _padding_1d(scheme, x.shape[1], kernel[0], stride[0], dilation[0])
    left, right, width = _padding_1d(scheme, x.shape[2], kernel[1], stride[1], dilation[1])
    expect_shape(y, (x.shape[0], height, width, channels))
    return Padding(top=top, bottom=bottom, left=left, right=right)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window:
    """How the window of a convolution moves."""

    stride: tuple[int, int]
    dilation: tuple[int, int]
    padding: Padding

    @staticmethod
    def of(
        options: tflite.Conv2DOptions | tflite.DepthwiseConv2DOptions,
        x: Tensor,
        y: Tensor,
        channels: int,
        kernel: tuple[int, int],
    ) -> _Window:
        """Return what a convolution's options say, and check y's shape."""
        stride = options.StrideH(), options.StrideW()
        dilation = options.DilationHFactor(), options.DilationWFactor()
        _positive(
            stride_height=stride[0],
            stride_width=stride[1],
            dilation_height=dilation[0],
            dilation_width=dilation[1],
        )
        padding = _spatial(x, y, channels, options.Padding(), kernel, stride, dilation)
        return _Window(stride=stride, dilation=dilation, padding=padding)


def _conv2d(c: Context) -> Operator:
    c.arity((2, 3))
    options = c.options(tflite.Conv2DOptions)
    x, weights, y = c.activation(0), c.weights(1, 4, 0), c.result()
    out_channels, height, width, depth = weights.shape
    window = _Window.of(options, x, y, out_channels, (height, width))
    if x.shape[3] % depth or out_channels % (x.shape[3] // depth):
        raise RefusedError(f"its weights read {depth} channels, its input has {x.shape[3]}")
    return Conv2D(
        name=c.name,
        x=x,
        weights=weights,
        bias=c.bias(2, out_channels),
        y=y,
        stride=window.stride,
        dilation=window.dilation,
        padding=window.padding,
        clamp=_clamp(options.FusedActivationFunction(), y),
    )


def _depthwise(c: Context) -> Operator:
    c.arity((2, 3))
    options = c.options(tflite.DepthwiseConv2DOptions)
    x, weights, y = c.activation(0), c.weights(1, 4, 3), c.result()
    one, height, width, out_channels = weights.shape
    window = _Window.of(options, x, y, out_channels, (height, width))
    if options.DepthMultiplier() * x.shape[3] != out_channels:
        raise RefusedError(
            f"its depth multiplier is {options.DepthMultiplier()}, its weights have {out_channels} channels for "
            f"{x.shape[3]}: the file is damaged"
        )
    if one != 1 or out_channels % x.shape[3]:
        raise RefusedError(f"its weights have shape {list(weights.shape)} for {x.shape[3]} input channels")
    return DepthwiseConv2D(
        name=c.name,
        x=x,
        weights=weights,
        bias=c.bias(2, out_channels),
        y=y,
        stride=window.stride,
        dilation=window.dilation,
        padding=window.padding,
        clamp=_clamp(options.FusedActivationFunction(), y),
    )


def _fully_connected(c: Context) -> Operator:
    c.arity((2, 3))
    options = c.options(tflite.FullyConnectedOptions)
    x, weights, y = c.activation(0), c.weights(1, 2, 0), c.result()
    units, inputs = weights.shape
    if options.WeightsFormat() != 0:
        raise RefusedError("its weights are shuffled")
    if x.elements % inputs:
        raise RefusedError(f"its weights read {inputs} values, its input has {x.elements}")
    if y.elements != x.elements // inputs * units:
        raise RefusedError(
            f"tensor '{y.name}': it has {y.elements} elements, {x.elements // inputs * units} are expected"
        )
    return FullyConnected(
        name=c.name,
        x=x,
        weights=weights,
        bias=c.bias(2, units),
        y=y,
        clamp=_clamp(options.FusedActivationFunction(), y),
    )


def _binary(make: type[Add] | type[Sub] | type[Mul], options: type[tflite.AddOptions]) -> Callable[[Context], Operator]:
    def convert(c: Context) -> Operator:
        c.arity((2,))
        a, b, y = c.activation(0), c.activation(1), c.result()
        try:
            shape = np.broadcast_shapes(a.shape, b.shape)
        except ValueError:
            raise RefusedError(f"the shapes {list(a.shape)} and {list(b.shape)} do not go together") from None
        expect_shape(y, tuple(shape))
        return make(name=c.name, a=a, b=b, y=y, clamp=_clamp(c.options(options).FusedActivationFunction(), y))

    return convert


def _pool(make: type[MaxPool2D] | type[AveragePool2D]) -> Callable[[Context], Operator]:
    def convert(c: Context) -> Operator:
        c.arity((1,))
        options = c.options(tflite.Pool2DOptions)
        x, y = c.activation(0), c.result()
        kernel, stride = (
            (options.FilterHeight(), options.FilterWidth()),
            (options.StrideH(), options.StrideW()),
        )
        _positive(filter_height=kernel[0], filter_width=kernel[1], stride_height=stride[0], stride_width=stride[1])
        padding = _spatial(x, y, x.shape[-1], options.Padding(), kernel, stride)
        same_quantisation(x, y)
        clamp = _clamp(options.FusedActivationFunction(), y)
        return make(name=c.name, x=x, y=y, filter=kernel, stride=stride, padding=padding, clamp=clamp)

    return convert


def _mean(c: Context) -> Operator:
    c.arity((2,))
    x, y = c.activation(0), c.result()
    axes = tuple(sorted({axis_of(axis, len(x.shape)) for axis in c.integers(1)}))
    if not axes:
        raise RefusedError("it has no axes")
    kept = tuple(1 if d in axes else size for d, size in enumerate(x.shape))
    dropped = tuple(size for d, size in enumerate(x.shape) if d not in axes)
    expect_shape(y, kept if c.options(tflite.ReducerOptions).KeepDims() else dropped)
    return Mean(name=c.name, x=x, y=y, axes=axes)


_LEAST_ARGUMENT_SCALE = 2.0**-27
"""Below it TFLite's number of the input from which a sigmoid or tanh is at its end does not fit 32 bits."""


def _argument(x: Tensor) -> None:
    if x.scale < _LEAST_ARGUMENT_SCALE:
        raise RefusedError(f"tensor '{x.name}': its scale {x.scale} is too small for a sigmoid's 32 bits")


def _rescaled(x: Tensor, y: Tensor, factor: float = 1.0) -> None:
    """Refuse a ratio of scales that TFLite's shift of 32 bits can't express."""
    if x.scale * factor / y.scale >= 2.0**22:
        raise RefusedError(
            f"tensor '{x.name}': its scale {x.scale} is too large beside {y.scale} of '{y.name}' for 32 bits"
        )


def _probability(y: Tensor) -> None:
    if y.zero_point != -128 or abs(y.scale - _SCALE_256) > 1e-9:
        raise RefusedError(f"tensor '{y.name}': scale 1/256 and zero point -128 are expected")


def _softmax(c: Context) -> Operator:
    c.arity((1,))
    x, y = c.activation(0), c.result()
    expect_shape(y, x.shape)
    _probability(y)
    beta = float(c.options(tflite.SoftmaxOptions).Beta())
    if not 0 < beta < 1e3:
        raise RefusedError(f"its beta is {beta}")
    return Softmax(name=c.name, x=x, y=y, beta=beta)


def _logistic(c: Context) -> Operator:
    c.arity((1,))
    x, y = c.activation(0), c.result()
    expect_shape(y, x.shape)
    _probability(y)
    _argument(x)
    return Logistic(name=c.name, x=x, y=y)


def _tanh(c: Context) -> Operator:
    c.arity((1,))
    x, y = c.activation(0), c.result()
    expect_shape(y, x.shape)
    if y.zero_point != 0 or abs(y.scale - 1 / 128) > 1e-9:
        raise RefusedError(f"tensor '{y.name}': scale 1/128 and zero point 0 are expected")
    _argument(x)
    return Tanh(name=c.name, x=x, y=y)


def _relu(c: Context) -> Operator:
    c.arity((1,))
    x, y = c.activation(0), c.result()
    expect_shape(y, x.shape)
    _rescaled(x, y)
    return Relu(name=c.name, x=x, y=y)


def _relu6(c: Context) -> Operator:
    c.arity((1,))
    x, y = c.activation(0), c.result()
    expect_shape(y, x.shape)
    same_quantisation(x, y)
    return Relu6(name=c.name, x=x, y=y)


def _leaky_relu(c: Context) -> Operator:
    c.arity((1,))
    x, y = c.activation(0), c.result()
    expect_shape(y, x.shape)
    alpha = float(c.options(tflite.LeakyReluOptions).Alpha())
    if not abs(alpha) < 1e3:
        raise RefusedError(f"its alpha is {alpha}")
    _rescaled(x, y, max(1.0, abs(alpha)))
    return LeakyRelu(name=c.name, x=x, y=y, alpha=alpha)


def _resized(c: Context) -> tuple[Tensor, Tensor]:
    """Return the input and the output of a resize, checked."""
    c.arity((2,))
    x, y = c.activation(0), c.result()
    size = c.integers(1)
    if len(x.shape) != 4 or len(size) != 2:
        raise RefusedError("an input of four dimensions and a size of two values are expected")
    expect_shape(y, (x.shape[0], size[0], size[1], x.shape[3]))
    same_quantisation(x, y)
    return x, y


def _resize_bilinear(c: Context) -> Operator:
    options = c.options(tflite.ResizeBilinearOptions)
    x, y = _resized(c)
    align, half = bool(options.AlignCorners()), bool(options.HalfPixelCenters())
    if align and half:
        raise RefusedError("its corners are aligned and its pixels have centers: one of both")
    op = ResizeBilinear(name=c.name, x=x, y=y, align_corners=align, half_pixel_centers=half)
    try:
        bilinear_positions(op)
    except ValueError as error:
        raise RefusedError(f"its size is too large for positions in 1024ths: {error}") from error
    return op


def _resize(c: Context) -> Operator:
    options = c.options(tflite.ResizeNearestNeighborOptions)
    x, y = _resized(c)
    return ResizeNearestNeighbor(
        name=c.name,
        x=x,
        y=y,
        align_corners=bool(options.AlignCorners()),
        half_pixel_centers=bool(options.HalfPixelCenters()),
    )


def _quantize(c: Context) -> Operator:
    c.arity((1,))
    x, y = c.any_input(0), quantised_bytes(c.any_output())
    if x.dtype is not DType.FLOAT32:
        x = quantised_bytes(x)
    if y.dtype is DType.UINT8 and x.dtype is not DType.INT8:
        raise RefusedError(f"tensor '{y.name}': {x.dtype} becomes int8 here, not uint8")
    expect_shape(y, x.shape)
    if x.dtype is not DType.FLOAT32:
        _rescaled(x, y)
    return Quantize(name=c.name, x=x, y=y)


def _dequantize(c: Context) -> Operator:
    c.arity((1,))
    x, y = quantised_bytes(c.any_input(0)), c.any_output()
    if y.dtype is not DType.FLOAT32:
        raise RefusedError(f"tensor '{y.name}': its type is {y.dtype}, float32 is expected")
    expect_shape(y, x.shape)
    return Dequantize(name=c.name, x=x, y=y)


CONVERTERS: Mapping[str, Callable[[Context], Converted]] = {
    "CONV_2D": _conv2d,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _fully_connected,
    "ADD": _binary(Add, tflite.AddOptions),
    "SUB": _binary(Sub, tflite.SubOptions),
    "MUL": _binary(Mul, tflite.MulOptions),
    "MAX_POOL_2D": _pool(MaxPool2D),
    "AVERAGE_POOL_2D": _pool(AveragePool2D),
    "MEAN": _mean,
    "SOFTMAX": _softmax,
    "LOGISTIC": _logistic,
    "TANH": _tanh,
    "RELU": _relu,
    "RELU6": _relu6,
    "LEAKY_RELU": _leaky_relu,
    "RESIZE_BILINEAR": _resize_bilinear,
    "RESIZE_NEAREST_NEIGHBOR": _resize,
    "QUANTIZE": _quantize,
    "DEQUANTIZE": _dequantize,
    "TRANSPOSE_CONV": transpose_conv,
    **VIEWS,
    **GENERAL,
    **PARTS,
}
