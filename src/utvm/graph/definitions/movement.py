"""Operators that move what is named by numbers, as computations."""

from __future__ import annotations

from math import prod

from utvm.compute import Const, Expr, Index, Load, Lookup, axis, call, number, where
from utvm.graph.definitions.definition import Definition, axes_of, buffer_of
from utvm.graph.definitions.frames import pointwise
from utvm.graph.formulas import CLAMP
from utvm.graph.general import Gather, GatherNd, UpdateSlice
from utvm.graph.tensor import Tensor


def gather(op: Gather) -> Definition:
    """Axes b over batches, o over what stands before the axis, j over the indices, e over what stands behind."""
    batches = prod(op.x.shape[: op.batch_dims])
    outer, size = prod(op.x.shape[op.batch_dims : op.axis]), op.x.shape[op.axis]
    inner, count = prod(op.x.shape[op.axis + 1 :]), prod(op.indices.shape[op.batch_dims :])
    axes = {"b": batches, "o": outer, "j": count, "e": inner}
    indices = Load(buffer=buffer_of("indices", op.indices, (batches, count)), index=(axis("b"), axis("j")))
    place = Index(value=(axis("b") * outer + axis("o")) * (size * inner) + axis("e"))
    value = Lookup(buffer=buffer_of("x", op.x), place=place + _inside(op.indices, indices, size) * inner)
    output = buffer_of("y", op.y, tuple(axes.values()))
    return Definition(stages=(pointwise(axes, value, output),), inputs={"x": op.x, "indices": op.indices})


def gather_nd(op: GatherNd) -> Definition:
    """Axes j over the places that are named, e over what each of them holds."""
    named = op.indices.shape[-1]
    count, inner = prod(op.indices.shape[:-1]), prod(op.x.shape[named:])
    axes = {"j": count, "e": inner}
    buffer = buffer_of("indices", op.indices, (count, named))
    place: Expr = Index(value=axis("e"))
    for k, size in enumerate(op.x.shape[:named]):
        each = Load(buffer=buffer, index=(axis("j"), number(k)))
        place = place + _inside(op.indices, each, size) * prod(op.x.shape[k + 1 :])
    value = Lookup(buffer=buffer_of("x", op.x), place=place)
    output = buffer_of("y", op.y, tuple(axes.values()))
    return Definition(stages=(pointwise(axes, value, output),), inputs={"x": op.x, "indices": op.indices})


def update_slice(op: UpdateSlice) -> Definition:
    """Axes d over dimensions. Where a point lies in the part, it is read from there."""
    axes = axes_of(op.y.shape)
    inside: Expr = Const(value=1)
    place: Expr = Const(value=0)
    for k, (size, wide) in enumerate(zip(op.part.shape, op.x.shape, strict=True)):
        first = Load(buffer=buffer_of("start", op.start), index=(number(k),))
        behind = Index(value=axis(f"d{k}")) - call(CLAMP, first, 0, wide - size)
        inside = inside & (behind >= 0) & (behind < size)
        place = place * size + call(CLAMP, behind, 0, size - 1)
    old = Load(buffer=buffer_of("x", op.x), index=tuple(axis(name) for name in axes))
    value = where(inside, Lookup(buffer=buffer_of("part", op.part), place=place), old)
    return Definition(
        stages=(pointwise(axes, value, buffer_of("y", op.y)),),
        inputs={"x": op.x, "part": op.part, "start": op.start},
    )


def _inside(indices: Tensor, index: Expr, size: int) -> Expr:
    """Return an index that is surely inside: those known when compiling are checked at import."""
    return index if indices.is_constant else call(CLAMP, index, 0, size - 1)
