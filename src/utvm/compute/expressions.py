"""What an operator computes: for each point of its output, an expression; perhaps with a sum or a maximum inside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from utvm.compute.affine import Affine, number

Operation = Literal["+", "-", "*", "/", "%", "&", "|", "<", "<=", "==", "!=", "max", "min"]
"""Arithmetic as C has it: quotients are cut toward zero, comparisons give 1 or 0."""
Combine = Literal["sum", "max", "min"]


class Arithmetic:
    """Python's operators on expressions; numbers become constants."""

    __slots__ = ()

    def __bool__(self) -> bool:
        """Refuse `if`, `and`, `or` and chained comparisons, which would choose before there is a value."""
        raise TypeError("an expression is neither true nor false before it runs: choose by where(), combine by & and |")

    def __neg__(self) -> Apply:
        """Return the value with the other sign."""
        return _apply("-", 0, self)

    def __add__(self, other: Expr | float) -> Apply:
        """Return the sum."""
        return _apply("+", self, other)

    def __radd__(self, other: float) -> Apply:
        """Return the sum with a number."""
        return _apply("+", other, self)

    def __sub__(self, other: Expr | float) -> Apply:
        """Return the difference."""
        return _apply("-", self, other)

    def __rsub__(self, other: float) -> Apply:
        """Return the difference from a number."""
        return _apply("-", other, self)

    def __mul__(self, other: Expr | float) -> Apply:
        """Return the product."""
        return _apply("*", self, other)

    def __rmul__(self, other: float) -> Apply:
        """Return the product with a number."""
        return _apply("*", other, self)

    def __floordiv__(self, other: Expr | float) -> Apply:
        """Return the quotient as C has it: cut toward zero."""
        return _apply("/", self, other)

    def __truediv__(self, other: Expr | float) -> Apply:
        """Return the quotient of real numbers."""
        return _apply("/", self, other)

    def __rtruediv__(self, other: float) -> Apply:
        """Return the quotient of a real number by it."""
        return _apply("/", other, self)

    def __mod__(self, other: Expr | float) -> Apply:
        """Return the remainder as C has it: of the sign of the dividend."""
        return _apply("%", self, other)

    def __and__(self, other: Expr | float) -> Apply:
        """Return the bits that both have."""
        return _apply("&", self, other)

    def __or__(self, other: Expr | float) -> Apply:
        """Return the bits that one of both has."""
        return _apply("|", self, other)

    def __lt__(self, other: Expr | float) -> Apply:
        """Return 1 where it is less, else 0."""
        return _apply("<", self, other)

    def __le__(self, other: Expr | float) -> Apply:
        """Return 1 where it is not more, else 0."""
        return _apply("<=", self, other)

    def __gt__(self, other: Expr | float) -> Apply:
        """Return 1 where it is more, else 0."""
        return _apply("<", other, self)

    def __ge__(self, other: Expr | float) -> Apply:
        """Return 1 where it is not less, else 0."""
        return _apply("<=", other, self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffer:
    """An array, row by row.

    Attributes:
        name: the C name.
        c_type: the C type of an element.
        shape: its dimensions.
    """

    name: str
    c_type: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    def flat(self, index: Sequence[Affine]) -> Affine:
        """Return the place of an element in memory."""
        place = number(0)
        for size, each in zip(self.shape, index, strict=True):
            place = place * size + each
        return place.at({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Const(Arithmetic):
    """A number."""

    value: int | float


@dataclass(frozen=True, slots=True, kw_only=True)
class Load(Arithmetic):
    """An element of a buffer.

    Attributes:
        buffer: what is read.
        index: one index for each dimension.
        outside: the value beyond the ends of a dimension; None promises that no index goes there.
    """

    buffer: Buffer
    index: tuple[Affine, ...]
    outside: int | float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Apply(Arithmetic):
    """Arithmetic on two values, in the type of the accumulator."""

    operation: Operation
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True, kw_only=True)
class Select(Arithmetic):
    """`then` where `condition` is not negative, else `other`."""

    condition: Expr
    then: Expr
    other: Expr


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast(Arithmetic):
    """A value in another type, as C converts it: real numbers lose their fraction, integers what does not fit."""

    c_type: str
    value: Expr


@dataclass(frozen=True, slots=True, kw_only=True)
class Helper:
    """A function that C and numpy have both.

    Attributes:
        name: the C name; the prelude of kernels defines it.
        evaluate: the same on arrays of int64.
    """

    name: str
    evaluate: Callable[..., NDArray[Any]] = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class HelperCall(Arithmetic):
    """A call of a helper."""

    helper: Helper
    arguments: tuple[Expr, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Index(Arithmetic):
    """The value of an index, as where a point of the output or a term of the sum is."""

    value: Affine


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup(Arithmetic):
    """An element of a buffer at a place that is computed, counted row by row; it must lie inside."""

    buffer: Buffer
    place: Expr


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduced(Arithmetic):
    """The sum, maximum or minimum, in an epilogue."""


Expr = Const | Load | Apply | Select | Cast | HelperCall | Index | Lookup | Reduced


def equal(left: Expr, right: Expr | float) -> Apply:
    """Return 1 where both are equal, else 0."""
    return _apply("==", left, right)


def unequal(left: Expr, right: Expr | float) -> Apply:
    """Return 1 where both differ, else 0."""
    return _apply("!=", left, right)


def larger(left: Expr, right: Expr | float) -> Apply:
    """Return the larger of both."""
    return _apply("max", left, right)


def smaller(left: Expr, right: Expr | float) -> Apply:
    """Return the smaller of both."""
    return _apply("min", left, right)


def where(condition: Expr | bool, then: Expr | float, other: Expr | float) -> Select:
    """Return `then` where the condition is not 0 but 1, else `other`.

    Raises:
        TypeError: the condition is what Python's == or != say of two expressions, known before there is a value.
    """
    if isinstance(condition, bool):
        raise TypeError("== and != compare expressions as Python objects: take equal() and unequal() of utvm.compute")
    return Select(condition=_apply("-", condition, 1), then=as_expr(then), other=as_expr(other))


def call(helper: Helper, *arguments: Expr | float) -> HelperCall:
    """Return a call of a helper."""
    return HelperCall(helper=helper, arguments=tuple(as_expr(each) for each in arguments))


def cast(value: Expr | float, c_type: str) -> Cast:
    """Return a value converted to a C type."""
    return Cast(c_type=c_type, value=as_expr(value))


def as_expr(value: object) -> Expr:
    """Return a number as a constant; expressions as they are."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, int | float):
        return Const(value=int(value) if isinstance(value, bool) else value)
    if isinstance(value, Const | Load | Apply | Select | Cast | HelperCall | Index | Lookup | Reduced):
        return value
    raise TypeError(f"{value!r} is neither an expression nor a number")


def _apply(operation: Operation, left: object, right: object) -> Apply:
    return Apply(operation=operation, left=as_expr(left), right=as_expr(right))


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    """`output[index] = epilogue(init combined with every term)`, for each point of `space`.

    Attributes:
        space: axes of the output and their extents, in order.
        reduce: axes that are combined; empty where the output is the epilogue alone.
        combine: how terms are combined.
        init: what the combination starts from.
        term: what is combined.
        epilogue: the value of the output, with `Reduced` where the combination stands.
        output: what is written.
        index: where, one index for each dimension.
        c_type: the type of the accumulator and of all arithmetic. Sums of "float" are made term by term, in the order
            of the axes, so that they have the same bits everywhere.
    """

    space: Mapping[str, int]
    reduce: Mapping[str, int]
    combine: Combine = "sum"
    init: Expr
    term: Expr
    epilogue: Expr
    output: Buffer
    index: tuple[Affine, ...]
    c_type: str = "int32_t"

    @property
    def axes(self) -> Mapping[str, int]:
        """All axes and their extents."""
        return {**self.space, **self.reduce}

    @property
    def buffers(self) -> tuple[Buffer, ...]:
        """What is read, each once, in order of appearance."""
        return tuple(dict.fromkeys(b for e in (self.term, self.init, self.epilogue) for b in _buffers(e)))


def loads(expr: Expr) -> Iterator[Load]:
    """Yield the loads of an expression."""
    if isinstance(expr, Load):
        yield expr
    for child in children(expr):
        yield from loads(child)


def _buffers(expr: Expr) -> Iterator[Buffer]:
    if isinstance(expr, Load | Lookup):
        yield expr.buffer
    for child in children(expr):
        yield from _buffers(child)


def children(expr: Expr) -> tuple[Expr, ...]:
    """Return what an expression is made of."""
    match expr:
        case Apply():
            return expr.left, expr.right
        case Select():
            return expr.condition, expr.then, expr.other
        case HelperCall():
            return expr.arguments
        case Cast():
            return (expr.value,)
        case Lookup():
            return (expr.place,)
        case _:
            return ()


def mapped(expr: Expr, change: Callable[[Expr], Expr]) -> Expr:
    """Return an expression with each of its parts changed, inner ones first."""
    match expr:
        case Apply():
            expr = replace(expr, left=mapped(expr.left, change), right=mapped(expr.right, change))
        case Select():
            expr = Select(
                condition=mapped(expr.condition, change),
                then=mapped(expr.then, change),
                other=mapped(expr.other, change),
            )
        case HelperCall():
            expr = replace(expr, arguments=tuple(mapped(a, change) for a in expr.arguments))
        case Cast():
            expr = replace(expr, value=mapped(expr.value, change))
        case Lookup():
            expr = replace(expr, place=mapped(expr.place, change))
        case _:
            pass
    return change(expr)
