"""TFLite operators that move values without computing: reshape, pad, concatenate, split, slice, transpose."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

import tflite

from utvm.frontends.context import Context, expect_shape, same_quantisation
from utvm.frontends.refusal import RefusedError, ShapeRefusedError, axis_of
from utvm.frontends.tflite_types import QUANTISED
from utvm.graph import Concatenation, DType, Operator, Pad, Reshape, Split, StridedSlice, Tensor, Transpose


def _reshape(c: Context) -> Operator:
    x, y = _moved(c, (1, 2))
    wanted = _told_shape(c, x)
    if wanted is not None and wanted != y.shape:
        raise ShapeRefusedError(f"its shape is told as {list(wanted)}, its output has {list(y.shape)}", wanted)
    if x.elements != y.elements:
        rest = prod(y.shape[1:])
        raise ShapeRefusedError(
            f"{x.elements} elements can't have the shape {list(y.shape)}",
            (x.elements // rest, *y.shape[1:]) if y.shape and x.elements % rest == 0 else y.shape,
        )
    return Reshape(name=c.name, x=x, y=y)


def _told_shape(c: Context, x: Tensor) -> tuple[int, ...] | None:
    """Return the shape that a second input of a RESHAPE says, where it is known and whole."""
    if c.raw.kind != "RESHAPE" or len(c.raw.inputs) != 2 or c.raw.inputs[1] < 0 or 0 in c.raw_input(1).shape:
        # An empty shape is that of one number without dimensions.
        return None
    if not c.any_input(1).is_constant:
        return None
    told = c.integers(1)
    return told if min(told, default=0) > 0 and prod(told) == x.elements else None


def _pad(c: Context) -> Operator:
    c.arity((2, 3))
    x, y = c.activation(0), c.result()
    same_quantisation(x, y)
    flat = c.integers(1)
    if len(flat) != 2 * len(x.shape) or any(not 0 <= amount <= 1 << 20 for amount in flat):
        raise RefusedError(f"its paddings {list(flat)[:16]} do not fit an input of {len(x.shape)} dimensions")
    paddings = tuple(zip(flat[0::2], flat[1::2], strict=True))
    expect_shape(y, tuple(size + sum(pad) for size, pad in zip(x.shape, paddings, strict=True)))
    value: float = x.zero_point if x.dtype in QUANTISED else 0
    if len(c.raw.inputs) == 3 and c.raw.inputs[2] >= 0:
        values = c.constant(2, x.dtype)
        if values.size != 1:
            raise RefusedError(f"its padding value has {values.size} elements")
        value = values.reshape(-1)[0].item()
    return Pad(name=c.name, x=x, y=y, paddings=paddings, value=value)


def _concatenation(c: Context) -> Operator:
    if not c.raw.inputs or len(c.raw.outputs) != 1:
        raise RefusedError("at least one input and one output are expected")
    options = c.options(tflite.ConcatenationOptions)
    xs, y = tuple(c.activation(i) for i in range(len(c.raw.inputs))), c.result()
    axis = axis_of(options.Axis(), len(y.shape))
    if y.dtype is DType.FLOAT32:
        c.clamp(options.FusedActivationFunction(), y)
    elif options.FusedActivationFunction() != tflite.ActivationFunctionType.NONE:
        raise RefusedError("a fused activation is not supported")
    for x in xs:
        same_quantisation(x, y)
        if len(x.shape) != len(y.shape) or x.shape[:axis] + x.shape[axis + 1 :] != y.shape[:axis] + y.shape[axis + 1 :]:
            raise RefusedError(f"tensor '{x.name}': its shape {list(x.shape)} does not fit {list(y.shape)}")
    expect_shape(y, (*y.shape[:axis], sum(x.shape[axis] for x in xs), *y.shape[axis + 1 :]))
    return Concatenation(name=c.name, xs=xs, y=y, axis=axis)


def _split(c: Context) -> Operator:
    if len(c.raw.inputs) != 2 or not c.raw.outputs:
        raise RefusedError("two inputs and at least one output are expected")
    x, ys = c.activation(1), tuple(c.result(i) for i in range(len(c.raw.outputs)))
    axes = c.integers(0)
    if len(axes) != 1:
        raise RefusedError(f"it has {len(axes)} axes")
    axis = axis_of(axes[0], len(x.shape))
    if x.shape[axis] % len(ys):
        raise RefusedError(f"{x.shape[axis]} can't be split into {len(ys)} equal parts")
    for y in ys:
        same_quantisation(x, y)
        expect_shape(y, (*x.shape[:axis], x.shape[axis] // len(ys), *x.shape[axis + 1 :]))
    return Split(name=c.name, x=x, ys=ys, axis=axis)


def _split_v(c: Context) -> Operator:
    if len(c.raw.inputs) != 3 or not c.raw.outputs:
        raise RefusedError("three inputs and at least one output are expected")
    x, ys = c.activation(0), tuple(c.result(i) for i in range(len(c.raw.outputs)))
    sizes, axes = list(c.integers(1)), c.integers(2)
    if len(axes) != 1 or len(sizes) != len(ys):
        raise RefusedError(f"it has {len(axes)} axes, and {len(sizes)} sizes for {len(ys)} outputs")
    axis = axis_of(axes[0], len(x.shape))
    if sizes.count(-1) == 1:
        sizes[sizes.index(-1)] = x.shape[axis] - sum(sizes) - 1
    if min(sizes) < 1 or sum(sizes) != x.shape[axis]:
        raise RefusedError(f"sizes {sizes[:16]} do not fill a dimension of {x.shape[axis]}")
    for y, size in zip(ys, sizes, strict=True):
        same_quantisation(x, y)
        expect_shape(y, (*x.shape[:axis], size, *x.shape[axis + 1 :]))
    return Split(name=c.name, x=x, ys=ys, axis=axis)


def _strided_slice(c: Context) -> Operator:
    x, y = _moved(c, (4,))
    ranges = slice_ranges(c, x.shape)
    expect_shape(y, ranges.kept)
    return StridedSlice(name=c.name, x=x, y=y, begin=ranges.begin, strides=ranges.strides, shrink=ranges.shrink)


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceRanges:
    """What a STRIDED_SLICE takes of each dimension; those of `shrink` are single indices."""

    begin: tuple[int, ...]
    strides: tuple[int, ...]
    extents: tuple[int, ...]
    shrink: tuple[int, ...]

    @property
    def kept(self) -> tuple[int, ...]:
        """The result's shape."""
        return tuple(extent for d, extent in enumerate(self.extents) if d not in self.shrink)


