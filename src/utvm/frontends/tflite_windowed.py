"""TFLite convolutions and pools: a window that moves over height and width."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import tflite

from utvm.frontends.context import Context, expect_shape, same_quantisation
from utvm.frontends.refusal import RefusedError
from utvm.frontends.tflite_weights import layer_fields, weights_of
from utvm.graph import (
    AveragePool2D,
    AverageRounding,
    Conv2D,
    DepthwiseConv2D,
    MaxPool2D,
    Operator,
    Padding,
    Tensor,
    same_padding,
)


def placed(
    x: Tensor, scheme: int, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int] = (1, 1)
) -> tuple[Padding, tuple[int, int]]:
    """Return the padding of a window and how many rows and columns of results it has."""
    if len(x.shape) != 4:
        raise RefusedError(f"tensor '{x.name}': its shape is {list(x.shape)}, four dimensions are expected")
    _positive("filter", kernel)
    _positive("stride", stride)
    _positive("dilation", dilation)
    top, bottom, rows = _padding_1d(scheme, x.shape[1], kernel[0], stride[0], dilation[0])
    left, right, columns = _padding_1d(scheme, x.shape[2], kernel[1], stride[1], dilation[1])
    return Padding(top=top, bottom=bottom, left=left, right=right), (rows, columns)


def _positive(what: str, values: tuple[int, int]) -> None:
    for side, value in zip(("height", "width"), values, strict=True):
        if not 1 <= value <= 4096:
            raise RefusedError(f"its {what} {side} is {value}")


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
        padding, plane = placed(x, options.Padding(), kernel, stride, dilation)
        expect_shape(y, (x.shape[0], *plane, channels))
        return _Window(stride=stride, dilation=dilation, padding=padding)


def _conv2d(c: Context) -> Operator:
    c.arity((2, 3))
    options = c.options(tflite.Conv2DOptions)
    x, weights, y = c.activation(0), weights_of(c, 1, 4, 0), c.result()
    out_channels, height, width, depth = weights.shape
    window = _Window.of(options, x, y, out_channels, (height, width))
    if x.shape[3] % depth or out_channels % (x.shape[3] // depth):
        raise RefusedError(f"its weights read {depth} channels, its input has {x.shape[3]}")
    return Conv2D(
        **layer_fields(c, x, weights, y, out_channels, options.FusedActivationFunction()),
        stride=window.stride,
        dilation=window.dilation,
        padding=window.padding,
    )


def _depthwise(c: Context) -> Operator:
    c.arity((2, 3))
    options = c.options(tflite.DepthwiseConv2DOptions)
    x, weights, y = c.activation(0), weights_of(c, 1, 4, 3), c.result()
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
        **layer_fields(c, x, weights, y, out_channels, options.FusedActivationFunction()),
        stride=window.stride,
        dilation=window.dilation,
        padding=window.padding,
    )


def _pool(make: type[MaxPool2D] | type[AveragePool2D]) -> Callable[[Context], Operator]:
    def convert(c: Context) -> Operator:
        c.arity((1,))
        options = c.options(tflite.Pool2DOptions)
        x, y = c.activation(0), c.result()
        kernel, stride = (
            (options.FilterHeight(), options.FilterWidth()),
            (options.StrideH(), options.StrideW()),
        )
        padding, plane = placed(x, options.Padding(), kernel, stride)
        expect_shape(y, (x.shape[0], *plane, x.shape[3]))
        same_quantisation(x, y)
        clamp = c.clamp(options.FusedActivationFunction(), y)
        made = make(name=c.name, x=x, y=y, filter=kernel, stride=stride, padding=padding, clamp=clamp)
        if isinstance(made, AveragePool2D) and c.unsigned:
            return dataclasses.replace(made, rounding=AverageRounding.HALF_UP)
        return made

    return convert


WINDOWED: Mapping[str, Callable[[Context], Operator]] = {
    "CONV_2D": _conv2d,
    "DEPTHWISE_CONV_2D": _depthwise,
    "MAX_POOL_2D": _pool(MaxPool2D),
    "AVERAGE_POOL_2D": _pool(AveragePool2D),
}
