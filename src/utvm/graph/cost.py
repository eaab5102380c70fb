"""What a network costs before any code exists: its multiply-accumulates."""

from __future__ import annotations

from utvm.compute import access
from utvm.graph.definitions import definition
from utvm.graph.graph import Graph
from utvm.graph.operators import Operator
from utvm.graph.recurrent import Lstm


def macs_of(op: Operator) -> int:
    """Return the multiply-accumulates of an operator that sums products of what it reads; 0 for every other.

    Each output element counts its whole window, the taps that fall on padding included, as is usual for MAC
    figures.
    """
    if isinstance(op, Lstm):
        return op.macs
    defined = definition(op)
    return 0 if defined is None else sum(access.macs(stage) for stage in defined.stages)


def macs(graph: Graph) -> int:
    """Return the multiply-accumulates of one inference."""
    return sum(map(macs_of, graph.operators))
