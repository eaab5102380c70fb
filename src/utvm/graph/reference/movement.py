"""Operators that move elements, which take any element type, and resizing."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.graph.arithmetic import bilinear_positions, nearest_indices
from utvm.graph.operators import (
    BatchToSpace,
    Concatenation,
    Pad,
    Reshape,
    ResizeBilinear,
    ResizeNearestNeighbor,
    SpaceToBatch,
    Split,
    StridedSlice,
    Transpose,
)

Array = NDArray[Any]


def reshape(op: Reshape, x: Array) -> Array:
    """The same elements in y's shape."""
    return x.reshape(op.y.shape)


def pad(op: Pad, x: Array) -> Array:
    """x with `op.value` around it."""
    return np.pad(x, op.paddings, constant_values=op.value)


def concatenation(op: Concatenation, *xs: Array) -> Array:
    """The inputs, one after the other along the axis."""
    return np.concatenate(xs, axis=op.axis)


def split(op: Split, x: Array) -> tuple[Array, ...]:
    """The parts of x along the axis, as long as the outputs are."""
    ends = np.cumsum([y.shape[op.axis] for y in op.ys])
    return tuple(np.split(x, ends[:-1], axis=op.axis))


def strided_slice(op: StridedSlice, x: Array) -> Array:
    """Element i of a dimension is element begin + i * stride of x's."""
    places = []
    for begin, stride, extent in zip(op.begin, op.strides, op.extents, strict=True):
        end = begin + stride * extent
        places.append(slice(begin, end if end >= 0 else None, stride))
    return np.ascontiguousarray(x[tuple(places)]).reshape(op.y.shape)


def transpose(op: Transpose, x: Array) -> Array:
    """Dimension i of the result is dimension perm[i] of x."""
    return np.ascontiguousarray(x.transpose(op.perm))


def resize_nearest_neighbor(op: ResizeNearestNeighbor, x: Array) -> Array:
    """Rows and columns of x, picked."""
    rows, columns = nearest_indices(op)
    return x[:, rows][:, :, columns]


def resize_bilinear(op: ResizeBilinear, x: Array) -> Array:
    """The four pixels around each position, weighted in 1024ths; the sum rounded once, halves away from zero."""
    rows, columns = bilinear_positions(op)
    below, right = rows.fraction.astype(np.int64)[:, None, None], columns.fraction.astype(np.int64)[:, None]
    wide = x.astype(np.int64)
    first, second = wide[:, rows.first], wide[:, rows.second]
    total = (
        first[:, :, columns.first] * (1024 - below) * (1024 - right)
        + first[:, :, columns.second] * (1024 - below) * right
        + second[:, :, columns.first] * below * (1024 - right)
        + second[:, :, columns.second] * below * right
    )
    result: Array = (np.sign(total) * ((np.abs(total) + (1 << 19)) >> 20)).astype(x.dtype)
    return result


def space_to_batch(op: SpaceToBatch, x: Array) -> Array:
    """The pixels of each place in a block become images of their own."""
    (high, wide), pad = op.block, op.padding
    around = ((0, 0), (pad.top, pad.bottom), (pad.left, pad.right), (0, 0))
    padded = np.pad(x, around, constant_values=op.x.zero_point)
    images, height, width, channels = padded.shape
    blocks = padded.reshape(images, height // high, high, width // wide, wide, channels)
    return blocks.transpose(2, 4, 0, 1, 3, 5).reshape(op.y.shape)


def batch_to_space(op: BatchToSpace, x: Array) -> Array:
    """The images of the places in a block become one, whose borders are cut off."""
    (high, wide), crop = op.block, op.crop
    images, height, width, channels = x.shape
    parts = x.reshape(high, wide, images // (high * wide), height, width, channels)
    whole = parts.transpose(2, 3, 0, 4, 1, 5).reshape(-1, height * high, width * wide, channels)
    return whole[:, crop.top : crop.top + op.y.shape[1], crop.left : crop.left + op.y.shape[2]].copy()
