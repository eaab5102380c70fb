"""Transposed convolutions of [N,C,H,W] or [N,C,L] as one convolution, whose channels are the phases of the stride.

Row Y + pad of the result is stride * q + r. Tap k meets it where k = r + stride * t, at row q - t of the input. So
phase r is a convolution of stride 1 over the taps r, r + stride, … in reverse order. All phases read the same rows;
where one has fewer taps its weights are 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from utvm.frontends.borders import cut
from utvm.frontends.builder import GraphBuilder
from utvm.frontends.channels_first import to_channels_first, to_channels_last
from utvm.frontends.refusal import RefusedError
from utvm.graph import Conv2D, Padding, Tensor

FloatArray = NDArray[np.float32]


def transposed_convolution(
    b: GraphBuilder,
    x: Tensor,
    weights: FloatArray,
    bias: FloatArray | None,
    *,
    stride: Sequence[int],
    dilation: Sequence[int],
    before: Sequence[int],
    sizes: Sequence[int],
    groups: int,
) -> Tensor:
    """Return the result as [N,OC,H,W] or [N,OC,L].

    Args:
        weights: [IC,OC/groups,KH,KW] or [IC,OC/groups,K].
        before: how much is cut from the full result at the front of each dimension; one value each, as all others.
        sizes: rows and columns of the result.
    """
    rank = weights.ndim - 2
    given = (stride, dilation, before, sizes)
    if rank not in (1, 2) or weights.ndim != len(x.shape) or any(len(values) != rank for values in given):
        raise RefusedError(f"its weights have shape {list(weights.shape)} for an input of shape {list(x.shape)}")
    if any(not 1 <= v <= 64 for v in (*stride, *dilation)) or any(not 0 <= v <= 4096 for v in before):
        raise RefusedError(f"its strides {list(stride)}, dilations {list(dilation)} or pads are out of range")
    if any(not 1 <= v <= 1 << 20 for v in sizes):
        raise RefusedError(f"its result would have {list(sizes)} pixels")
    if groups < 1 or x.shape[1] != weights.shape[0] or weights.shape[0] % groups:
        raise RefusedError(f"its weights {list(weights.shape)} do not fit {x.shape[1]} channels in {groups} groups")
    channels = weights.shape[1] * groups
    if bias is not None and bias.shape != (channels,):
        raise RefusedError(f"its bias has shape {list(bias.shape)}, [{channels}] is expected")
    if rank == 1:
        weights, stride, dilation = weights[:, :, None], (1, *stride), (1, *dilation)
        before, sizes = (0, *before), (1, *sizes)
    dense = _dense(weights, groups)
    phases = _phases(dense, stride, dilation)
    taps = phases.shape[3:5]
    last = to_channels_last(b, x)
    made = [max(-(-(p + n) // s), size) for p, n, s, size in zip(before, sizes, stride, last.shape[1:3], strict=True)]
    padding = Padding(top=taps[0] - 1, bottom=made[0] - last.shape[1], left=taps[1] - 1, right=made[1] - last.shape[2])
    stored = b.constant(phases.reshape(-1, *phases.shape[3:]), "weights")
    repeated = None if bias is None else b.constant(np.tile(bias, prod(stride)), "bias")
    batch = x.shape[0]
    y = b.add(
        Conv2D,
        (batch, *made, channels * prod(stride)),
        x=last,
        weights=stored,
        bias=repeated,
        stride=(1, 1),
        dilation=(1, 1),
        padding=padding,
    )
    y = _spread(b, y, stride, channels)
    for axis, (first, size) in enumerate(zip(before, sizes, strict=True), 1):
        if first + size > y.shape[axis]:
            raise RefusedError(f"its result of {list(sizes)} pixels is larger than what its taps reach")
        y = cut(b, y, axis, first, size)
    return to_channels_first(b, y, rank + 2)


def _dense(weights: FloatArray, groups: int) -> FloatArray:
    """[IC,OC/groups,KH,KW] -> [OC,KH,KW,IC], zeros between groups."""
    inputs, per_group, *kernel = weights.shape
    result = np.zeros((groups * per_group, *kernel, inputs), np.float32)
    depth = inputs // groups
    for group in range(groups):
        made, read = (slice(group * n, (group + 1) * n) for n in (per_group, depth))
        result[made, :, :, read] = weights[read].transpose(1, 2, 3, 0)
    return result


def _phases(dense: FloatArray, stride: Sequence[int], dilation: Sequence[int]) -> FloatArray:
    """[OC,KH,KW,IC] -> [phase of rows, phase of columns, OC, taps, taps, IC]."""
    kernel = [(k - 1) * d + 1 for k, d in zip(dense.shape[1:3], dilation, strict=True)]
    taps = [-(-k // s) for k, s in zip(kernel, stride, strict=True)]
    wide = np.zeros((dense.shape[0], taps[0] * stride[0], taps[1] * stride[1], dense.shape[3]), np.float32)
    wide[:, : kernel[0] : dilation[0], : kernel[1] : dilation[1]] = dense
    split = wide.reshape(dense.shape[0], taps[0], stride[0], taps[1], stride[1], dense.shape[3])
    return np.ascontiguousarray(split[:, ::-1, :, ::-1].transpose(2, 4, 0, 1, 3, 5))


def _spread(b: GraphBuilder, y: Tensor, stride: Sequence[int], channels: int) -> Tensor:
    """[N,H,W,rows * columns * C] -> [N,H*rows,W*columns,C]."""
    batch, height, width, _ = y.shape
    rows, columns = stride
    parts = b.reshape(y, (batch, height, width, rows, columns * channels))
    moved = b.transpose(parts, (0, 1, 3, 2, 4))
    return b.reshape(moved, (batch, height * rows, width * columns, channels))
