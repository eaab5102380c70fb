"""TFLite operators that are a function, a reduction or a gathering: a line each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tflite

from utvm.frontends.context import (
    ACTIVATION_RANGES,
    OPERATOR_ADVICE,
    Context,
    expect_shape,
    quantised_range,
    same_quantisation,
)
from utvm.frontends.refusal import RefusedError, axis_of
from utvm.frontends.tflite_parts import Converted
from utvm.graph import (
    FULL_INT8,
    BatchMatMul,
    CumulativeSum,
    DType,
    Elementwise,
    Gather,
    GatherNd,
    Operator,
    Reduction,
    Reshape,
    StridedSlice,
    Tensor,
    Transpose,
)
from utvm.graph.functions import function, reducer

_BOOL = (DType.BOOL,)
FLOAT_ALONE = (
    *("CEIL", "COS", "EXP", "FLOOR", "FLOOR_DIV", "FLOOR_MOD", "L2_POOL_2D"),
    *("LOG", "NEG", "ROUND", "SIN", "SQRT", "SQUARE"),
)
"""What tflite-micro computes in float32 alone."""
_LARGEST_RATIO = 2.0**22


def _elementwise(
    name: str,
    arity: int,
    *,
    y: tuple[DType, ...] | None = None,
    same: bool = False,
    activation: type[Any] | None = None,
    check: Callable[[Elementwise], None] | None = None,
) -> Callable[[Context], Operator]:
    """Convert an elementwise operator.

    Args:
        name: the function's name.
        arity: how many operands there are.
        y: types of the output; None means that of the first operand.
        same: whether int8 operands and output must share one quantisation.
        activation: the options that hold a fused activation.
        check: what else may be refused.
    """
    what = function(name)

    def convert(c: Context) -> Operator:
        c.arity((arity,))
        xs = tuple(c.element(i, what.inputs) for i in range(arity))
        result = c.made_of((xs[-1].dtype,) if y is None else y)
        if any(x.dtype is not xs[-1].dtype for x in xs):
            raise RefusedError("its operands are of different types")
        expect_shape(result, broadcast(*xs))
        for x in xs:
            if same and x.dtype is DType.INT8:
                same_quantisation(x, result)
        clamp = FULL_INT8
        if activation is not None:
            fused = c.options(activation).FusedActivationFunction()
            if fused not in ACTIVATION_RANGES:
                raise RefusedError(f"its fused activation {fused} is not supported")
            clamp = quantised_range(result, *ACTIVATION_RANGES[fused])
        op = Elementwise(name=c.name, function=what, xs=xs, y=result, clamp=clamp)
        if check is not None:
            check(op)
        return op

    return convert


def broadcast(*tensors: Tensor) -> tuple[int, ...]:
    """Return the shape that tensors make together."""
    try:
        return tuple(int(size) for size in np.broadcast_shapes(*(t.shape for t in tensors)))
    except ValueError:
        shapes = " and ".join(str(list(t.shape)) for t in tensors)
        raise RefusedError(f"the shapes {shapes} do not go together") from None


def _ratio(real: float) -> None:
    """Refuse a ratio of scales that TFLite's shift of 32 bits can't express."""
    if real >= _LARGEST_RATIO:
        raise RefusedError(f"its input's scales are too large beside its output's: {real} does not fit 32 bits")


def _rescales(op: Elementwise) -> None:
    _ratio(op.xs[0].scale / op.y.scale)


def _prelu(op: Elementwise) -> None:
    _ratio(op.xs[0].scale / op.y.scale * max(1.0, op.xs[1].scale))


def _below_one(op: Elementwise) -> None:
    if op.xs[0].dtype is DType.INT8 and max(x.scale for x in op.xs) >= 1:
        raise RefusedError("a scale is 1 or more, which tflite-micro does not compare")


def _squares(op: Elementwise) -> None:
    twice = 2 * max(x.scale for x in op.xs)
    _ratio(twice * twice / (1 << 14) / op.y.scale)


def _divides(op: Elementwise) -> None:
    _ratio(op.xs[0].scale / op.xs[1].scale / op.y.scale)
    if op.xs[1].is_constant and (op.xs[1].values == op.xs[1].zero_point).any():
        raise RefusedError("it divides by 0")


def _hard_swish(op: Elementwise) -> None:
    if op.xs[0].scale / 128 >= op.y.scale:
        raise RefusedError("its input's scale is more than 128 times its output's, which tflite-micro does not take")


def _add_n(c: Context) -> Operator:
    xs, y = tuple(c.activation(i) for i in range(len(c.raw.inputs))), c.result()
    if len(xs) < 2 or len(c.raw.outputs) != 1:
        raise RefusedError(f"it has {len(xs)} inputs, at least 2 are expected, and one output")
    for x in xs:
        expect_shape(x, y.shape)
        same_quantisation(x, xs[0])
    if xs[0].scale * 2 >= y.scale * (1 << 20):
        raise RefusedError("its output's scale is too small beside its inputs'")
    return Elementwise(name=c.name, function=function("AddN"), xs=xs, y=y)


def _select(c: Context) -> Operator:
    c.arity((3,))
    condition = c.element(0, _BOOL)
    a, b = (c.element(i, (DType.INT8,)) for i in (1, 2))
    y = c.result()
    expect_shape(y, broadcast(condition, a, b))
    same_quantisation(a, y)
    same_quantisation(b, y)
    return Elementwise(name=c.name, function=function("Select"), xs=(condition, a, b), y=y)


def _cast(c: Context) -> Operator:
    c.arity((1,))
    what = function("Cast")
    x, y = c.any_input(0), c.any_output()
    for tensor, types in ((x, what.inputs), (y, (DType.INT8, DType.INT16, DType.INT32))):
        if tensor.dtype not in types:
            raise RefusedError(f"tensor '{tensor.name}': a cast from or to {tensor.dtype} is not supported")
    expect_shape(y, x.shape)
    return Elementwise(name=c.name, function=what, xs=(x,), y=y)


def _broadcast_to(c: Context) -> Operator:
    c.arity((2,))
    what = function("BroadcastTo")
    x = c.element(0, what.inputs)
    y = c.made_of((x.dtype,))
    expect_shape(y, tuple(c.integers(1)))
    if x.dtype is DType.INT8:
        same_quantisation(x, y)
    if broadcast(x, y) != y.shape:
        raise RefusedError(f"the shape {list(x.shape)} does not become {list(y.shape)}")
    return Elementwise(name=c.name, function=what, xs=(x,), y=y)


def _axes(c: Context, position: int, rank: int) -> tuple[int, ...]:
    axes = tuple(sorted({axis_of(axis, rank) for axis in c.integers(position)}))
    if not axes:
        raise RefusedError("it has no axes")
    return axes


def _reduction(name: str, *, same: bool = False) -> Callable[[Context], Operator]:
    what = reducer(name)

    def convert(c: Context) -> Operator:
        c.arity((2,))
        x, y = c.element(0, what.inputs), c.made_of(what.inputs)
        axes = _axes(c, 1, len(x.shape))
        keeps = bool(c.options(tflite.ReducerOptions).KeepDims())
        expect_shape(y, _reduced_shape(x.shape, axes, keeps))
        if same:
            same_quantisation(x, y)
        elif x.dtype is DType.INT8:
            _ratio(x.scale / y.scale)
        return Reduction(name=c.name, reducer=what, x=x, y=y, axes=axes)

    return convert


def _reduced_shape(shape: Sequence[int], axes: Sequence[int], keeps: bool) -> tuple[int, ...]:
    return tuple(1 if d in axes else size for d, size in enumerate(shape) if keeps or d not in axes)


def _arg(name: str, options: type[Any]) -> Callable[[Context], Operator]:
    def convert(c: Context) -> Operator:
        c.arity((2,))
        x, y = c.activation(0), c.made_of((DType.INT32,))
        axes = _axes(c, 1, len(x.shape))
        if len(axes) != 1:
            raise RefusedError(f"it has {len(axes)} axes, one is expected")
        expect_shape(y, _reduced_shape(x.shape, axes, keeps=False))
        if x.shape[axes[0]] >= 1 << 22:
            raise RefusedError(f"{x.shape[axes[0]]} elements are too many for places in 32 bits")
        if c.options(options).OutputType() != tflite.TensorType.INT32:
            raise RefusedError("places of another type than int32 are not supported")
        return Reduction(name=c.name, reducer=reducer(name), x=x, y=y, axes=axes)

    return convert


def _cumsum(c: Context) -> Operator:
    c.arity((2,))
    x, y = c.activation(0), c.result()
    expect_shape(y, x.shape)
    axes = _axes(c, 1, len(x.shape))
    if len(axes) != 1:
        raise RefusedError(f"it has {len(axes)} axes, one is expected")
    options = c.options(tflite.CumsumOptions)
    if x.scale * 2 >= y.scale * (1 << 20):
        raise RefusedError("its output's scale is too small beside its input's")
    return CumulativeSum(
        name=c.name, x=x, y=y, axis=axes[0], exclusive=bool(options.Exclusive()), reverse=bool(options.Reverse())
    )


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
    axes = _axes(c, 1, len(x.shape))
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


def _batch_matmul(c: Context) -> Operator:
    c.arity((2,))
    options = c.options(tflite.BatchMatMulOptions)
    a, b, y = c.activation(0), c.activation(1), c.result()
    if min(len(a.shape), len(b.shape)) < 2:
        raise RefusedError("matrices of two dimensions and more are expected")
    turned_a, turned_b = bool(options.AdjX()), bool(options.AdjY())
    left = (*a.shape[:-2], *(a.shape[:-3:-1] if turned_a else a.shape[-2:]))
    right = (*b.shape[:-2], *(b.shape[:-3:-1] if turned_b else b.shape[-2:]))
    if left[-1] != right[-2]:
        raise RefusedError(f"matrices of {list(left)} and {list(right)} can't be multiplied")
    try:
        batches = np.broadcast_shapes(left[:-2], right[:-2])
    except ValueError:
        raise RefusedError(f"the shapes {list(left)} and {list(right)} do not go together") from None
    expect_shape(y, (*batches, left[-2], right[-1]))
    _ratio(a.scale * b.scale / y.scale)
    return BatchMatMul(name=c.name, a=a, b=b, y=y, turned_a=turned_a, turned_b=turned_b)


def _float_alone(c: Context) -> Operator:
    dtype = c.any_input(0).dtype
    raise RefusedError(f"tflite-micro computes it in float32 alone, and its input is {dtype}", OPERATOR_ADVICE)


GENERAL: Mapping[str, Callable[[Context], Converted]] = {
    **dict.fromkeys(FLOAT_ALONE, _float_alone),
    "ABS": _elementwise("Abs", 1, check=_rescales),
    "RSQRT": _elementwise("Rsqrt", 1),
    "ELU": _elementwise("Elu", 1),
    "HARD_SWISH": _elementwise("HardSwish", 1, check=_hard_swish),
    "PRELU": _elementwise("Prelu", 2, check=_prelu),
    "MAXIMUM": _elementwise("Maximum", 2, same=True),
    "MINIMUM": _elementwise("Minimum", 2, same=True),
    "SQUARED_DIFFERENCE": _elementwise("SquaredDifference", 2, check=_squares),
    "DIV": _elementwise("Div", 2, activation=tflite.DivOptions, check=_divides),
    "EQUAL": _elementwise("Equal", 2, y=_BOOL, check=_below_one),
    "NOT_EQUAL": _elementwise("NotEqual", 2, y=_BOOL, check=_below_one),
    "LESS": _elementwise("Less", 2, y=_BOOL, check=_below_one),
    "LESS_EQUAL": _elementwise("LessEqual", 2, y=_BOOL, check=_below_one),
    "GREATER": _elementwise("Greater", 2, y=_BOOL, check=_below_one),
    "GREATER_EQUAL": _elementwise("GreaterEqual", 2, y=_BOOL, check=_below_one),
    "LOGICAL_AND": _elementwise("LogicalAnd", 2),
    "LOGICAL_OR": _elementwise("LogicalOr", 2),
    "LOGICAL_NOT": _elementwise("LogicalNot", 1),
    "SELECT_V2": _select,
    "ADD_N": _add_n,
    "CAST": _cast,
    "BROADCAST_TO": _broadcast_to,
    "SUM": _reduction("Sum"),
    "REDUCE_MAX": _reduction("ReduceMax", same=True),
    "REDUCE_MIN": _reduction("ReduceMin", same=True),
    "REDUCE_ALL": _reduction("ReduceAll"),
    "ARG_MAX": _arg("ArgMax", tflite.ArgMaxOptions),
    "ARG_MIN": _arg("ArgMin", tflite.ArgMinOptions),
    "CUMSUM": _cumsum,
    "GATHER": _gather,
    "GATHER_ND": _gather_nd,
    "EMBEDDING_LOOKUP": _embedding_lookup,
    "MIRROR_PAD": _mirror_pad,
    "REVERSE_V2": _reverse,
    "SPACE_TO_DEPTH": _blocks_moved(tflite.SpaceToDepthOptions, into_depth=True),
    "DEPTH_TO_SPACE": _blocks_moved(tflite.DepthToSpaceOptions, into_depth=False),
    "BATCH_MATMUL": _batch_matmul,
}
