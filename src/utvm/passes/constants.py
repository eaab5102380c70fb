"""Evaluate operators that read nothing but constants."""

from __future__ import annotations

import dataclasses

from utvm.graph import Graph, Operator, Reshape, Tensor
from utvm.graph.names import Names
from utvm.passes._edit import compute


def fold_constants(graph: Graph) -> Graph:
    """Return the graph with constant operators replaced by their results, which keep name and quantisation.

    Also where the result is the larger one, as after a Resize: kernels read constants as weights and second operands
    only. Results that only folded operators read are not kept. An output that is known is copied from a constant, since
    callers read outputs from the arena.
    """
    known: dict[Tensor, Tensor] = {}
    kept: list[Operator] = []
    for op in graph.operators:
        folded = op.with_tensors(known)
        if isinstance(op, Reshape) and op.x.is_constant and op.y in graph.outputs:
            kept.append(op)
        elif all(tensor.is_constant for tensor in folded.inputs):
            for tensor, value in compute(folded).items():
                known[tensor] = dataclasses.replace(tensor, data=value)
        else:
            kept.append(op)
    made = graph.rewrite(kept, tensors=known) if known else graph
    return _with_copies(made) if any(tensor.is_constant for tensor in made.outputs) else made


def _with_copies(graph: Graph) -> Graph:
    """Return the graph with outputs that are constants copied from these, which other operators go on reading."""
    names = Names((*(t.name for t in graph.tensors), *(op.name for op in graph.operators)))
    copies: dict[Tensor, Operator] = {}
    for tensor in graph.outputs:
        if tensor.is_constant and tensor not in copies:
            value = dataclasses.replace(tensor, name=names.fresh(f"{tensor.name}/value"))
            copied = dataclasses.replace(tensor, data=None)
            copies[tensor] = Reshape(name=names.fresh(f"{tensor.name}/copy"), x=value, y=copied)
    values = {tensor: copy.inputs[0] for tensor, copy in copies.items()}
    operators = (*(op.with_tensors(values) for op in graph.operators), *copies.values())
    outputs = tuple(copies[t].outputs[0] if t in copies else t for t in graph.outputs)
    return dataclasses.replace(graph, operators=operators, outputs=outputs)
