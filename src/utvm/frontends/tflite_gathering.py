"""TFLite operators that pick values by their places: gatherings, mirrors, and blocks of pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tflite

from utvm.frontends.context import Context, expect_shape, reduced_axes, same_quantisation
from utvm.frontends.refusal import RefusedError, axis_of
from utvm.frontends.tflite_parts import Converted
from utvm.graph import DType, Gather, GatherNd, Operator, Reshape, StridedSlice, Tensor, Transpose


def _indices(c: Context, position: int) -> Tensor:
    return c.element(position, (DType.INT32,))


def _gather(c: Context) -> Operator:
    c.arity((2,))
    options = c.options(tflite.GatherOptions)
    x, indices, y = c.activation(0), _indices(c, 1), c.result()
    same_quantisation(x, y)
    axis = axis_of(options.Axis(), len(x.shape))
    batches = options.BatchDims()
    if batches < 0:
        batches += len(indices.shape)
    if not 0 <= batches <= min(axis, len(indices.shape)) or x.shape[:batches] != indices.shape[:batches]:
        raise RefusedError(f"its {options.BatchDims()} batch dimensions do not fit its input and its indices")
    expect_shape(y, (*x.shape[:axis], *indices.shape[batches:], *x.shape[axis + 1 :]))
    _check_indices(indices, (x.shape[axis],))
    return Gather(name=c.name, x=x, indices=indices, y=y, axis=axis, batch_dims=batches)


def _embedding_lookup(c: Context) -> Operator:
    c.arity((2,))
    indices, x, y = _indices(c, 0), c.activation(1), c.result()
    if len(indices.shape) != 1 or len(x.shape) < 2:
        raise RefusedError("a vector of places and a table of at least two dimensions are expected")
    same_quantisation(x, y)
    expect_shape(y, (*indices.shape, *x.shape[1:]))
    _check_indices(indices, (x.shape[0],))
    return Gather(name=c.name, x=x, indices=indices, y=y, axis=0)


def _gather_nd(c: Context) -> Operator:
    c.arity((2,))
    x, indices, y = c.activation(0), _indices(c, 1), c.result()
    same_quantisation(x, y)
    if not indices.shape or not 1 <= indices.shape[-1] <= len(x.shape):
        raise RefusedError(f"indices of shape {list(indices.shape)} do not name places of {list(x.shape)}")
    named = indices.shape[-1]
    expect_shape(y, (*indices.shape[:-1], *x.shape[named:]))
    _check_indices(indices, x.shape[:named])
    return GatherNd(name=c.name, x=x, indices=indices, y=y)


def _check_indices(indices: Tensor, sizes: Sequence[int]) -> None:
    if not indices.is_constant:
        return
    values = indices.values.reshape(-1, len(sizes))
    if (values < 0).any() or (values >= np.array(sizes)).any():
        raise RefusedError(f"tensor '{indices.name}': an index is outside of dimensions {list(sizes)}")


def _mirror_pad(c: Context) -> Converted:
    """A gathering along each dimension that has a border."""
    c.arity((2,))
    x, y = c.activation(0), c.result()
    same_quantisation(x, y)
    flat = c.integers(1)
    if len(flat) != 2 * len(x.shape):
        raise RefusedError(f"its paddings {list(flat)[:16]} do not fit an input of {len(x.shape)} dimensions")
    paddings = list(zip(flat[0::2], flat[1::2], strict=True))
    reflect = c.options(tflite.MirrorPadOptions).Mode() == tflite.MirrorPadMode.REFLECT
    for size, (before, after) in zip(x.shape, paddings, strict=True):
        if not 0 <= min(before, after) <= max(before, after) <= size - reflect:
            raise RefusedError(f"its paddings {list(flat)[:16]} are larger than what they mirror")
    expect_shape(y, tuple(size + sum(pad) for size, pad in zip(x.shape, paddings, strict=True)))
    wide = [d for d, pad in enumerate(paddings) if any(pad)]
    if not wide:
        return Reshape(name=c.name, x=x, y=y)
    found: list[Operator] = []
    source = x
    for d in wide:
        size = x.shape[d]
        taken = np.pad(np.arange(size, dtype=np.int32), paddings[d], mode="reflect" if reflect else "symmetric")
        shape = (*source.shape[:d], taken.size, *source.shape[d + 1 :])
        target = y if d == wide[-1] else c.made(f"padded_{d}", x, shape)
        indices = c.constant_made(f"rows_{d}", taken)
        found.append(Gather(name=f"{c.name}/{d}", x=source, indices=indices, y=target, axis=d))
        source = target
    return tuple(found)


def _reverse(c: Context) -> Operator:
    c.arity((2,))
    x, y = c.activation(0), c.result()
    same_quantisation(x, y)
    expect_shape(y, x.shape)
    axes = reduced_axes(c, len(x.shape))
    begin = tuple(size - 1 if d in axes else 0 for d, size in enumerate(x.shape))
    strides = tuple(-1 if d in axes else 1 for d in range(len(x.shape)))
    return StridedSlice(name=c.name, x=x, y=y, begin=begin, strides=strides)


def _blocks_moved(options: type[Any], *, into_depth: bool) -> Callable[[Context], Converted]:
    """Convert SPACE_TO_DEPTH or DEPTH_TO_SPACE: a transposition of pixels and the places inside blocks."""

    def convert(c: Context) -> Converted:
        c.arity((1,))
        x, y = c.activation(0), c.result()
        same_quantisation(x, y)
        size = c.options(options).BlockSize()
        space, deep = (x, y) if into_depth else (y, x)
        if len(x.shape) != 4 or len(y.shape) != 4 or not 1 <= size <= 4096:
            raise RefusedError(f"four dimensions and a block of at least 1 are expected, it has {size}")
        batch, height, width, depth = space.shape
        if height % size or width % size:
            raise RefusedError(f"blocks of {size} do not fill {height} x {width} pixels")
        expect_shape(deep, (batch, height // size, width // size, depth * size * size))
        rows, columns = height // size, width // size
        apart = (batch, rows, size, columns, size, depth) if into_depth else (batch, rows, columns, size, size, depth)
        perm = (0, 1, 3, 2, 4, 5)
        turned = tuple(apart[p] for p in perm)
        first, second = c.made("apart", x, apart), c.made("turned", x, turned)
        return (
            Reshape(name=f"{c.name}/apart", x=x, y=first),
            Transpose(name=f"{c.name}/turned", x=first, y=second, perm=perm),
            Reshape(name=c.name, x=second, y=y),
        )

    return convert


GATHERING: Mapping[str, Callable[[Context], Converted]] = {
    "GATHER": _gather,
    "GATHER_ND": _gather_nd,
    "EMBEDDING_LOOKUP": _embedding_lookup,
    "MIRROR_PAD": _mirror_pad,
    "REVERSE_V2": _reverse,
    "SPACE_TO_DEPTH": _blocks_moved(tflite.SpaceToDepthOptions, into_depth=True),
    "DEPTH_TO_SPACE": _blocks_moved(tflite.DepthToSpaceOptions, into_depth=False),
}
