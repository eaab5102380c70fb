"""Fuse activations into the clamp of the operator before them."""

from __future__ import annotations

import dataclasses

import numpy as np

from utvm.graph import (
    Add,
    AveragePool2D,
    Graph,
    LeakyRelu,
    MaxPool2D,
    Mul,
    Operator,
    Quantize,
    Relu,
    Relu6,
    Sub,
    Weighted,
)
from utvm.passes._edit import is_int8, same_units, table

Requantizing = Weighted | Add | Sub | Mul
Clamping = Requantizing | MaxPool2D | AveragePool2D
Activation = Relu | Relu6 | LeakyRelu | Quantize


def fuse_activations(graph: Graph) -> Graph:
    """Return the graph with Relu, Relu6 and their like fused into their producers, where that is exact.

    The activation must be the only reader of its input, and its table over all values that the producer can
    make must be a clamp. A producer that requantises adds y's zero point last, so it also takes over a
    change of zero point; but never one of scale: both results would be rounded, the fused one only once. (A
    Relu between tensors of equal scale rescales by exactly one, which the fixed-point multiply returns
    unchanged.) A pool returns x's own units, so there both units have to agree.
    """
    while (fused := _fuse_first(graph)) is not None:
        graph = fused
    return graph


def _fuse_first(graph: Graph) -> Graph | None:
    for op in graph.operators:
        producer = graph.producers.get(op.x) if isinstance(op, Activation) else None
        if not isinstance(op, Activation) or not isinstance(producer, Clamping):
            continue
        if graph.consumers[op.x] != (op,) or op.x in graph.kept or op.x.shape != op.y.shape:
            continue
        fused = _fused(producer, op)
        if fused is not None:
            rest = [fused if other is producer else other for other in graph.operators if other is not op]
            return graph.rewrite(rest)
    return None


def _fused(producer: Clamping, op: Activation) -> Operator | None:
    if not (is_int8(op.x) and is_int8(op.y)) or op.x.scale != op.y.scale:
        return None
    if not isinstance(producer, Requantizing) and not same_units(op.x, op.y):
        return None
    shift = op.y.zero_point - op.x.zero_point
    low, high = producer.clamp
    possible = table(op).astype(np.int64)[low + 128 : high + 129]
    clamp = int(possible.min()), int(possible.max())
    if not np.array_equal(possible, np.clip(np.arange(low, high + 1) + shift, *clamp)):
        return None
    return dataclasses.replace(producer, y=op.y, clamp=clamp)
