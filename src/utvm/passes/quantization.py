"""Remove the detour int8 → float32 → int8."""

from __future__ import annotations

import dataclasses

import numpy as np

from utvm.graph import Dequantize, Graph, Operator, Quantize
from utvm.passes._edit import compute, is_int8, same_units, table


def merge_quantization(graph: Graph) -> Graph:
    """Return the graph in which a Quantize that reads a Dequantize reads the int8 tensor before it.

    Done only where the integer rescale gives the detour's result for all 256 values; with equal parameters
    the Quantize then is an identity, which `remove_copies` takes away. The Dequantize stays where its
    floats are read.
    """
    operators: list[Operator] = []
    for op in graph.operators:
        first = graph.producers.get(op.x) if isinstance(op, Quantize) else None
        if isinstance(op, Quantize) and isinstance(first, Dequantize):
            direct = dataclasses.replace(op, x=first.x)
            if is_int8(first.x) and is_int8(op.y) and _is_exact(first, op, direct):
                operators.append(direct)
                continue
        operators.append(op)
    unchanged = all(a is b for a, b in zip(operators, graph.operators, strict=True))
    return graph if unchanged else graph.rewrite(operators)


def _is_exact(first: Dequantize, second: Quantize, direct: Quantize) -> bool:
    floats = table(first)
    x = dataclasses.replace(second.x, name="x", shape=floats.shape)
    y = dataclasses.replace(second.y, name="y", shape=floats.shape)
    detour = compute(Quantize(name=second.name, x=x, y=y), {x: floats})[y]
    if same_units(first.x, second.y):
        return np.array_equal(detour, np.arange(-128, 128))
    return np.array_equal(detour, table(direct))
