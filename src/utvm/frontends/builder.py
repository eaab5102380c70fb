"""A graph while it is made: unique names, tensors, and operators whose result shapes follow from their operands.

Frontends of frameworks with shapes and types of their own translate through this class. What it returns is checked, so
that a frontend needs no shape that a file claims.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.frontends.refusal import RefusedError, broadcast_shape
from utvm.graph import (
    Add,
    Concatenation,
    DType,
    Elementwise,
    Graph,
    GraphError,
    Mul,
    Operator,
    Pad,
    Quantization,
    Reshape,
    Softmax,
    StridedSlice,
    Sub,
    Tensor,
    Transpose,
)
from utvm.graph.functions import function
from utvm.graph.names import Names, printable

MAX_ELEMENTS = 1 << 27
"""Of one tensor."""
MAX_RANK = 8
FLOAT_NAMES = ("float32", "float16", "bfloat16", "float64")
"""Types of a framework's inputs that become float32, as all that is computed of them."""
MAX_OPERATORS = 100_000
MAX_CONSTANTS = 2 * MAX_ELEMENTS
"""Elements of all constants of a graph; a value that several operators read counts for each."""

_CAST = function("Cast")


def _keeps_scores(op: Operator) -> bool:
    """Whether what is far below the other scores is so still."""
    moved = isinstance(op, Elementwise) and op.kind == "BroadcastTo"
    return moved or isinstance(op, Add | Reshape | Transpose | StridedSlice)


