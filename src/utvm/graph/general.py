"""Operators that are values more than classes: any elementwise function, any reduction; gathering; products."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, ClassVar

from numpy.typing import NDArray

from utvm.compute import Expr
from utvm.compute.expressions import Combine
from utvm.errors import UtvmError
from utvm.graph.operators import FULL_INT8, Operator, _Unary
from utvm.graph.tensor import DType, Tensor

Real = Callable[[NDArray[Any]], NDArray[Any]]


class _Named:
    """Values that hold formulas, which can't be sent to other processes."""

    __slots__ = ()
    name: str

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> Any:
        """Send those of TFLite by their names."""
        return _sent(self)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Function(_Named):
    """What an elementwise operator computes of the elements at one point: one formula or more for each type.

    Attributes:
        name: the operator's kind.
        expression: the operator and the elements as they are stored → the result as it is stored, in int32. A table
            goes before it in int8.
        stored: of one int8: the operator and all 256 values as int64 → the results; a table serves it.
        real: of one int8: real numbers in float32 → real numbers; a table serves it.
        floating: of float32: the operator and the elements → the result.
        inputs: the types that elements may have.
    """

    name: str
    expression: Callable[[Elementwise, Sequence[Expr]], Expr] | None = None
    stored: Callable[[Elementwise, NDArray[Any]], NDArray[Any]] | None = None
    real: Real | None = None
    floating: Callable[[Elementwise, Sequence[Expr]], Expr] | None = None
    inputs: tuple[DType, ...] = (DType.INT8,)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Elementwise(Operator):
    """y = function(xs) at each point, with numpy's broadcasting; any of `xs` may be a constant."""

    function: Function
    xs: tuple[Tensor, ...]
    y: Tensor
    clamp: tuple[int, int] = FULL_INT8

    input_fields: ClassVar[tuple[str, ...]] = ("xs",)

    def __post_init__(self) -> None:
        if not isinstance(self.function, Function):
            raise UtvmError(f"operator '{self.name}': its function must be a Function (utvm.graph.functions)")

    @property
    def kind(self) -> str:
        """The function's name."""
        return self.function.name


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Reducer(_Named):
    """How a reduction combines elements.

    Attributes:
        name: the operator's kind.
        combine: how terms are combined.
        init: what the combination starts from.
        term: the operator, an element as it is stored, and where in what is reduced it stands (from 0) → the term.
        result: the operator and the combination → the result as it is stored.
        inputs: the types that elements may have.
    """

    name: str
    combine: Combine
    init: int
    term: Callable[[Reduction, Expr, Expr], Expr]
    result: Callable[[Reduction, Expr], Expr]
    inputs: tuple[DType, ...] = (DType.INT8,)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reduction(_Unary):
    """y = the elements of x over `axes` (non-negative, sorted), combined; y keeps the axes as 1 or drops them."""

    reducer: Reducer
    axes: tuple[int, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.reducer, Reducer):
            raise UtvmError(f"operator '{self.name}': its reducer must be a Reducer (utvm.graph.functions)")

    @property
    def kind(self) -> str:
        """The reducer's name."""
        return self.reducer.name

    @property
    def count(self) -> int:
        """How many elements make one."""
        return self.x.elements // max(1, self.y.elements)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CumulativeSum(_Unary):
    """y[i] = sum of x along `axis` up to i, or before i where `exclusive`; from the end where `reverse`."""

    axis: int
    exclusive: bool = False
    reverse: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gather(Operator):
    """y[b, o, j, i] = x[b, o, indices[b, j], i]: `axis` of x is indexed, `batch_dims` leading axes go together."""

    x: Tensor
    indices: Tensor
    y: Tensor
    axis: int
    batch_dims: int = 0

    input_fields: ClassVar[tuple[str, ...]] = ("x", "indices")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GatherNd(Operator):
    """y[j, i] = x[indices[j, 0], indices[j, 1], …, i]: the last dimension of `indices` names places of x."""

    x: Tensor
    indices: Tensor
    y: Tensor

    input_fields: ClassVar[tuple[str, ...]] = ("x", "indices")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BatchMatMul(Operator):
    """y[…, i, j] = sum of a[…, i, k] * b[…, k, j], with numpy's broadcasting before; either may be turned.

    `bias` has a value for each column j. Both operands may have a zero point.
    """

    a: Tensor
    b: Tensor
    y: Tensor
    turned_a: bool = False
    turned_b: bool = False
    bias: Tensor | None = None
    clamp: tuple[int, int] = FULL_INT8

    input_fields: ClassVar[tuple[str, ...]] = ("a", "b", "bias")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UpdateSlice(Operator):
    """y = x with `part` in it, from `start` on: int32, one place for each dimension, moved so that all of it fits."""

    x: Tensor
    part: Tensor
    start: Tensor
    y: Tensor

    input_fields: ClassVar[tuple[str, ...]] = ("x", "part", "start")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class L2Normalize(_Unary):
    """y = x / the root of the sum of squares over the last dimension; y has scale 1/128 and zero point 0."""


def _sent(value: Any) -> tuple[Any, ...]:
    from utvm.graph.functions import FUNCTIONS, REDUCERS, function, reducer

    if value in FUNCTIONS:
        return function, (value.name,)
    if value in REDUCERS:
        return reducer, (value.name,)
    kind: Callable[..., Any] = type(value)
    return partial(kind, **{f.name: getattr(value, f.name) for f in fields(value)}), ()
