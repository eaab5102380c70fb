"""Operators that compute the same, as the steps of a loop that is written out do."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterable
from typing import Any

from utvm.graph.operators import Operator
from utvm.graph.tensor import Tensor


def first_alike(operators: Iterable[Operator]) -> tuple[Operator, ...]:
    """Return for each operator the first that computes the same on other activations.

    Both have the same attributes, constants, shapes, types and units. What is made of one of them serves the other.
    """
    known: dict[Hashable, Operator] = {}
    return tuple(known.setdefault(_form(op), op) for op in operators)


def _form(op: Operator) -> Hashable:
    places: dict[Tensor, int] = {}

    def form(value: Any) -> Hashable:
        if isinstance(value, tuple):
            return tuple(form(each) for each in value)
        if isinstance(value, float):
            return value.hex()  # which tells -0.0 from 0.0
        if not isinstance(value, Tensor) or value.is_constant:
            same: Hashable = value
            return same
        # An operator that reads a tensor twice is no operator that reads two.
        return places.setdefault(value, len(places)), value.shape, value.dtype, value.quant

    found: Hashable = (type(op), *(form(getattr(op, f.name)) for f in dataclasses.fields(op) if f.name != "name"))
    try:
        hash(found)
    except TypeError:
        return op
    return found
