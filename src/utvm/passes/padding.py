"""Fold Pad into the padding of the convolutions and pools that read it."""

from __future__ import annotations

import dataclasses

from utvm.graph import (
    AveragePool2D,
    Conv2D,
    DepthwiseConv2D,
    DType,
    Graph,
    MaxPool2D,
    Operator,
    Pad,
    Padding,
    Tensor,
)
from utvm.passes._edit import same_units, value_range


def fold_padding(graph: Graph) -> Graph:
    """Return the graph without each Pad of height and width whose readers can all pad exactly so themselves.

    - Conv2D, DepthwiseConv2D pad with x's zero point: the Pad's value has to be that.
    - MaxPool2D leaves padding out: exact if the value can't win a maximum that matters (it is at most the
      least value of x or of the pool's clamp) and every window holds at least one pixel of x.
    - AveragePool2D divides by the number of pixels inside x, while a Pad's pixels count: exact only if no
      window touches the Pad, that is for padding behind the last window at the bottom and right.

    A Pad that is a graph output or has another reader stays for all of them: folding it for some would only
    keep both tensors alive.
    """
    while (folded := _fold_first(graph)) is not None:
        graph = folded
    return graph


def _fold_first(graph: Graph) -> Graph | None:
    for op in graph.operators:
        if not isinstance(op, Pad) or op.y in graph.kept or not graph.consumers[op.y]:
            continue
        if len(op.paddings) != 4 or any(op.paddings[0] + op.paddings[3]) or not same_units(op.x, op.y):
            continue
        folded: dict[Operator, Operator] = {}
        for consumer in graph.consumers[op.y]:
            padded = _padded(graph, op, consumer)
            if padded is None:
                break
            folded[consumer] = padded
        else:
            return graph.rewrite(folded.get(other, other) for other in graph.operators if other is not op)
    return None


def _padded(graph: Graph, pad: Pad, op: Operator) -> Operator | None:
    if not isinstance(op, Conv2D | DepthwiseConv2D | MaxPool2D | AveragePool2D):
        return None
    own, (top, bottom), (left, right) = op.padding, pad.paddings[1], pad.paddings[2]
    padding = Padding(top=own.top + top, bottom=own.bottom + bottom, left=own.left + left, right=own.right + right)
    match op:
        case Conv2D() | DepthwiseConv2D():
            exact = pad.value == pad.x.zero_point and pad.y not in (op.weights, op.bias)
        case MaxPool2D():
            floor = value_range(graph, pad.x)[0]
            if op.y.dtype is DType.INT8:
                floor = max(op.clamp[0], floor)
            exact = pad.value <= floor and all(
                first < size and last >= 0
                for size, windows in zip(pad.x.shape[1:3], _windows(op, padding), strict=True)
                for first, last in windows
            )
        case AveragePool2D():
            exact = all(
                (before == 0 or first >= 0) and (after == 0 or last < size)
                for size, windows, (before, after) in zip(
                    pad.x.shape[1:3], _windows(op, padding), pad.paddings[1:3], strict=True
                )
                for first, last in windows
            )
    return dataclasses.replace(op, x=pad.x, padding=padding) if exact else None


def _windows(op: MaxPool2D | AveragePool2D, padding: Padding) -> tuple[list[tuple[int, int]], ...]:
    """Return the first and last row, and column, of each window, in x's coordinates."""
    y: Tensor = op.y
    return tuple(
        [(i * stride - before, i * stride - before + size - 1) for i in range(extent)]
        for extent, stride, before, size in zip(
            y.shape[1:3], op.stride, (padding.top, padding.left), op.filter, strict=True
        )
    )
