"""Values of int32 in a float network: identifiers that name rows of a table, and places of maxima."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.frontends.activations import elementwise
from utvm.frontends.builder import GraphBuilder
from utvm.frontends.refusal import RefusedError
from utvm.graph import DType, Gather, Tensor
from utvm.graph.arithmetic import integer_range

WHOLE_NAMES = ("int64", "int32", "int16", "int8", "uint8")
"""Types of a framework's inputs that become int32, where more than a cast to floats is done with them."""
MOST_CLASSES = 4096
"""Of identifiers that become rows with one 1."""
COMPUTED_ALONE = (
    "it computes with integers (identifiers or places of maxima); they may be moved, looked up in tables, compared, "
    "added, multiplied, cast to floats, or given out"
)
"""Why other operators on int32 are refused."""


def is_whole(value: Any) -> bool:
    """Whether a value is an activation of integers."""
    return isinstance(value, Tensor) and value.dtype is DType.INT32


def looked_up(b: GraphBuilder, table: Tensor, places: Tensor, axis: int = 0) -> Tensor:
    """Return the rows of a table, or what is along another dimension of it, that int32 activations name."""
    if not is_whole(places) or places.is_constant or table.dtype is not DType.FLOAT32:
        raise RefusedError("its places are no input of integers, or its table is none of floats")
    shape = (*table.shape[:axis], *places.shape, *table.shape[axis + 1 :])
    return b.add(Gather, shape, "rows", x=table, indices=places, axis=axis)


def whole(b: GraphBuilder, value: Tensor | NDArray[Any] | float) -> Tensor | None:
    """Return an operand of integers as int32, None where it is none."""
    if isinstance(value, Tensor):
        return value if is_whole(value) else None
    data = np.asarray(value)
    if data.dtype.kind not in "iu":
        return None
    low, high = integer_range(DType.INT32)
    if data.size and (int(data.min()) < low or int(data.max()) > high):
        raise RefusedError("a constant does not fit int32")
    return b.integers(data)


def combined(b: GraphBuilder, name: str, *values: Tensor | NDArray[Any] | float) -> Tensor | None:
    """Append a sum, difference, product or comparison of int32; None where an operand is no integer.

    Args:
        name: AddIntegers and its like, or a comparison.
        values: at least one is an activation of int32.
    """
    operands = [whole(b, value) for value in values]
    known = [x for x in operands if x is not None]
    if len(known) < len(operands):
        return None
    made = DType.INT32 if name.endswith("Integers") else DType.BOOL
    return elementwise(b, name, *known, dtype=made)
