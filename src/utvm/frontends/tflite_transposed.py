"""TRANSPOSE_CONV as convolutions: each phase of the stride is one, over the taps that meet it.

With row Y = y + padding of the result, and Y = stride * q + r, tap ky meets it only where ky = r + stride * t, at input
row q - t. So phase r is a convolution of stride 1 with the taps r, r + stride, … in reverse order. BatchToSpace puts
the phases together. Every sum has the same products as before, so results are the same bits.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import tflite

from utvm.frontends.context import Context, expect_shape
from utvm.frontends.refusal import RefusedError
from utvm.frontends.tflite_parts import Converted
from utvm.frontends.tflite_scales import check_scales
from utvm.frontends.tflite_weights import bias_of, weights_of
from utvm.graph import BatchToSpace, Concatenation, Conv2D, Operator, Padding, Tensor

_LARGEST_STRIDE = 64


def transpose_conv(c: Context) -> Converted:
    """Convert one: inputs are the result's shape, weights [OC,KH,KW,IC], x [N,H,W,IC], and perhaps a bias."""
    c.arity((3, 4))
    options = c.options(tflite.TransposeConvOptions)
    x, y, weights = c.activation(2), c.result(), weights_of(c, 1, 4, 0)
    stride = options.StrideH(), options.StrideW()
    if not all(1 <= step <= _LARGEST_STRIDE for step in stride):
        raise RefusedError(f"its strides are {list(stride)}")
    channels, *kernel, depth = weights.shape
    if len(x.shape) != 4 or len(y.shape) != 4 or x.shape[3] != depth:
        raise RefusedError(f"weights of shape {list(weights.shape)} do not fit an input of {list(x.shape)}")
    expect_shape(y, (x.shape[0], *y.shape[1:3], channels))
    expect_shape(y, tuple(c.integers(0)))
    check_scales(x, weights, y)
    clamp = c.clamp(options.FusedActivationFunction(), y)
    bias = bias_of(c, 3, channels)
    top, left = (
        _before(options.Padding(), size, taps, step)
        for size, taps, step in zip(y.shape[1:3], kernel, stride, strict=True)
    )
    rows, columns = (
        -(-(before + size) // step) for before, size, step in zip((top, left), y.shape[1:3], stride, strict=True)
    )
    found: list[Operator] = []
    whole = stride == (1, 1) and kernel[0] > top and kernel[1] > left
    for i, j in product(range(stride[0]), range(stride[1])):
        part = _taps(c, weights, i, j, stride)
        ahead = part.shape[1] - 1 - (top if whole else 0), part.shape[2] - 1 - (left if whole else 0)
        found.append(
            Conv2D(
                name=f"{c.name}/{i}x{j}",
                x=x,
                weights=part,
                bias=bias,
                y=y if whole else c.made(f"phase_{i}x{j}", y, (x.shape[0], rows, columns, channels)),
                padding=Padding(
                    top=ahead[0],
                    bottom=max(0, rows - x.shape[1]),
                    left=ahead[1],
                    right=max(0, columns - x.shape[2]),
                ),
                clamp=clamp,
            )
        )
    if whole:
        return tuple(found)
    phases = tuple(op.outputs[0] for op in found)
    joined = phases[0]
    if len(phases) > 1:
        joined = c.made("phases", y, (x.shape[0] * len(phases), rows, columns, channels))
        found.append(Concatenation(name=f"{c.name}/phases", xs=phases, y=joined, axis=0))
    crop = Padding(
        top=top,
        bottom=rows * stride[0] - top - y.shape[1],
        left=left,
        right=columns * stride[1] - left - y.shape[2],
    )
    found.append(BatchToSpace(name=c.name, x=joined, y=y, block=stride, crop=crop))
    return tuple(found)


def _before(scheme: int, size: int, taps: int, step: int) -> int:
    """Return the padding before one dimension, that of the convolution which the result would be the input of."""
    if scheme == tflite.Padding.SAME:
        outputs = -(-size // step)
    elif scheme == tflite.Padding.VALID:
        outputs = (size + step - taps) // step
    else:
        raise RefusedError(f"its padding {scheme} is neither SAME nor VALID")
    return max((outputs - 1) * step + taps - size, 0) // 2


def _taps(c: Context, weights: Tensor, i: int, j: int, stride: tuple[int, int]) -> Tensor:
    """Return the taps of a phase, the last one first; a single one of zeros where there are none."""
    part = weights.values[:, i :: stride[0], j :: stride[1]][:, ::-1, ::-1]
    if 0 in part.shape:
        part = np.zeros((weights.shape[0], 1, 1, weights.shape[3]), weights.values.dtype)
    return c.constant_made(f"weights_{i}x{j}", np.ascontiguousarray(part), weights.quant)
