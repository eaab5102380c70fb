"""Write a convolution as the kind that it is: fast kernels are made for kinds, not for special cases of others."""

from __future__ import annotations

import dataclasses
from typing import Any

from utvm.graph import Conv2D, DepthwiseConv2D, Graph, Operator, Tensor
from utvm.graph.names import Names


def plain_convolutions(graph: Graph) -> Graph:
    """Return the graph with convolutions of one input channel a group in the form that their sums have.

    - A Conv2D whose groups, more than one, have one input channel each is a depthwise convolution.
    - A DepthwiseConv2D of one input channel and several output channels is an ordinary convolution.
    """
    while (changed := _change_first(graph)) is not None:
        graph = changed
    return graph


def _change_first(graph: Graph) -> Graph | None:
    for op in graph.operators:
        if isinstance(op, Conv2D) and op.groups == op.x.shape[3] > 1:
            other: Operator = DepthwiseConv2D(**_fields(op, _transposed(graph, op, axis=3)))
        elif isinstance(op, DepthwiseConv2D) and op.x.shape[3] == 1 and op.y.shape[3] > 1:
            other = Conv2D(**_fields(op, _transposed(graph, op, axis=0)))
        else:
            continue
        return graph.rewrite(other if each is op else each for each in graph.operators)
    return None


def _fields(op: Conv2D | DepthwiseConv2D, weights: Tensor) -> dict[str, Any]:
    """Return the fields of both kinds, with other weights."""
    kept = {field.name: getattr(op, field.name) for field in dataclasses.fields(op)}
    return {**kept, "weights": weights}


def _transposed(graph: Graph, op: Conv2D | DepthwiseConv2D, *, axis: int) -> Tensor:
    """Return [OC, KH, KW, 1] as [1, KH, KW, OC] or the other way; `axis` is that of the output channels then."""
    weights = op.weights
    values = weights.values.transpose(3, 1, 2, 0)
    quant = weights.quant
    if quant is not None and quant.axis is not None:
        quant = dataclasses.replace(quant, axis=axis)
    shared = len(graph.consumers[weights]) > 1
    name = Names(t.name for t in graph.tensors).fresh(weights.name) if shared else weights.name
    return dataclasses.replace(weights, name=name, shape=values.shape, data=values.copy(), quant=quant)
