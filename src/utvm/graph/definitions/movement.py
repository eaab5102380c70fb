"""Operators that move what is named by numbers, as computations."""

from __future__ import annotations

from math import prod

from utvm.compute import Expr, Index, Load, Lookup, axis, call, number
from utvm.graph.definitions.definition import Definition, buffer_of
from utvm.graph.definitions.elementwise import pointwise
from utvm.graph.formulas import CLAMP
from utvm.graph.general import Gather, GatherNd
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


def _inside(indices: Tensor, index: Expr, size: int) -> Expr:
    """Return an index that is surely inside: those known when compiling are checked at import."""
    return index if indices.is_constant else call(CLAMP, index, 0, size - 1)
