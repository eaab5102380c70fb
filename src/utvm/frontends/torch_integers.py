"""What calls of PyTorch on integers become: tables that identifiers look up, arithmetic, comparisons, casts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from utvm.frontends.activations import reduction
from utvm.frontends.builder import FLOAT_NAMES
from utvm.frontends.refusal import RefusedError, axis_of
from utvm.frontends.torch_functions import FUNCTIONS
from utvm.frontends.torch_layers import LAYERS
from utvm.frontends.torch_movement import MOVEMENT
from utvm.frontends.torch_node import TorchNode, Value
from utvm.frontends.whole_numbers import MOST_CLASSES, combined, is_whole, looked_up, whole
from utvm.graph import Mean, Tensor

Converter = Callable[[TorchNode], Value | tuple[Value, ...]]


def _table(n: TorchNode) -> Tensor:
    found = n.arg(0, "weight")
    return found if isinstance(found, Tensor) else n.b.table(np.asarray(found))


def _embedding(n: TorchNode) -> Value:
    places = n.arg(1, "indices")
    if not isinstance(places, Tensor):
        table = np.asarray(n.arg(0, "weight"))
        return np.asarray(table[np.asarray(places)])
    return looked_up(n.b, _table(n), places)


def _embedding_bag(n: TorchNode) -> tuple[Value, ...]:
    """Bags of one length each: rows, then their sum, mean or maximum."""
    places, offsets, mode = n.x(1), n.arg(2, "offsets"), int(n.arg(4, "mode", 0))
    left_out = n.arg(8, "padding_idx")
    weighted = n.arg(6, "per_sample_weights") is not None
    if isinstance(offsets, Tensor) or weighted or (left_out is not None and left_out >= 0):
        raise RefusedError("its bags depend on the input, have weights or leave identifiers out")
    starts = np.asarray(offsets).reshape(-1)
    ends = starts if n.arg(7, "include_last_offset", False) else np.append(starts, places.elements)
    lengths = np.unique(np.diff(ends))
    if len(lengths) != 1 or lengths[0] < 1 or starts[0] != 0:
        raise RefusedError("its bags have different lengths")
    bags = n.b.reshape(places, (places.elements // int(lengths[0]), int(lengths[0])))
    rows = looked_up(n.b, _table(n), bags)
    if mode == 1:
        return (n.b.add(Mean, (rows.shape[0], rows.shape[2]), "mean", x=rows, axes=(1,)),)
    return (reduction(n.b, "Sum" if mode == 0 else "ReduceMax", rows, (1,), keep=False),)


def _indexed(n: TorchNode) -> Value:
    given: Any = n.arg(1, "indices")
    known = [(d, index) for d, index in enumerate(given) if index is not None]
    if len(known) != 1 or not is_whole(known[0][1]):
        raise RefusedError("it picks by several indices")
    return looked_up(n.b, _table(n), known[0][1], known[0][0])


def _selected(n: TorchNode) -> Value:
    return looked_up(n.b, _table(n), n.x(2), axis_of(int(n.arg(1, "dim")), len(n.x().shape)))


def _one_hot(n: TorchNode) -> Value:
    classes = int(n.arg(1, "num_classes", -1))
    if not 1 <= classes <= MOST_CLASSES:
        raise RefusedError(f"it makes {classes} classes; 1 to {MOST_CLASSES:,} are supported")
    return looked_up(n.b, n.b.constant(np.eye(classes, dtype=np.float32), "classes"), n.x())


def _of_whole(name: str, real: Converter) -> Converter:
    """Return a conversion of integers; where one operand is none, `real` converts after a cast."""

    def convert(n: TorchNode) -> Value | tuple[Value, ...]:
        values = [n.arg(0, "self"), n.arg(1, "other")]
        made = combined(n.b, name, *values) if n.number(2, "alpha", 1.0) == 1 else None
        return real(n.in_floats()) if made is None else made

    return convert


def _joined(*, stacked: bool) -> Converter:
    def convert(n: TorchNode) -> Value:
        operands = [whole(n.b, value) for value in n.arg(0, "tensors")]
        xs = [x for x in operands if x is not None]
        if len(xs) < len(operands):
            raise RefusedError("it joins integers and floats")
        axis = axis_of(int(n.arg(1, "dim", 0)), len(xs[0].shape) + stacked)
        if stacked:
            xs = [n.b.reshape(x, (*x.shape[:axis], 1, *x.shape[axis:])) for x in xs]
        return n.b.concatenation(xs, axis)

    return convert


def _cast(n: TorchNode) -> Value:
    wanted = [str(arg).removeprefix("torch.") for arg in (*n.args[1:], *n.named.values())]
    return n.b.real(n.x()) if any(name in FLOAT_NAMES for name in wanted) else n.x()


def _in_floats(name: str) -> Converter:
    convert: Converter = {**FUNCTIONS, **LAYERS, **MOVEMENT}[name]
    return lambda n: convert(n.in_floats())


ON_INTEGERS: Mapping[str, Converter] = {
    "embedding": _embedding,
    "embedding_bag": _embedding_bag,
    "_embedding_bag": _embedding_bag,
    "index": _indexed,
    "index_select": _selected,
    "one_hot": _one_hot,
    "add": _of_whole("AddIntegers", FUNCTIONS["add"]),
    "sub": _of_whole("SubIntegers", FUNCTIONS["sub"]),
    "mul": _of_whole("MulIntegers", FUNCTIONS["mul"]),
    "eq": _of_whole("Equal", FUNCTIONS["eq"]),
    "ne": _of_whole("NotEqual", FUNCTIONS["ne"]),
    "lt": _of_whole("Less", FUNCTIONS["lt"]),
    "le": _of_whole("LessEqual", FUNCTIONS["le"]),
    "gt": _of_whole("Greater", FUNCTIONS["gt"]),
    "ge": _of_whole("GreaterEqual", FUNCTIONS["ge"]),
    "div": _in_floats("div"),
    "to": _cast,
    "_to_copy": _cast,
    "float": lambda n: n.b.real(n.x()),
    "type_as": lambda n: n.x(),
    "cat": _joined(stacked=False),
    "stack": _joined(stacked=True),
}
"""Call that reads an activation of int32 → what makes it."""
