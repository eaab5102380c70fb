"""Operators that move values without computing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.graph.arithmetic import nearest_indices
from utvm.graph.operators import (
    Concatenation,
    Operator,
    Pad,
    Reshape,
    ResizeNearestNeighbor,
    Split,
    StridedSlice,
    Transpose,
)

Array = NDArray[Any]


def reshape(op: Reshape, x: Array) -> Array:
    """The same elements in another shape."""
    return x.reshape(op.y.shape)


def pad(op: Pad, x: Array) -> Array:
    """A constant around x."""
    return np.pad(x, op.paddings, constant_values=op.value)


def concatenate(op: Concatenation, *xs: Array) -> Array:
    """The inputs one after the other."""
    return np.concatenate(xs, axis=op.axis)


def split(op: Split, x: Array) -> tuple[Array, ...]:
    """x in parts."""
    ends = np.cumsum([y.shape[op.axis] for y in op.ys])[:-1]
    return tuple(np.split(x, ends, axis=op.axis))


def strided_slice(op: StridedSlice, x: Array) -> Array:
    """Every stride-th element from the first index on."""
    picked = x
    for axis, (first, step, extent) in enumerate(zip(op.begin, op.strides, op.extents, strict=True)):
        picked = np.take(picked, first + step * np.arange(extent), axis=axis)
    return picked


def transpose(op: Transpose, x: Array) -> Array:
    """Dimensions in another order."""
    return x.transpose(op.perm)


def resize(op: ResizeNearestNeighbor, x: Array) -> Array:
    """The nearest pixel of x for each pixel of y."""
    rows, columns = nearest_indices(op)
    return x[:, rows][:, :, columns]


MOVES: Mapping[type[Operator], Callable[..., Any]] = {
    Reshape: reshape,
    Pad: pad,
    Concatenation: concatenate,
    Split: split,
    StridedSlice: strided_slice,
    Transpose: transpose,
    ResizeNearestNeighbor: resize,
}
