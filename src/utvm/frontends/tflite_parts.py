"""TFLite operators that become several of the graph's, or one under another name: slices, stacks, blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import tflite

from utvm.frontends.context import Context, expect_shape, same_quantisation
from utvm.frontends.refusal import RefusedError, axis_of
from utvm.graph import (
    BatchToSpace,
    Concatenation,
    Operator,
    Padding,
    Reshape,
    SpaceToBatch,
    StridedSlice,
    Tensor,
)

Converted = Operator | tuple[Operator, ...]
"""What one operator of a file becomes, in execution order."""


def _slice(c: Context) -> Converted:
    c.arity((3,))
    x, y = c.activation(0), c.result()
    same_quantisation(x, y)
    begin, sizes = slice_bounds(c, x.shape)
    expect_shape(y, sizes)
    return StridedSlice(name=c.name, x=x, y=y, begin=begin, strides=(1,) * len(begin))


def slice_bounds(c: Context, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return begin and extent of each dimension of a SLICE; a size of -1 is all that is left."""
    begin, sizes = c.integers(1), c.integers(2)
    if not len(begin) == len(sizes) == len(shape):
        raise RefusedError("begin and size do not fit the input")
    found = tuple(whole - b if size == -1 else size for whole, b, size in zip(shape, begin, sizes, strict=True))
    for whole, b, size in zip(shape, begin, found, strict=True):
        if b < 0 or size < 1 or b + size > whole:
            raise RefusedError(f"{size} elements from {b} on are not in a dimension of {whole}")
    return begin, found


def _unpack(c: Context) -> Converted:
    c.arity((1,), outputs=len(c.raw.outputs))
    x, options = c.activation(0), c.options(tflite.UnpackOptions)
    axis = axis_of(options.Axis(), len(x.shape))
    if not x.shape[axis] == options.Num() == len(c.raw.outputs):
        raise RefusedError(f"{x.shape[axis]} slices are there, {options.Num()} are named, {len(c.raw.outputs)} made")
    parts: list[Operator] = []
    for index in range(len(c.raw.outputs)):
        y = c.result(index)
        same_quantisation(x, y)
        expect_shape(y, (*x.shape[:axis], *x.shape[axis + 1 :]))
        begin = tuple(index if d == axis else 0 for d in range(len(x.shape)))
        name = f"{c.name}/{index}"
        parts.append(StridedSlice(name=name, x=x, y=y, begin=begin, strides=(1,) * len(begin), shrink=(axis,)))
    return tuple(parts)


def _pack(c: Context) -> Converted:
    options, y = c.options(tflite.PackOptions), c.result()
    xs = [c.activation(index) for index in range(len(c.raw.inputs))]
    if not xs or options.ValuesCount() != len(xs):
        raise RefusedError(f"it has {len(xs)} inputs, {options.ValuesCount()} are named")
    axis = axis_of(options.Axis(), len(y.shape))
    shape = (*xs[0].shape[:axis], 1, *xs[0].shape[axis:])
    expect_shape(y, (*shape[:axis], len(xs), *shape[axis + 1 :]))
    views: list[Operator] = []
    for index, x in enumerate(xs):
        same_quantisation(x, y)
        expect_shape(x, xs[0].shape)
        views.append(Reshape(name=f"{c.name}/{index}", x=x, y=c.made(str(index), x, shape)))
    joined = Concatenation(name=c.name, xs=tuple(view.outputs[0] for view in views), y=y, axis=axis)
    return (*views, joined)


def _space_to_batch(c: Context) -> Converted:
    x, y = _blocked(c)
    block, padding = _block_and_margin(c, x)
    if any((size + more) % step for size, more, step in zip(_plane(x), _both(padding), block, strict=True)):
        raise RefusedError(f"blocks of {list(block)} do not fill its padded input")
    height, width = ((s + m) // b for s, m, b in zip(_plane(x), _both(padding), block, strict=True))
    wide, narrow = _four(c, "x", x), _four(c, "y", y)
    expect_shape(narrow, (x.shape[0] * block[0] * block[1], height, width, x.shape[-1]))
    op = SpaceToBatch(name=c.name, x=wide, y=narrow, block=block, padding=padding)
    return _between(c, x, wide, op, narrow, y)


def _batch_to_space(c: Context) -> Converted:
    x, y = _blocked(c)
    block, crop = _block_and_margin(c, x)
    if x.shape[0] % (block[0] * block[1]):
        raise RefusedError(f"{x.shape[0]} images are not divided by blocks of {list(block)}")
    height, width = (s * b - m for s, m, b in zip(_plane(x), _both(crop), block, strict=True))
    wide, narrow = _four(c, "x", x), _four(c, "y", y)
    expect_shape(narrow, (x.shape[0] // (block[0] * block[1]), height, width, x.shape[-1]))
    op = BatchToSpace(name=c.name, x=wide, y=narrow, block=block, crop=crop)
    return _between(c, x, wide, op, narrow, y)


def _blocked(c: Context) -> tuple[Tensor, Tensor]:
    c.arity((3,))
    x, y = c.activation(0), c.result()
    same_quantisation(x, y)
    if len(x.shape) not in (3, 4) or len(y.shape) != len(x.shape):
        raise RefusedError(f"tensor '{x.name}': its shape is {list(x.shape)}, three or four dimensions are expected")
    return x, y


def _block_and_margin(c: Context, x: Tensor) -> tuple[tuple[int, int], Padding]:
    """Return the block and what stands around the image; of three dimensions the one between is the width."""
    block, margin = c.integers(1), c.integers(2)
    rank = len(x.shape) - 2
    if len(block) != rank or len(margin) != 2 * rank:
        raise RefusedError(f"block {list(block)[:8]} and margins {list(margin)[:8]} do not fit {rank} dimensions")
    if any(not 1 <= size <= 4096 for size in block) or any(not 0 <= amount <= 1 << 20 for amount in margin):
        raise RefusedError(f"its block {list(block)} or its margins {list(margin)} are out of range")
    block, margin = (1, *block)[-2:], (0, 0, *margin)[-4:]
    return (block[0], block[1]), Padding(top=margin[0], bottom=margin[1], left=margin[2], right=margin[3])


def _plane(x: Tensor) -> tuple[int, int]:
    return (x.shape[1] if len(x.shape) == 4 else 1, x.shape[-2])


def _both(margin: Padding) -> tuple[int, int]:
    return margin.top + margin.bottom, margin.left + margin.right


def _four(c: Context, what: str, tensor: Tensor) -> Tensor:
    """Return a tensor of four dimensions in the place of one of three: of height 1, as Conv1D becomes a CONV_2D."""
    if len(tensor.shape) == 4:
        return tensor
    return c.made(what, tensor, (tensor.shape[0], 1, *tensor.shape[1:]))


def _between(c: Context, x: Tensor, wide: Tensor, op: Operator, narrow: Tensor, y: Tensor) -> Converted:
    before = () if wide is x else (Reshape(name=f"{c.name}/in", x=x, y=wide),)
    after = () if narrow is y else (Reshape(name=f"{c.name}/out", x=narrow, y=y),)
    return (*before, op, *after)


PARTS: Mapping[str, Callable[[Context], Converted]] = {
    "SLICE": _slice,
    "UNPACK": _unpack,
    "PACK": _pack,
    "SPACE_TO_BATCH_ND": _space_to_batch,
    "BATCH_TO_SPACE_ND": _batch_to_space,
}
