"""Operator → its definition."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from utvm.graph.definitions.definition import Definition
from utvm.graph.definitions.weighted import weighted
from utvm.graph.operators import Conv2D, DepthwiseConv2D, FullyConnected, Operator

_DEFINITIONS: Mapping[type[Operator], Callable[[Any], Definition]] = {
    Conv2D: weighted,
    DepthwiseConv2D: weighted,
    FullyConnected: weighted,
}


@lru_cache(maxsize=64)
def definition(op: Operator) -> Definition | None:
    """Return what an operator computes; None for those that are defined by their reference alone."""
    make = _DEFINITIONS.get(type(op))
    return None if make is None else make(op)
