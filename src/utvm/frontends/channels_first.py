"""Layers of frameworks whose images are [N,C,H,W] or [N,C,L], as ONNX and PyTorch have them.

Each becomes the graph's operator on [N,H,W,C] between two transpositions, which a pass takes away again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.frontends.builder import GraphBuilder
from utvm.frontends.refusal import RefusedError
from utvm.graph import (
    Add,
    AveragePool2D,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    MaxPool2D,
    Mean,
    Mul,
    Padding,
    Softmax,
    Tensor,
)

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowMoves:
    """How a window moves over one or two spatial dimensions; one value for each.

    Attributes:
        size: pixels under the window, without dilation.
        stride: pixels from window to window.
        dilation: pixels from tap to tap.
        before, after: padding.
        ceil: whether a last window that is only partly inside counts.
    """

    size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    ceil: bool = False

    def __post_init__(self) -> None:
        rank = len(self.size)
        if rank not in (1, 2):
            raise RefusedError(f"it moves over {rank} dimensions; one or two are supported")
        every = (self.size, self.stride, self.dilation, self.before, self.after)
        if any(len(values) != rank for values in every):
            raise RefusedError("its kernel, strides, dilations and pads have different numbers of dimensions")
        if any(not 1 <= v <= 4096 for values in every[:3] for v in values):
            raise RefusedError(f"its kernel {self.size}, strides {self.stride} or dilations are out of range")
        if any(not 0 <= v <= 4096 for values in every[3:] for v in values):
            raise RefusedError(f"its pads {self.before}, {self.after} are out of range")

    def outputs(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """Return how many windows there are along each dimension."""
        found = []
        for size, k, stride, dilation, before, after in zip(
            sizes, self.size, self.stride, self.dilation, self.before, self.after, strict=True
        ):
            room = size + before + after - ((k - 1) * dilation + 1)
            if room < 0:
                raise RefusedError(f"its window of {(k - 1) * dilation + 1} pixels is larger than the padded input")
            count = (-(-room // stride) if self.ceil else room // stride) + 1
            # A window that starts in the padding behind the input is left out.
            if self.ceil and (count - 1) * stride >= size + before:
                count -= 1
            found.append(count)
        return tuple(found)

    def padding(self, sizes: Sequence[int]) -> Padding:
        """Return the padding of both dimensions, as far as the last window reaches."""
        reach = []
        for index, (size, count) in enumerate(zip(sizes, self.outputs(sizes), strict=True)):
            last = (count - 1) * self.stride[index] + (self.size[index] - 1) * self.dilation[index] + 1
            reach.append((self.before[index], max(0, last - size - self.before[index])))
        (top, bottom), (left, right) = [(0, 0), *reach][-2:]
        return Padding(top=top, bottom=bottom, left=left, right=right)


def same_window(window: WindowMoves, sizes: Sequence[int], *, more_before: bool) -> WindowMoves:
    """Return a window padded so that each stride begins a window (auto_pad SAME_UPPER, SAME_LOWER, padding='same')."""
    before, after = [], []
    for size, k, stride, dilation in zip(sizes, window.size, window.stride, window.dilation, strict=True):
        total = max((-(-size // stride) - 1) * stride + (k - 1) * dilation + 1 - size, 0)
        small, large = total // 2, total - total // 2
        before.append(large if more_before else small)
        after.append(small if more_before else large)
    return WindowMoves(
        size=window.size, stride=window.stride, dilation=window.dilation, before=tuple(before), after=tuple(after)
    )


def to_channels_last(b: GraphBuilder, x: Tensor) -> Tensor:
    """Return [N,C,H,W] or [N,C,L] as [N,H,W,C], of height 1 for the latter."""
    if len(x.shape) == 3:
        last = b.transpose(x, (0, 2, 1))
        return b.reshape(last, (x.shape[0], 1, x.shape[2], x.shape[1]))
    if len(x.shape) != 4:
        raise RefusedError(f"its input has shape {list(x.shape)}; [N,C,L] or [N,C,H,W] is expected")
    return b.transpose(x, (0, 2, 3, 1))


def to_channels_first(b: GraphBuilder, y: Tensor, rank: int) -> Tensor:
    """Return [N,H,W,C] as [N,C,H,W], or without its height as [N,C,L]."""
    if rank == 3:
        return b.transpose(b.reshape(y, (y.shape[0], y.shape[2], y.shape[3])), (0, 2, 1))
    return b.transpose(y, (0, 3, 1, 2))


def convolution(
    b: GraphBuilder, x: Tensor, weights: FloatArray, bias: FloatArray | None, window: WindowMoves, groups: int
) -> Tensor:
    """weights [OC,IC/groups,KH,KW] or [OC,IC/groups,K]."""
    if weights.ndim != len(x.shape):
        raise RefusedError(f"its weights have shape {list(weights.shape)} for an input of shape {list(x.shape)}")
    channels, made = x.shape[1], weights.shape[0]
    if groups < 1 or channels % groups or made % groups or weights.shape[1] * groups != channels:
        raise RefusedError(f"its weights {list(weights.shape)} do not fit {channels} channels in {groups} groups")
    if bias is not None and bias.shape != (made,):
        raise RefusedError(f"its bias has shape {list(bias.shape)}, [{made}] is expected")
    sizes = x.shape[2:]
    two = weights[:, :, None] if weights.ndim == 3 else weights
    stride, dilation = ((1, *window.stride)[-2:], (1, *window.dilation)[-2:])
    shared: dict[str, Any] = {
        "x": to_channels_last(b, x),
        "bias": None if bias is None else b.constant(bias, "bias"),
        "stride": stride,
        "dilation": dilation,
        "padding": window.padding(sizes),
    }
    shape = (x.shape[0], *(1, *window.outputs(sizes))[-2:], made)
    if groups == channels and groups > 1:
        y = b.add(DepthwiseConv2D, shape, weights=b.constant(two.transpose(1, 2, 3, 0), "weights"), **shared)
    else:
        y = b.add(Conv2D, shape, weights=b.constant(two.transpose(0, 2, 3, 1), "weights"), **shared)
    return to_channels_first(b, y, len(x.shape))


def pool(b: GraphBuilder, x: Tensor, window: WindowMoves, *, maximum: bool, count_padding: bool = False) -> Tensor:
    """A maximum, or a mean over the pixels inside x; with `count_padding` over those of the padding too."""
    if any(d != 1 for d in window.dilation):
        raise RefusedError("a dilated pool is not supported")
    sizes = x.shape[2:]
    outputs, padding = window.outputs(sizes), window.padding(sizes)
    last = to_channels_last(b, x)
    if count_padding and not maximum and (any(window.before) or any(window.after)):
        (top, left), (bottom, right) = (0, *window.before)[-2:], (0, *window.after)[-2:]
        last = b.pad(last, ((0, 0), (top, bottom), (left, right), (0, 0)))
        beyond = (max(0, padding.bottom - bottom), max(0, padding.right - right))
        padding = Padding(bottom=beyond[0], right=beyond[1])
    size, stride = (1, *window.size)[-2:], (1, *window.stride)[-2:]
    if max(padding.top, padding.bottom) >= size[0] or max(padding.left, padding.right) >= size[1]:
        raise RefusedError(f"its pads {window.before}, {window.after} are as large as its kernel {window.size}")
    shape = (x.shape[0], *(1, *outputs)[-2:], x.shape[1])
    kind = MaxPool2D if maximum else AveragePool2D
    y = b.add(kind, shape, x=last, filter=size, stride=stride, padding=padding)
    return to_channels_first(b, y, len(x.shape))


def linear(b: GraphBuilder, x: Tensor, weights: FloatArray, bias: FloatArray | None) -> Tensor:
    """x [...,I], weights [O,I] -> [...,O]."""
    if not x.shape or weights.ndim != 2 or x.shape[-1] != weights.shape[1]:
        raise RefusedError(f"its weights {list(weights.shape)} do not fit an input of shape {list(x.shape)}")
    if bias is not None and bias.shape != (weights.shape[0],):
        raise RefusedError(f"its bias has shape {list(bias.shape)}, [{weights.shape[0]}] is expected")
    shape = (*x.shape[:-1], weights.shape[0])
    constant = None if bias is None else b.constant(bias, "bias")
    return b.add(FullyConnected, shape, x=x, weights=b.constant(weights, "weights"), bias=constant)


def scale_and_shift(b: GraphBuilder, x: Tensor, scale: FloatArray, shift: FloatArray) -> Tensor:
    """x [N,C,...] times a factor and plus an amount a channel, as a batch normalisation is at inference."""
    if len(x.shape) < 2 or scale.shape != (x.shape[1],) or shift.shape != scale.shape:
        raise RefusedError(f"{list(scale.shape)} factors do not fit an input of shape {list(x.shape)}")
    shape = (-1, *[1] * (len(x.shape) - 2))
    scaled = b.binary(Mul, x, b.constant(scale.reshape(shape), "scale"))
    return b.binary(Add, scaled, b.constant(shift.reshape(shape), "shift"))


def softmax(b: GraphBuilder, x: Tensor, axis: int) -> Tensor:
    """Softmax over a non-negative axis."""
    rank = len(x.shape)
    if axis == rank - 1:
        return b.unary(Softmax, x)
    order = [d for d in range(rank) if d != axis] + [axis]
    back = [order.index(d) for d in range(rank)]
    return b.transpose(b.unary(Softmax, b.transpose(x, order)), back)


def mean(b: GraphBuilder, x: Tensor, axes: Sequence[int], *, keep: bool) -> Tensor:
    """The mean over non-negative axes."""
    over = tuple(sorted(set(axes)))
    kept = tuple(1 if d in over else size for d, size in enumerate(x.shape))
    shape = kept if keep else tuple(size for d, size in enumerate(x.shape) if d not in over)
    return b.add(Mean, shape, x=x, axes=over) if over else x
