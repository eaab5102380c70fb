"""TFLite operators that fill: constants of a shape, a value over a shape, and a part of a tensor put anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import tflite

from utvm.frontends.context import Context, expect_shape, same_quantisation
from utvm.frontends.refusal import RefusedError
from utvm.frontends.tflite_composed import normalized_rows
from utvm.frontends.tflite_parts import Converted
from utvm.graph import DType, Elementwise, L2Normalize, UpdateSlice
from utvm.graph.functions import function

_FILLED = (DType.INT8, DType.INT32, DType.FLOAT32)
_MOST_DIMENSIONS = 4
_LONGEST_ROW = 33_025
"""Squares of 255 that fit int32."""
_UPDATED = (DType.INT8, DType.INT16, DType.INT32, DType.FLOAT32)


def _fill(c: Context) -> Converted:
    c.arity((2,))
    value, y = c.element(1, _FILLED), c.made_of(_FILLED)
    if value.elements != 1 or value.dtype is not y.dtype:
        raise RefusedError(f"tensor '{value.name}': one element of {y.dtype} is expected")
    expect_shape(y, tuple(c.integers(0)))
    same_quantisation(value, y)
    if value.is_constant:
        c.become_constant(np.full(y.shape, value.values.reshape(-1)[0]))
        return ()
    return Elementwise(name=c.name, function=function("BroadcastTo"), xs=(value,), y=y)


def _zeros_like(c: Context) -> Converted:
    c.arity((1,))
    x, y = c.any_input(0), c.made_of(_FILLED)
    expect_shape(y, x.shape)
    # Zeros as they are stored, whatever they stand for: so tflite-micro fills.
    c.become_constant(np.zeros(y.shape, y.dtype.value))
    return ()


def _dynamic_update_slice(c: Context) -> Converted:
    c.arity((3,))
    x, part, start = c.element(0, _UPDATED), c.element(1, _UPDATED), c.element(2, (DType.INT32,))
    y = c.made_of(_UPDATED)
    if {part.dtype, y.dtype} != {x.dtype}:
        raise RefusedError("its tensors are of different types")
    same_quantisation(x, y)
    same_quantisation(part, y)
    expect_shape(y, x.shape)
    expect_shape(start, (len(x.shape),))
    if len(part.shape) != len(x.shape) or any(p > s for p, s in zip(part.shape, x.shape, strict=True)):
        raise RefusedError(f"a part of shape {list(part.shape)} does not fit into {list(x.shape)}")
    return UpdateSlice(name=c.name, x=x, part=part, start=start, y=y)


def _l2_normalization(c: Context) -> Converted:
    c.arity((1,))
    x, y = c.activation(0), c.result()
    if c.options(tflite.L2NormOptions).FusedActivationFunction() != tflite.ActivationFunctionType.NONE:
        raise RefusedError("a fused activation is not supported")
    expect_shape(y, x.shape)
    if not x.shape or len(x.shape) > _MOST_DIMENSIONS or x.shape[-1] > _LONGEST_ROW:
        raise RefusedError(f"its input has shape {list(x.shape)}, whose squares do not add up in 32 bits")
    if x.dtype is DType.FLOAT32:
        return tuple(normalized_rows(c, x, y))
    # tflite-micro writes 1/128 whatever its output says.
    return L2Normalize(name=c.name, x=x, y=y)


FILLED_TYPES: Mapping[str, tuple[DType, ...]] = {
    "FILL": _FILLED,
    "ZEROS_LIKE": _FILLED,
    "DYNAMIC_UPDATE_SLICE": _UPDATED,
    "L2_NORMALIZATION": (DType.INT8, DType.FLOAT32),
}
"""Operator → types of its activations."""
FILLED: Mapping[str, Callable[[Context], Converted]] = {
    "FILL": _fill,
    "ZEROS_LIKE": _zeros_like,
    "L2_NORMALIZATION": _l2_normalization,
    "DYNAMIC_UPDATE_SLICE": _dynamic_update_slice,
}
