"""Evaluate operators that read nothing but constants."""

from __future__ import annotations

import dataclasses

from utvm.graph import Graph, Operator, Tensor
from utvm.passes._edit import compute


def fold_constants(graph: Graph) -> Graph:
    """Return the graph with constant operators replaced by their results, which keep name and quantisation.

    Also where the result is the larger one, as after a Resize: kernels read constants as weights and second operands
    only. Results that only folded operators read are not kept.
    """
    known: dict[Tensor, Tensor] = {}
    kept: list[Operator] = []
    for op in graph.operators:
        folded = op.with_tensors(known)
        if all(tensor.is_constant for tensor in folded.inputs):
            for tensor, value in compute(folded).items():
                known[tensor] = dataclasses.replace(tensor, data=value)
        else:
            kept.append(op)
    return graph.rewrite(kept, tensors=known) if known else graph
