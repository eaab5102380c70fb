"""A graph of one sample on several at once, operator by operator."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.errors import UtvmError
from utvm.graph import Concatenation, DType, Foreign, Graph, Operator, Reshape, Split, StridedSlice, Tensor, Transpose
from utvm.graph.reference import evaluate_operator
from utvm.graph.samples import random_input

Array = NDArray[Any]
Activations = dict[Tensor, Array]
"""Activation → its values [samples, *shape]."""
Way = Callable[[Operator, int], Operator]
"""How an operator becomes one on so many samples; it raises ValueError where there is no such operator."""
_PLACES = (DType.INT32, DType.INT64, DType.UINT32, DType.UINT64)
"""Types of what operators gather by."""
_REFUSALS = (UtvmError, ValueError, IndexError)
"""What an operator raises where its operands do not fit."""


class SeveralAtOnce:
    """How each operator of a graph runs on several samples; found by two of them.

    An operator that gives two samples at once other results than each alone runs one by one; the others do not.
    """

    def __init__(self, graph: Graph, two: Mapping[Tensor, Array]) -> None:
        """Try each operator; `two` has samples of each input [2, *shape], from which places and identifiers follow."""
        self._operators = tuple(zip(graph.operators, graph.alike, strict=True))
        """Each operator with the first that computes the same."""
        self._ways: dict[Operator, list[Way]] = {}
        """Operator → the ways that are left, the best first."""
        self._sized: dict[tuple[Operator, int], Operator] = {}
        self._try(two)

    def evaluate(self, values: Mapping[Tensor, Array]) -> Activations:
        """Return all activations for inputs [samples, *shape]."""
        found = dict(values)
        count = len(next(iter(found.values())))
        for op, first in self._operators:
            found.update(zip(op.outputs, self._run(op, first, found, count), strict=True))
        return found

    def _try(self, two: Mapping[Tensor, Array]) -> None:
        values = dict(two)
        for op, first in self._operators:
            if first not in self._ways:
                self._ways[first] = list(_ways(first)) if first.activations else []
                self._leave_those_that_agree(first, values)
            values.update(zip(op.outputs, _one_by_one(first, op.inputs, values, 2), strict=True))

    def _leave_those_that_agree(self, op: Operator, given: Mapping[Tensor, Array]) -> None:
        ways = self._ways[op]
        if not ways:
            return
        # Samples that are given may be equal, or 0, which hides that an operator mixes them.
        values = _drawn(op)
        try:
            alone = _one_by_one(op, op.inputs, values, 2)
        except _REFUSALS:
            values |= {t: given[t] for t in op.activations if t.dtype in _PLACES}
            alone = _one_by_one(op, op.inputs, values, 2)
        while ways:
            try:
                results = self._run(op, op, values, 2)
            except _REFUSALS:
                results = []
            if results and all(_agree(*pair) for pair in zip(results, alone, strict=True)):
                break
            del ways[0]
            self._sized.pop((op, 2), None)

    def _run(self, op: Operator, first: Operator, values: Mapping[Tensor, Array], count: int) -> Sequence[Array]:
        ways, inputs = self._ways[first], op.inputs
        if all(t.is_constant for t in inputs):
            operands = [t.values for t in inputs]
            return [np.repeat(y[None], count, axis=0) for y in evaluate_operator(first, operands, rough=True)]
        if not ways:
            return _one_by_one(first, inputs, values, count)
        if (first, count) not in self._sized:
            self._sized[first, count] = ways[0](first, count)
        sized = self._sized[first, count]
        operands = [
            (np.broadcast_to(t.values, s.shape) if t.is_constant else values[t].reshape(s.shape))
            for t, s in zip(inputs, sized.inputs, strict=True)
        ]
        results = evaluate_operator(sized, operands, rough=True)
        return [y.reshape(count, *t.shape) for t, y in zip(op.outputs, results, strict=True)]


def _one_by_one(op: Operator, inputs: Sequence[Tensor], values: Mapping[Tensor, Array], count: int) -> list[Array]:
    rows = (
        evaluate_operator(op, [t.values if t.is_constant else values[t][i] for t in inputs], rough=True)
        for i in range(count)
    )
    return [np.stack(parts) for parts in zip(*rows, strict=True)]


def _drawn(op: Operator) -> Activations:
    """Return two samples of each operand, all of which differ."""
    operands = dict.fromkeys(op.activations)
    return {t: np.stack([random_input(t, 2 * i + j) for j in (0, 1)]) for i, t in enumerate(operands)}


def _agree(one: Array, other: Array) -> bool:
    if one.dtype.kind != "f":
        return np.array_equal(one, other)
    most = float(np.abs(other[np.isfinite(other)]).max(initial=1e-6))
    return np.allclose(one, other, rtol=1e-3, atol=1e-3 * most, equal_nan=True)


def _ways(op: Operator) -> Iterator[Way]:
    if isinstance(op, Foreign):
        return  # Somebody's own function takes what it was written for: one sample.
    if isinstance(op, Reshape | StridedSlice | Transpose | Concatenation | Split):
        yield _moved
        return
    yield _along_first
    yield _in_front


def _along_first(op: Operator, count: int) -> Operator:
    """Return an operator whose activations have the samples along their first dimension, beside what it has already."""
    if len({t.shape[:1] for t in (*op.activations, *op.outputs)}) != 1 or not op.outputs[0].shape:
        raise ValueError("activations differ in their first dimension")
    return _with_shapes(op, lambda shape: (shape[0] * count, *shape[1:]))


def _in_front(op: Operator, count: int) -> Operator:
    """Return an operator whose activations have one more dimension, of the samples."""
    return _with_shapes(op, lambda shape: (count, *shape))


def _moved(op: Operator, count: int) -> Operator:
    """Return an operator that moves the elements of each sample; its constants are there once for each."""
    changes: dict[str, Any] = {}
    if isinstance(op, Concatenation | Split):
        changes = {"axis": op.axis + 1}
    elif isinstance(op, Transpose):
        changes = {"perm": (0, *(axis + 1 for axis in op.perm))}
    elif isinstance(op, StridedSlice):
        changes = {
            "begin": (0, *op.begin),
            "strides": (1, *op.strides),
            "shrink": tuple(axis + 1 for axis in op.shrink),
        }
    constants = {
        t: dataclasses.replace(t, shape=(count, *t.shape), data=np.repeat(t.values[None], count, axis=0))
        for t in op.inputs
        if t.is_constant
    }
    return dataclasses.replace(_in_front(op, count).with_tensors(constants), **changes)


def _with_shapes(op: Operator, shape: Callable[[tuple[int, ...]], tuple[int, ...]]) -> Operator:
    activations = dict.fromkeys((*op.activations, *op.outputs))
    return op.with_tensors({t: dataclasses.replace(t, shape=shape(t.shape)) for t in activations})
