"""Arithmetic on static shapes: operators on int32 constants are computed at import and leave nothing to do.

Exporters write them where a model asks for the shape of a tensor (`tf.shape(x)`), although the file has it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tflite
from numpy.typing import NDArray

from utvm.frontends.context import Context
from utvm.frontends.flatbuffer import MAX_RANK
from utvm.frontends.refusal import RefusedError, axis_of, broadcast_shape
from utvm.frontends.tflite_parts import slice_bounds
from utvm.frontends.tflite_views import slice_ranges
from utvm.graph import DType

_Values = tuple[NDArray[Any], ...]


def folded(c: Context) -> bool:
    """Compute an operator whose inputs are int32 constants, or of which only shapes count; False for all others."""
    fold = _SHAPES.get(c.raw.kind)
    if fold is None:
        fold = _FOLDERS.get(c.raw.kind)
        if fold is None or not c.raw.inputs or not all(_is_static(c, i) for i in range(len(c.raw.inputs))):
            return False
    c.fold(*fold(c))
    return True


def _is_static(c: Context, position: int) -> bool:
    if c.raw.inputs[position] < 0:
        return False
    try:
        tensor = c.any_input(position)
    except RefusedError:
        return False
    return tensor.is_constant and tensor.dtype is DType.INT32


def _int32(c: Context, position: int) -> NDArray[Any]:
    return c.constant(position, DType.INT32).astype(np.int64)


def _shape(c: Context) -> _Values:
    c.arity((1,))
    return (np.array(c.shape_of_input(0), np.int64),)


def _rank(c: Context) -> _Values:
    c.arity((1,))
    return (np.array(len(c.shape_of_input(0)), np.int64),)


def _strided_slice(c: Context) -> _Values:
    c.arity((4,))
    x = _int32(c, 0)
    ranges = slice_ranges(c, x.shape)
    for axis, (first, step, extent) in enumerate(zip(ranges.begin, ranges.strides, ranges.extents, strict=True)):
        x = np.take(x, first + step * np.arange(extent), axis=axis)
    return (x.reshape(ranges.kept),)


def _slice(c: Context) -> _Values:
    c.arity((3,))
    x = _int32(c, 0)
    begin, sizes = slice_bounds(c, x.shape)
    return (x[tuple(slice(b, b + size) for b, size in zip(begin, sizes, strict=True))],)


def _pack(c: Context) -> _Values:
    xs = [_int32(c, i) for i in range(len(c.raw.inputs))]
    if any(x.shape != xs[0].shape for x in xs):
        raise RefusedError("its inputs have different shapes")
    return (np.stack(xs, axis=axis_of(c.options(tflite.PackOptions).Axis(), xs[0].ndim + 1)),)


def _unpack(c: Context) -> _Values:
    c.arity((1,), outputs=len(c.raw.outputs))
    x = _int32(c, 0)
    axis = axis_of(c.options(tflite.UnpackOptions).Axis(), x.ndim)
    if x.shape[axis] != len(c.raw.outputs):
        raise RefusedError(f"{x.shape[axis]} slices are there, {len(c.raw.outputs)} are made")
    return tuple(np.take(x, index, axis=axis) for index in range(x.shape[axis]))


def _concatenation(c: Context) -> _Values:
    options = c.options(tflite.ConcatenationOptions)
    xs = [_int32(c, i) for i in range(len(c.raw.inputs))]
    axis = axis_of(options.Axis(), xs[0].ndim)
    _no_activation(options.FusedActivationFunction())
    try:
        return (np.concatenate(xs, axis=axis),)
    except ValueError as error:
        raise RefusedError("the shapes of its inputs do not go together") from error


def _reshape(c: Context) -> _Values:
    x, y = _int32(c, 0), c.any_output()
    if x.size != y.elements:
        raise RefusedError(f"{x.size} elements can't have the shape {list(y.shape)}")
    return (x.reshape(y.shape),)


def _gather(c: Context) -> _Values:
    c.arity((2,))
    options = c.options(tflite.GatherOptions)
    x, indices = _int32(c, 0), _int32(c, 1)
    axis = axis_of(options.Axis(), x.ndim)
    if options.BatchDims() != 0 or indices.min(initial=0) < 0 or indices.max(initial=0) >= x.shape[axis]:
        raise RefusedError("an index is outside of its input, or it has batches")
    return (np.take(x, indices, axis=axis),)


def _product(c: Context) -> _Values:
    c.arity((2,))
    x = _int32(c, 0)
    axes = tuple(sorted({axis_of(axis, x.ndim) for axis in c.integers(1)}))
    product = x.astype(object).prod(axis=axes, keepdims=bool(c.options(tflite.ReducerOptions).KeepDims()))
    if np.abs(product).max(initial=0) >= 2**31:
        raise RefusedError("its product does not fit int32")
    return (np.asarray(product, np.int64),)


def _binary(
    compute: Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]], options: type[Any] | None = None
) -> Callable[[Context], _Values]:
    def fold(c: Context) -> _Values:
        c.arity((2,))
        if options is not None:
            _no_activation(c.options(options).FusedActivationFunction())
        a, b = _int32(c, 0), _int32(c, 1)
        broadcast_shape(a.shape, b.shape)
        return (np.asarray(compute(a, b)),)

    return fold


def _broadcast_args(c: Context) -> _Values:
    c.arity((2,))
    shapes = [tuple(int(size) for size in _int32(c, i).reshape(-1)) for i in range(2)]
    if any(not 0 <= size < 1 << 31 for shape in shapes for size in shape) or max(map(len, shapes)) > MAX_RANK:
        raise RefusedError(f"{shapes[0][:8]} and {shapes[1][:8]} are no shapes")
    return (np.array(broadcast_shape(*shapes), np.int64),)


def _floor_division(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    if (b == 0).any():
        raise RefusedError("it divides by 0")
    return np.asarray(np.floor_divide(a, b))


def _no_activation(activation: int) -> None:
    if activation != tflite.ActivationFunctionType.NONE:
        raise RefusedError("a fused activation of integers is not supported")


_SHAPES: Mapping[str, Callable[[Context], _Values]] = {"SHAPE": _shape, "RANK": _rank}
"""Operators that read the shape of a tensor, which need not be a constant."""

_FOLDERS: Mapping[str, Callable[[Context], _Values]] = {
    "STRIDED_SLICE": _strided_slice,
    "SLICE": _slice,
    "PACK": _pack,
    "UNPACK": _unpack,
    "CONCATENATION": _concatenation,
    "RESHAPE": _reshape,
    "SQUEEZE": _reshape,
    "EXPAND_DIMS": _reshape,
    "GATHER": _gather,
    "REDUCE_PROD": _product,
    "ADD": _binary(np.add, tflite.AddOptions),
    "SUB": _binary(np.subtract, tflite.SubOptions),
    "MUL": _binary(np.multiply, tflite.MulOptions),
    "MAXIMUM": _binary(np.maximum),
    "MINIMUM": _binary(np.minimum),
    "FLOOR_DIV": _binary(_floor_division),
    "BROADCAST_ARGS": _broadcast_args,
}
FOLDED = frozenset((*_SHAPES, *_FOLDERS))
"""Operators that are computed at import, some of them only where all their inputs are constants."""
