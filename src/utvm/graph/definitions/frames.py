"""Computations of any type by what they run over: points, dimensions, windows, rows; their formulas are arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from utvm.compute import Buffer, Compute, Const, Expr, Load, Reduced, axis, number
from utvm.compute.expressions import Combine
from utvm.graph.definitions.definition import Constants, Definition, axes_of, broadcast_load, buffer_of
from utvm.graph.operators import AveragePool2D, MaxPool2D, Softmax
from utvm.graph.tensor import Tensor

INTEGER, FLOAT = "int32_t", "float"
NOTHING = Const(value=0)


def pointwise(axes: Mapping[str, int], value: Expr, output: Buffer, c_type: str = INTEGER) -> Compute:
    """Return a computation without a sum that writes each point of `axes` at its place."""
    return Compute(
        space=axes,
        reduce={},
        init=NOTHING,
        term=NOTHING,
        epilogue=value,
        output=output,
        index=tuple(axis(name) for name in axes),
        c_type=c_type,
    )


def of_each(function: Callable[[Any, Expr], Expr], c_type: str = INTEGER) -> Callable[[Any], Definition]:
    """Return what defines operators y = function(op, x), element by element."""

    def define(op: Any) -> Definition:
        axes = axes_of((op.y.elements,))
        x = Load(buffer=buffer_of("x", op.x, (op.x.elements,)), index=(axis("d0"),))
        output = buffer_of("y", op.y, (op.y.elements,))
        return Definition(stages=(pointwise(axes, function(op, x), output, c_type),), inputs={"x": op.x})

    return define


def broadcast(
    operands: Mapping[str, Tensor], y: Tensor, function: Callable[[Sequence[Load]], Expr], c_type: str = INTEGER
) -> Definition:
    """Return y = function(elements of the operands) by numpy's broadcasting; `operands` are buffer → tensor."""
    axes = axes_of(y.shape)
    loads = [broadcast_load(name, tensor, list(axes), y.shape) for name, tensor in operands.items()]
    return Definition(stages=(pointwise(axes, function(loads), buffer_of("y", y), c_type),), inputs=operands)


def over_dimensions(
    op: Any,
    combine: Combine,
    init: float,
    *,
    term: Callable[[Load, Any], Expr] = lambda x, _: x,
    result: Expr | None = None,
    output: Buffer | None = None,
    c_type: str = INTEGER,
) -> Compute:
    """Return a combination over the dimensions `op.axes` of `op.x`: an axis r for each, d for those that are kept.

    Args:
        op: an operator with x, axes and y.
        combine: how terms are combined.
        init: what the combination starts from.
        term: an element and its place among those that are combined, row by row → what is combined.
        result: the value of the output, with `Reduced` for the combination, which is all of it by default.
        output: what is written; y by default.
        c_type: of the combination.
    """
    shape = op.x.shape
    kept = {f"d{d}": size for d, size in enumerate(shape) if d not in op.axes}
    index = tuple(axis(f"r{d}" if d in op.axes else f"d{d}") for d in range(len(shape)))
    place = number(0)
    for d in op.axes:
        place = place * shape[d] + axis(f"r{d}")
    return Compute(
        space=kept,
        reduce={f"r{d}": shape[d] for d in op.axes},
        combine=combine,
        init=Const(value=init),
        term=term(Load(buffer=buffer_of("x", op.x), index=index), place),
        epilogue=Reduced() if result is None else result,
        output=buffer_of("y", op.y, tuple(kept.values())) if output is None else output,
        index=tuple(axis(name) for name in kept),
        c_type=c_type,
    )


def pooled(
    op: MaxPool2D | AveragePool2D, combine: Combine, outside: float, value: Expr, c_type: str = INTEGER
) -> Compute:
    """Return a combination of the pixels of each window: axes n, oy, ox, c over the output; ky, kx."""
    batch, rows, columns, channels = op.y.shape
    y = axis("oy") * op.stride[0] + axis("ky") + -op.padding.top
    x = axis("ox") * op.stride[1] + axis("kx") + -op.padding.left
    space = {"n": batch, "oy": rows, "ox": columns, "c": channels}
    return Compute(
        space=space,
        reduce={"ky": op.filter[0], "kx": op.filter[1]},
        combine=combine,
        init=Const(value=outside),
        term=Load(buffer=buffer_of("x", op.x), index=(axis("n"), y, x, axis("c")), outside=outside),
        epilogue=value,
        output=buffer_of("y", op.y),
        index=tuple(axis(name) for name in space),
        c_type=c_type,
    )


def pixels_inside(op: AveragePool2D, c_type: str = INTEGER) -> tuple[Expr, Constants]:
    """Return how many pixels of a window lie inside the input: a number, or rows times columns out of tables."""
    dtype = np.float32 if c_type == FLOAT else np.int32
    counts = {name: _inside(op, d).astype(dtype) for d, name in enumerate(("rows", "columns"))}
    if all((values == values[0]).all() for values in counts.values()):
        return Const(value=(counts["rows"][0] * counts["columns"][0]).item()), {}
    rows, columns = (
        Load(buffer=Buffer(name=name, c_type=c_type, shape=values.shape), index=(axis(place),))
        for (name, values), place in zip(counts.items(), ("oy", "ox"), strict=True)
    )
    return rows * columns, counts


def _inside(op: AveragePool2D, dimension: int) -> Any:
    """Return how many rows or columns of each window are inside the input."""
    before = (op.padding.top, op.padding.left)[dimension]
    first = np.arange(op.y.shape[1 + dimension]) * op.stride[dimension] - before
    last = np.minimum(first + op.filter[dimension], op.x.shape[1 + dimension])
    return last - np.maximum(first, 0)


def softmax(
    op: Softmax,
    lowest: float,
    power: Callable[[Expr], Expr],
    share: Callable[[Expr, Expr], Expr],
    powers_type: str,
    c_type: str = INTEGER,
) -> Definition:
    """Return four stages: the largest of a row, powers, their sum, shares.

    Args:
        op: the operator.
        lowest: what no element is below.
        power: the difference of an element to the largest → its power.
        share: a power and the sum of all → the result.
        powers_type: of a power that is stored.
        c_type: of sums and of all arithmetic.
    """
    size = op.x.shape[-1] if op.x.shape else 1
    rows = op.x.elements // size
    every = {"d0": rows, "d1": size}
    most, total = (Buffer(name=name, c_type=c_type, shape=(rows,)) for name in ("most", "total"))
    powers = Buffer(name="powers", c_type=powers_type, shape=(rows, size))

    def at(buffer: Buffer, *names: str) -> Load:
        return Load(buffer=buffer, index=tuple(axis(n) for n in names))

    def over(combine: Combine, init: float, term: Expr, output: Buffer) -> Compute:
        return Compute(
            space={"d0": rows},
            reduce={"d1": size},
            combine=combine,
            init=Const(value=init),
            term=term,
            epilogue=Reduced(),
            output=output,
            index=(axis("d0"),),
            c_type=c_type,
        )

    x, each = at(buffer_of("x", op.x, (rows, size)), "d0", "d1"), at(powers, "d0", "d1")
    return Definition(
        stages=(
            over("max", lowest, x, most),
            pointwise(every, power(x - at(most, "d0")), powers, c_type),
            over("sum", 0.0 if c_type == FLOAT else 0, each, total),
            pointwise(every, share(each, at(total, "d0")), buffer_of("y", op.y, (rows, size)), c_type),
        ),
        inputs={"x": op.x},
    )
