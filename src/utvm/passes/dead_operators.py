"""Remove operators whose results nobody reads."""

from __future__ import annotations

from utvm.graph import Graph, Operator


def remove_dead_operators(graph: Graph) -> Graph:
    """Return the graph with only the operators that an output depends on. Graph inputs stay, read or not."""
    needed = set(graph.kept)
    kept: list[Operator] = []
    for op in reversed(graph.operators):
        if any(tensor in needed for tensor in op.outputs):
            kept.append(op)
            needed.update(op.inputs)
    return graph if len(kept) == len(graph.operators) else graph.rewrite(reversed(kept))
