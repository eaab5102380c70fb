"""What ONNX operators on integers become: tables that identifiers look up, arithmetic, comparisons, casts."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from utvm.frontends.onnx_movement import FLOAT_TYPES, MOVEMENT
from utvm.frontends.onnx_node import NodeContext, Value
from utvm.frontends.refusal import RefusedError
from utvm.frontends.whole_numbers import MOST_CLASSES, combined, looked_up, whole
from utvm.graph import Tensor

Converter = Callable[[NodeContext], Value]
_WHOLE_TYPES = (2, 3, 5, 6, 7)
"""Numbers of uint8, int8, int16, int32 and int64 in a Cast."""


def _gather(n: NodeContext) -> Value:
    places = n.value(1)
    if not isinstance(places, Tensor):
        made = MOVEMENT["Gather"](n)
        assert isinstance(made, Tensor)
        return made
    found = n.value(0)
    table = found if isinstance(found, Tensor) else n.b.table(found)
    return looked_up(n.b, table, places, n.axis("axis", 0, len(table.shape)))


def _of_whole(name: str) -> Converter:
    def convert(n: NodeContext) -> Value:
        made = combined(n.b, name, n.value(0), n.value(1))
        if made is None:
            raise RefusedError("it mixes integers and floats")
        return made

    return convert


def _cast(n: NodeContext) -> Value:
    wanted = n.integer("to", 0)
    if wanted not in (*FLOAT_TYPES, *_WHOLE_TYPES):
        raise RefusedError("it casts integers to another type")
    return n.b.real(n.x()) if wanted in FLOAT_TYPES else n.x()


def _joined(n: NodeContext) -> Value:
    operands = [whole(n.b, n.value(i)) for i in range(n.inputs)]
    xs = [x for x in operands if x is not None]
    if not xs or len(xs) < len(operands):
        raise RefusedError("it joins integers and floats")
    return n.b.concatenation(xs, n.axis("axis", 0, len(xs[0].shape)))


def _one_hot(n: NodeContext) -> Value:
    x, classes, values = n.value(0), n.integers(1, "depth"), n.floats(2, "values")
    if not isinstance(x, Tensor) or len(classes) != 1 or not 1 <= classes[0] <= MOST_CLASSES or values.shape != (2,):
        raise RefusedError(f"its classes {list(classes)} or its two values are not understood")
    if n.axis("axis", -1, len(x.shape) + 1) != len(x.shape):
        raise RefusedError("its classes are not the last dimension")
    table = np.full((classes[0], classes[0]), values[0], np.float32)
    np.fill_diagonal(table, values[1])
    return looked_up(n.b, n.b.constant(table, "classes"), x)


ON_INTEGERS: Mapping[str, Converter] = {
    "Gather": _gather,
    "Cast": _cast,
    "OneHot": _one_hot,
    "Concat": _joined,
    "Add": _of_whole("AddIntegers"),
    "Sub": _of_whole("SubIntegers"),
    "Mul": _of_whole("MulIntegers"),
    "Equal": _of_whole("Equal"),
    "Less": _of_whole("Less"),
    "LessOrEqual": _of_whole("LessEqual"),
    "Greater": _of_whole("Greater"),
    "GreaterOrEqual": _of_whole("GreaterEqual"),
}
"""Operator that reads an activation of int32 → what makes it."""
