"""Evaluate operators that read nothing but constants."""

from __future__ import annotations

import dataclasses

from utvm.graph import Graph, Operator, Tensor
from utvm.passes._edit import compute

GROWTH_LIMIT = 16 * 1024
"""Bytes up to which a folded result may be larger than the constants that it replaces."""


def fold_constants(graph: Graph) -> Graph:
    """Return the graph with constant operators replaced by their results, which keep name and quantisation.

    An operator stays if its result is larger than its inputs and than `GROWTH_LIMIT`: flash would hold what a
    Pad or a Resize makes cheaply.
    """
    known: dict[Tensor, Tensor] = {}
    kept: list[Operator] = []
    for op in graph.operators:
        folded = op.with_tensors(known)
        size = sum(tensor.nbytes for tensor in op.outputs)
        worthwhile = size <= max(GROWTH_LIMIT, sum(tensor.nbytes for tensor in folded.inputs))
        if all(tensor.is_constant for tensor in folded.inputs) and worthwhile:
            for tensor, value in compute(folded).items():
                known[tensor] = dataclasses.replace(tensor, data=value)
        else:
            kept.append(op)
    return graph.rewrite(kept, tensors=known) if known else graph
