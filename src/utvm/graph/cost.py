"""What a network costs before any code exists: its multiply-accumulates."""

from __future__ import annotations

from math import prod

from utvm.graph.graph import Graph
from utvm.graph.operators import Conv2D, DepthwiseConv2D, FullyConnected, Operator


def macs_of(op: Operator) -> int:
    """Return the multiply-accumulates of an operator with weights; 0 for every other.

    Each output element counts its whole window, the taps that fall on padding included, as is usual for MAC
    figures.
    """
    match op:
        case Conv2D():
            return op.y.elements * prod(op.weights.shape[1:])
        case DepthwiseConv2D():
            return op.y.elements * prod(op.weights.shape[1:3])
        case FullyConnected():
            return op.y.elements * op.weights.shape[1]
        case _:
            return 0


def macs(graph: Graph) -> int:
    """Return the multiply-accumulates of one inference."""
    return sum(map(macs_of, graph.operators))
