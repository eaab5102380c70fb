"""Padding of every mode: with a value, mirrored, with the last pixel, and around."""

from __future__ import annotations

from collections.abc import Sequence

from utvm.frontends.builder import GraphBuilder
from utvm.frontends.refusal import RefusedError
from utvm.graph import StridedSlice, Tensor

MODES = ("constant", "reflect", "edge", "wrap")


def cut(b: GraphBuilder, x: Tensor, axis: int, start: int, length: int, step: int = 1) -> Tensor:
    """Return `length` places of one dimension, from `start` on."""
    if length == x.shape[axis] and step == 1:
        return x
    begin, strides, shape = [0] * len(x.shape), [1] * len(x.shape), list(x.shape)
    begin[axis], strides[axis], shape[axis] = start, step, length
    return b.add(StridedSlice, tuple(shape), "cut", x.dtype, x=x, begin=tuple(begin), strides=tuple(strides))


def bordered(b: GraphBuilder, x: Tensor, around: Sequence[tuple[int, int]], mode: str, value: float = 0.0) -> Tensor:
    """Return x with (before, after) more places along each dimension; less where these are negative.

    Args:
        mode: of numpy.pad: constant, reflect, edge or wrap.
        value: what a constant border has.
    """
    for axis, (before, after) in enumerate(around):
        if min(before, after) < 0:
            first, last = max(0, -before), max(0, -after)
            if first + last >= x.shape[axis]:
                raise RefusedError(f"it cuts all {x.shape[axis]} places of dimension {axis}")
            x = cut(b, x, axis, first, x.shape[axis] - first - last)
    around = [(max(before, 0), max(after, 0)) for before, after in around]
    if mode == "constant":
        return b.pad(x, around, value)
    for axis, (before, after) in enumerate(around):
        size = x.shape[axis]
        if max(before, after) > {"reflect": size - 1, "wrap": size, "edge": 1024}[mode]:
            raise RefusedError(f"its pads {before}, {after} are too large for {size} places")
        parts = [x]
        if mode == "edge":
            parts = [cut(b, x, axis, 0, 1)] * before + parts + [cut(b, x, axis, size - 1, 1)] * after
        elif mode == "reflect":
            parts = [*([cut(b, x, axis, before, before, -1)] if before else []), *parts]
            parts += [cut(b, x, axis, size - 2, after, -1)] if after else []
        else:
            parts = [*([cut(b, x, axis, size - before, before)] if before else []), *parts]
            parts += [cut(b, x, axis, 0, after)] if after else []
        x = b.concatenation(parts, axis)
    return x


def rolled(b: GraphBuilder, x: Tensor, axis: int, shift: int) -> Tensor:
    """Return x with its places moved around along one dimension."""
    size = x.shape[axis]
    first = -shift % size
    return b.concatenation([cut(b, x, axis, first, size - first), cut(b, x, axis, 0, first)], axis) if first else x
