"""What several passes need: evaluating one operator, the table of an operator on int8, ranges, bypassing."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.graph import FULL_INT8, DType, Graph, Operator, Reshape, StridedSlice, Tensor, Transpose
from utvm.graph.reference import evaluate

INT8_VALUES: NDArray[np.int8] = np.arange(-128, 128).astype(np.int8)


def compute(op: Operator, values: Mapping[Tensor, NDArray[Any]] | None = None) -> dict[Tensor, NDArray[Any]]:
    """Return the outputs of one operator by the reference; `values` holds what is not a constant."""
    alone = Graph(name=op.name, operators=(op,), inputs=tuple(dict.fromkeys(op.activations)), outputs=op.outputs)
    results = evaluate(alone, {tensor.name: value for tensor, value in (values or {}).items()})
    return {tensor: results[tensor.name] for tensor in op.outputs}


def table(op: Operator, field: str = "x") -> NDArray[np.int8]:
    """Return what an elementwise int8 operator with one int8 result makes of -128 … 127, in this order.

    `field` names the operand that runs through the values; other operands have to be constants of one
    element.
    """
    shape = (len(INT8_VALUES),)
    x = dataclasses.replace(getattr(op, field), name="x", shape=shape, data=None)
    y = dataclasses.replace(op.outputs[0], name="y", shape=shape)
    probe: Operator = dataclasses.replace(op, **{field: x, op.output_fields[0]: y})
    return compute(probe, {x: INT8_VALUES})[y]


def value_range(graph: Graph, tensor: Tensor) -> tuple[float, float]:
    """Return bounds of a tensor's values: of int8 as far as its producer's clamp tells them."""
    if tensor.dtype is not DType.INT8:
        return -math.inf, math.inf
    producer = graph.producers.get(tensor)
    while isinstance(producer, Reshape | Transpose | StridedSlice):
        producer = graph.producers.get(producer.x)
    clamp: tuple[int, int] = getattr(producer, "clamp", FULL_INT8)
    return max(clamp[0], FULL_INT8[0]), min(clamp[1], FULL_INT8[1])


def same_units(a: Tensor, b: Tensor) -> bool:
    """Whether the same number means the same in both tensors: equal type, scale and zero point."""
    if a.dtype is not b.dtype:
        return False
    if a.quant is None or b.quant is None:
        return a.quant is b.quant
    return (a.quant.scale, a.quant.zero_point) == (b.quant.scale, b.quant.zero_point)


def is_int8(tensor: Tensor) -> bool:
    """Whether a tensor is int8 with one scale."""
    return tensor.dtype is DType.INT8 and tensor.quant is not None and len(tensor.quant.scale) == 1


def bypass(graph: Graph, op: Operator, x: Tensor, y: Tensor) -> Graph | None:
    """Return the graph without `op`, whose output y always equals x; None if x and y are both the caller's.

    Graph inputs and outputs stay: where y is an output, x's producer makes y.
    """
    rest = [other for other in graph.operators if other is not op]
    if y not in graph.kept:
        return graph.rewrite(rest, tensors={y: x})
    if x in graph.producers and x not in graph.kept:
        return graph.rewrite(rest, tensors={x: y})
    return None
