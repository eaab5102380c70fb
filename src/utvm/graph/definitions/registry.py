"""Operator → its definition."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from utvm.graph.definitions.definition import Definition
from utvm.graph.definitions.elementwise_operators import cumulative_sum, elementwise, reduction
from utvm.graph.definitions.fixed_point import average_pool, binary, max_pool, mean
from utvm.graph.definitions.floating import FLOATING
from utvm.graph.definitions.movement import gather, gather_nd, update_slice
from utvm.graph.definitions.products import batch_matmul
from utvm.graph.definitions.recurrent import shift_in, svdf_feature, svdf_time
from utvm.graph.definitions.weighted_operators import weighted
from utvm.graph.definitions.wide import WIDE
from utvm.graph.general import BatchMatMul, CumulativeSum, Elementwise, Gather, GatherNd, Reduction, UpdateSlice
from utvm.graph.operators import (
    Add,
    AveragePool2D,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    MaxPool2D,
    Mean,
    Mul,
    Operator,
    Sub,
)
from utvm.graph.recurrent import ShiftIn, SvdfFeature, SvdfTime
from utvm.graph.tensor import DType

_DEFINITIONS: Mapping[type[Operator], Callable[[Any], Definition]] = {
    Conv2D: weighted,
    DepthwiseConv2D: weighted,
    FullyConnected: weighted,
    Add: binary,
    Sub: binary,
    Mul: binary,
    MaxPool2D: max_pool,
    AveragePool2D: average_pool,
    Mean: mean,
    Elementwise: elementwise,
    Reduction: reduction,
    CumulativeSum: cumulative_sum,
    Gather: gather,
    GatherNd: gather_nd,
    BatchMatMul: batch_matmul,
    UpdateSlice: update_slice,
    SvdfFeature: svdf_feature,
    ShiftIn: shift_in,
    SvdfTime: svdf_time,
}


@lru_cache(maxsize=64)
def definition(op: Operator) -> Definition | None:
    """Return what an operator computes; None for those that are defined by their reference alone."""
    make = _apart(op) or _DEFINITIONS.get(type(op))
    return None if make is None else make(op)


def defined_apart(op: Operator) -> bool:
    """Whether an operator has a definition for the types of its tensors that is not that of int8."""
    return _apart(op) is not None


def _apart(op: Operator) -> Callable[[Any], Definition] | None:
    # Weights of int16 beside int8 (those with a zero point) change no meaning: activations do.
    parameters = (getattr(op, "weights", None), getattr(op, "bias", None))
    if any(t.dtype is DType.INT16 for t in (*op.inputs, *op.outputs) if t not in parameters):
        return WIDE.get(type(op))
    return FLOATING.get(type(op)) if computes_in_float(op) else None


def computes_in_float(op: Operator) -> bool:
    """Whether an operator reads or makes float32."""
    return any(t.dtype is DType.FLOAT32 for t in (*op.inputs, *op.outputs))
