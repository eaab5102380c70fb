"""Runs of memory that start within a word, in each step elsewhere: read so that steps share their code.

Row t of a matrix of 6 bytes a row starts at byte 6 t. A kernel that copies it out is made for one start, so that each
step had its own. What starts equally far within a word is copied by one kernel, from a view that starts at the word.
"""

from __future__ import annotations

import dataclasses
from collections import Counter

from utvm.graph import Graph, Operator, Reshape, StridedSlice, Tensor
from utvm.graph.names import Names
from utvm.lowering.views import WORD, run_start

_FEWEST = 4
"""Equal runs of a tensor within words: fewer are no steps."""


def with_windows(graph: Graph) -> Graph:
    """Return a graph in which steps copy runs of a tensor by one kernel for each start within a word."""
    starts = {
        op: start
        for op in graph.operators
        if isinstance(op, StridedSlice) and (start := _start_within_word(graph, op)) is not None
    }
    counts = Counter((op.x, op.y.shape) for op in starts)
    if not any(count >= _FEWEST for count in counts.values()):
        return graph
    names = Names(tensor.name for tensor in graph.tensors)
    flat: dict[Tensor, Tensor] = {}
    operators: list[Operator] = []
    for op in graph.operators:
        if not isinstance(op, StridedSlice) or op not in starts or counts[op.x, op.y.shape] < _FEWEST:
            operators.append(op)
            continue
        if op.x not in flat:
            flat[op.x] = _line(op.x, names, op.x.elements)
            operators.append(Reshape(name=flat[op.x].name, x=op.x, y=flat[op.x]))
        lead = starts[op] % WORD // op.x.dtype.itemsize
        begin = starts[op] // op.x.dtype.itemsize - lead
        window = _line(op.y, names, lead + op.y.elements)
        run = _line(op.y, names, op.y.elements)
        operators += [
            StridedSlice(name=window.name, x=flat[op.x], y=window, begin=(begin,), strides=(1,)),
            StridedSlice(name=op.name, x=window, y=run, begin=(lead,), strides=(1,)),
            Reshape(name=run.name, x=run, y=op.y),
        ]
    return dataclasses.replace(graph, operators=tuple(operators))


def _start_within_word(graph: Graph, op: StridedSlice) -> int | None:
    """Return the byte at which a run starts within a word; None for what is none, or is kept."""
    start = None if op.y in graph.kept else run_start(op)
    return None if start is None or start % WORD == 0 else start


def _line(like: Tensor, names: Names, elements: int) -> Tensor:
    return Tensor(name=names.fresh(f"{like.name}/line"), shape=(elements,), dtype=like.dtype, quant=like.quant)