def slice_ranges(c: Context, shape: tuple[int, ...]) -> SliceRanges:
    """Return what the begins, ends, strides and masks of a STRIDED_SLICE say for an input of `shape`."""
    options = c.options(tflite.StridedSliceOptions)
    if options.EllipsisMask() or options.NewAxisMask():
        raise RefusedError("an ellipsis or a new axis is not supported")
    begins, ends, strides = (c.integers(position) for position in (1, 2, 3))
    if not len(begins) == len(ends) == len(strides) <= len(shape):
        raise RefusedError("begin, end and strides do not fit the input")
    if options.Offset():
        # Ends are then counted from where the slice begins.
        ends = tuple(begin + end for begin, end in zip(begins, ends, strict=True))
    first, steps, extents, shrink = [], [], [], []
    for d, size in enumerate(shape):
        if d >= len(begins):
            start, extent, step = 0, size, 1
        else:
            single = bool(options.ShrinkAxisMask() >> d & 1)
            free = (bool(options.BeginMask() >> d & 1), bool(options.EndMask() >> d & 1))
            start, extent, step = _range(size, begins[d], ends[d], strides[d], free, single)
            if single:
                shrink.append(d)
        first.append(start)
        steps.append(step)
        extents.append(extent)
    return SliceRanges(begin=tuple(first), strides=tuple(steps), extents=tuple(extents), shrink=tuple(shrink))


def _range(size: int, begin: int, end: int, step: int, free: tuple[bool, bool], single: bool) -> tuple[int, int, int]:
    """Return (first index, count, step) of one dimension of a slice, as Python's slices count."""
    if single:
        index = begin + size if begin < 0 else begin
        if not 0 <= index < size:
            raise RefusedError(f"index {begin} is outside a dimension of {size}")
        return index, 1, 1
    if step == 0:
        raise RefusedError("a stride is 0")
    indices = range(size)[slice(None if free[0] else begin, None if free[1] else end, step)]
    if not len(indices):
        raise RefusedError("a slice is empty")
    return indices[0], len(indices), step


def _transpose(c: Context) -> Operator:
    x, y = _moved(c, (2,))
    perm = c.integers(1)
    if sorted(perm) != list(range(len(x.shape))):
        raise RefusedError(f"its permutation {list(perm)[:8]} does not fit {len(x.shape)} dimensions")
    expect_shape(y, tuple(x.shape[d] for d in perm))
    return Transpose(name=c.name, x=x, y=y, perm=perm)


def _moved(c: Context, inputs: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return the first input and the output of an operator that only moves values."""
    c.arity(inputs)
    x, y = c.activation(0), c.result()
    same_quantisation(x, y)
    return x, y


VIEWS: Mapping[str, Callable[[Context], Operator]] = {
    "RESHAPE": _reshape,
    "SQUEEZE": _reshape,
    "EXPAND_DIMS": _reshape,
    "PAD": _pad,
    "PADV2": _pad,
    "CONCATENATION": _concatenation,
    "SPLIT": _split,
    "SPLIT_V": _split_v,
    "STRIDED_SLICE": _strided_slice,
    "TRANSPOSE": _transpose,
}
