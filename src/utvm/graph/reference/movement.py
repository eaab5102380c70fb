"""Operators that move elements and compute nothing; they take any element type."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.graph.arithmetic import nearest_indices
from utvm.graph.operators import (
    Concatenation,
    Pad,
    Reshape,
    ResizeNearestNeighbor,
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
    for axis, (begin, stride, extent) in enumerate(zip(op.begin, op.strides, op.extents, strict=True)):
        x = np.take(x, begin + stride * np.arange(extent), axis=axis)
    return x.reshape(op.y.shape)


def transpose(op: Transpose, x: Array) -> Array:
    """Dimension i of the result is dimension perm[i] of x."""
    return np.ascontiguousarray(x.transpose(op.perm))


def resize_nearest_neighbor(op: ResizeNearestNeighbor, x: Array) -> Array:
    """Rows and columns of x, picked."""
    rows, columns = nearest_indices(op)
    return x[:, rows][:, :, columns]
