"""What a computation means, in numpy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.compute.affine import axis
from utvm.compute.expressions import (
    Apply,
    Cast,
    Compute,
    Const,
    Expr,
    HelperCall,
    Index,
    Load,
    Lookup,
    Reduced,
    Select,
)

Arrays = Mapping[str, NDArray[Any]]
Values = NDArray[Any]
NUMPY_TYPES: Mapping[str, type[np.generic]] = {
    "int8_t": np.int8,
    "int16_t": np.int16,
    "int32_t": np.int32,
    "int64_t": np.int64,
    "uint8_t": np.uint8,
    "uint32_t": np.uint32,
    "float": np.float32,
}
"""C types of buffers and accumulators, and numpy's."""
_OPERATIONS: Mapping[str, Callable[[Values, Values], Values]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": lambda a, b: a / b if np.result_type(a, b).kind == "f" else np.trunc(a / b).astype(np.int64),
    "%": np.fmod,
    "&": np.bitwise_and,
    "|": np.bitwise_or,
    "<": np.less,
    "<=": np.less_equal,
    "==": np.equal,
    "!=": np.not_equal,
    "max": lambda a, b: np.where(a > b, a, b),
    "min": lambda a, b: np.where(a < b, a, b),
}
_COMBINE: Mapping[str, np.ufunc] = {"sum": np.add, "max": np.maximum, "min": np.minimum}


def evaluate(compute: Compute, arrays: Arrays) -> NDArray[Any]:
    """Return the output for arrays by the names of buffers. Integers are exact in 64 bits, floats are float32."""
    axes = _grids(compute)
    order = len(compute.space)
    shape = tuple(compute.space.values())
    reduced: NDArray[Any] | None = None
    if compute.reduce and compute.c_type == "float":
        reduced = _in_order(compute, axes, arrays).reshape(shape + (1,) * len(compute.reduce))
    elif compute.reduce:
        terms = np.broadcast_to(_value(compute.term, axes, arrays, None), tuple(compute.axes.values()))
        along = tuple(range(order, order + len(compute.reduce)))
        start = _value(compute.init, axes, arrays, None)
        start = start.reshape(start.shape[:order]) if start.ndim else start
        combine = _COMBINE[compute.combine]
        reduced = combine(combine.reduce(terms, axis=along), start)
        reduced = reduced.reshape(shape + (1,) * len(compute.reduce))
    values = np.broadcast_to(
        _value(compute.epilogue, axes, arrays, reduced), shape + (1,) * len(compute.reduce)
    ).reshape(shape)
    dtype = NUMPY_TYPES[compute.output.c_type]
    if shape == compute.output.shape and compute.index == tuple(axis(name) for name in compute.space):
        return values.astype(dtype, order="C")
    places = np.broadcast_to(
        compute.output.flat(compute.index).values(axes), shape + (1,) * len(compute.reduce)
    ).reshape(shape)
    found = np.zeros(compute.output.elements, dtype)
    found[places] = values.astype(found.dtype)
    return found.reshape(compute.output.shape)


def _in_order(compute: Compute, axes: Mapping[str, NDArray[np.int64]], arrays: Arrays) -> NDArray[Any]:
    """Return sums or extremes of float32 [space], one term after the other as C combines them."""
    shape = tuple(compute.space.values())
    outer = {name: axes[name].reshape(axes[name].shape[: len(shape)]) for name in compute.space}
    start = {**outer, **dict.fromkeys(compute.reduce, np.array(0, np.int64))}
    found = np.broadcast_to(_value(compute.init, start, arrays, None), shape).astype(np.float32)
    for places in np.ndindex(*compute.reduce.values()):
        turn = {name: np.array(place, np.int64) for name, place in zip(compute.reduce, places, strict=True)}
        term = _value(compute.term, {**outer, **turn}, arrays, None)
        if compute.combine == "sum":
            found += term
        else:
            found = _OPERATIONS[compute.combine](found, np.broadcast_to(term, shape))
    return found


def _grids(compute: Compute) -> dict[str, NDArray[np.int64]]:
    axes, count = compute.axes, len(compute.axes)
    return {
        name: np.arange(extent, dtype=np.int64).reshape((1,) * i + (extent,) + (1,) * (count - i - 1))
        for i, (name, extent) in enumerate(axes.items())
    }


def _value(
    expr: Expr, axes: Mapping[str, NDArray[np.int64]], arrays: Arrays, reduced: NDArray[Any] | None
) -> NDArray[Any]:
    match expr:
        case Const():
            return np.asarray(expr.value, np.float32 if isinstance(expr.value, float) else np.int64)
        case Index():
            return expr.value.values(axes)
        case Load():
            return loaded(expr, axes, arrays[expr.buffer.name])
        case Apply():
            left, right = (_value(e, axes, arrays, reduced) for e in (expr.left, expr.right))
            found = np.asarray(_OPERATIONS[expr.operation](left, right))
            return found.astype(np.int64) if found.dtype.kind == "b" else found
        case Select():
            condition, then, other = (_value(e, axes, arrays, reduced) for e in (expr.condition, expr.then, expr.other))
            return np.where(condition >= 0, then, other)
        case Cast():
            return _wide(_value(expr.value, axes, arrays, reduced).astype(NUMPY_TYPES[expr.c_type]))
        case HelperCall():
            return expr.helper.evaluate(*(_value(e, axes, arrays, reduced) for e in expr.arguments))
        case Lookup():
            place = _value(expr.place, axes, arrays, reduced)
            return np.asarray(_wide(arrays[expr.buffer.name]).reshape(-1)[place])
        case Reduced():
            if reduced is None:
                raise ValueError("nothing is reduced")
            return reduced


def loaded(load: Load, axes: Mapping[str, NDArray[np.int64]], array: NDArray[Any]) -> NDArray[Any]:
    """Return the elements that a load reads, for arrays of axes; integers as int64."""
    wide = _wide(array)
    places = [index.values(axes) for index in load.index]
    if load.outside is None:
        return np.asarray(wide.reshape(load.buffer.shape)[tuple(places)])
    inside = np.array(True)
    for place, size in zip(places, load.buffer.shape, strict=True):
        inside = inside & (place >= 0) & (place < size)
    clipped = tuple(np.clip(p, 0, s - 1) for p, s in zip(places, load.buffer.shape, strict=True))
    return np.where(inside, wide.reshape(load.buffer.shape)[clipped], wide.dtype.type(load.outside))


def _wide(array: NDArray[Any]) -> NDArray[Any]:
    return array if array.dtype.kind == "f" else array.astype(np.int64)