class GraphBuilder:
    """Operators in execution order. Every method that makes a tensor appends the operator that makes it.

    Attributes:
        operators: what was made so far.
        place: the name under which the next operators are made.
        scores: activations with values that stand for minus infinity; sums of them or they are for a softmax alone.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._names = Names()
        self._inputs: list[Tensor] = []
        self._left = MAX_CONSTANTS
        self._tables: dict[int, tuple[NDArray[Any], Tensor]] = {}
        """Arrays, kept so that none takes another's identity, with their constants."""
        self.operators: list[Operator] = []
        self.scores: list[Tensor] = []
        self.place = "operator"

    def unique(self, wanted: str) -> str:
        """Return `wanted` as far as it prints, with a number behind it if it is taken."""
        return self._names.fresh(printable(wanted))

    def input(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: DType = DType.FLOAT32,
        quant: Quantization | None = None,
    ) -> Tensor:
        """Return a new input of the graph."""
        tensor = dataclasses.replace(self.tensor(name, shape, dtype), quant=quant)
        self._inputs.append(tensor)
        return tensor

    def tensor(self, name: str, shape: tuple[int, ...], dtype: DType = DType.FLOAT32) -> Tensor:
        """Return a new tensor that an operator of the caller's is to make."""
        if len(shape) > MAX_RANK or prod(shape) > MAX_ELEMENTS or min(shape, default=1) < 1:
            raise RefusedError(f"a result of shape {list(shape)} is empty or too large")
        return Tensor(name=self.unique(name), shape=shape, dtype=dtype)

    def constant(self, values: NDArray[Any] | float, what: str = "constant") -> Tensor:
        """Return a float32 constant.

        Raises:
            RefusedError: a value is not finite, or the graph has too many.
        """
        self._left -= np.size(values)
        if self._left < 0:
            raise RefusedError(f"the constants of its network have more than {MAX_CONSTANTS:,} elements")
        data = np.array(values, np.float32, order="C", ndmin=0)
        if not np.isfinite(data).all():
            raise RefusedError(f"its {what} has values that are not finite")
        return Tensor(name=self.unique(f"{self.place}/{what}"), shape=data.shape, dtype=DType.FLOAT32, data=data)

    def table(self, values: NDArray[Any]) -> Tensor:
        """Return a float32 constant that several operators may share: the same one for the same array."""
        if id(values) not in self._tables:
            self._tables[id(values)] = values, self.constant(values, "table")
        return self._tables[id(values)][1]

    def integers(self, values: NDArray[Any]) -> Tensor:
        """Return an int32 constant of values that fit."""
        self._left -= values.size
        if self._left < 0:
            raise RefusedError(f"the constants of its network have more than {MAX_CONSTANTS:,} elements")
        data = np.array(values, np.int32, order="C")
        return Tensor(name=self.unique(f"{self.place}/integers"), shape=data.shape, dtype=DType.INT32, data=data)

    def add(
        self,
        kind: type[Operator],
        shape: tuple[int, ...],
        what: str = "",
        dtype: DType = DType.FLOAT32,
        **fields: Any,
    ) -> Tensor:
        """Append an operator with one result `y` of `shape` and return that; `what` is added to its name."""
        if len(self.operators) >= MAX_OPERATORS:
            raise RefusedError(f"its network has more than {MAX_OPERATORS:,} operators")
        name = self.unique(f"{self.place}/{what}" if what else self.place)
        y = self.tensor(f"{name}/y", shape, dtype)
        self.operators.append(kind(**{"name": name, "y": y, **fields}))
        return y

    def unary(self, kind: type[Operator], x: Tensor, **fields: Any) -> Tensor:
        """Append an operator on each element."""
        return self.add(kind, x.shape, x=x, **fields)

    def binary(self, kind: type[Add] | type[Sub] | type[Mul], a: Tensor, b: Tensor) -> Tensor:
        """Append an operator on two tensors that numpy's rules broadcast; truth values count as 0 and 1."""
        return self.add(kind, broadcast_shape(a.shape, b.shape), a=self.real(a), b=self.real(b))

    def real(self, x: Tensor) -> Tensor:
        """Append a cast to float32; nothing where x is."""
        return x if x.dtype is DType.FLOAT32 else self.add(Elementwise, x.shape, "real", function=_CAST, xs=(x,))

    def transpose(self, x: Tensor, perm: Sequence[int]) -> Tensor:
        """Append a transposition; nothing where no dimension moves."""
        order = tuple(perm)
        if sorted(order) != list(range(len(x.shape))):
            raise RefusedError(f"its permutation {list(order)} is none of {len(x.shape)} dimensions")
        if order == tuple(range(len(order))):
            return x
        return self.add(Transpose, tuple(x.shape[axis] for axis in order), "transpose", x.dtype, x=x, perm=order)

    def reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """Append a reshape; nothing where the shape stays."""
        wanted = tuple(shape)
        if prod(wanted) != x.elements:
            raise RefusedError(f"{x.elements} elements can't have the shape {list(wanted)}")
        return x if wanted == x.shape else self.add(Reshape, wanted, "reshape", x.dtype, x=x)

    def pad(self, x: Tensor, paddings: Sequence[tuple[int, int]], value: float = 0) -> Tensor:
        """Append a constant padding; nothing where nothing is padded."""
        if not any(map(any, paddings)):
            return x
        shape = tuple(before + size + after for size, (before, after) in zip(x.shape, paddings, strict=True))
        return self.add(Pad, shape, "pad", x=x, paddings=tuple(paddings), value=value)

    def concatenation(self, xs: Sequence[Tensor], axis: int) -> Tensor:
        """Append a concatenation along a non-negative axis."""
        first = xs[0].shape
        for x in xs:
            if len(x.shape) != len(first) or x.shape[:axis] + x.shape[axis + 1 :] != first[:axis] + first[axis + 1 :]:
                raise RefusedError(f"the shapes {list(first)} and {list(x.shape)} do not join along dimension {axis}")
        if len(xs) == 1:
            return xs[0]
        shape = (*first[:axis], sum(x.shape[axis] for x in xs), *first[axis + 1 :])
        return self.add(Concatenation, shape, "", xs[0].dtype, xs=tuple(xs), axis=axis)

    def graph(self, outputs: Sequence[tuple[str, Tensor]]) -> Graph:
        """Return the graph of what was made; outputs get the names given, where these are free.

        A float value that is an input, or an output before, is copied.
        """
        named: dict[Tensor, Tensor] = {}
        found: list[Tensor] = []
        for name, tensor in outputs:
            if tensor.dtype is DType.FLOAT32 and (tensor in self._inputs or tensor in named):
                tensor = self.add(Reshape, tensor.shape, "copy", x=tensor)
            if tensor not in self._inputs and tensor not in named:
                named[tensor] = dataclasses.replace(tensor, name=self.unique(name))
            found.append(tensor)
        scores = set(self.scores)
        for op in self.operators:
            if any(t in scores for t in op.inputs) and not isinstance(op, Softmax):
                scores.update(op.outputs if _keeps_scores(op) else found)
        if any(t in scores for t in found):
            raise GraphError("values are filled with minus infinity, or nearly, and not by a softmax alone read then")
        made = Graph(name=self._name, operators=tuple(self.operators), inputs=tuple(self._inputs), outputs=tuple(found))
        return made.rewrite(tensors=named)
