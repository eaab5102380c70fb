"""What an operator computes: for each point of its output, an expression; perhaps with a sum or a maximum inside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, Literal

from numpy.typing import NDArray

from utvm.loops.affine import Affine, number

Operation = Literal["+", "-", "*", "max", "min"]
Combine = Literal["sum", "max"]


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
class Const:
    """A number."""

    value: int | float


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """An element of a buffer.

    Attributes:
        buffer: what is read.
        index: one index for each dimension.
        outside: the value beyond the ends of a dimension; None promises that no index goes there.
    """

    buffer: Buffer
    index: tuple[Affine, ...]
    outside: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Apply:
    """Arithmetic on two values, in the type of the accumulator."""

    operation: Operation
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True, kw_only=True)
class Select:
    """`then` where `condition` is not negative, else `other`."""

    condition: Expr
    then: Expr
    other: Expr


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
class Call:
    """A call of a helper."""

    helper: Helper
    arguments: tuple[Expr, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduced:
    """The sum or maximum, in an epilogue."""


Expr = Const | Load | Apply | Select | Call | Reduced


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
        c_type: the type of the accumulator and of all arithmetic.
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
        return tuple(dict.fromkeys(load.buffer for e in (self.term, self.init, self.epilogue) for load in loads(e)))


def loads(expr: Expr) -> Iterator[Load]:
    """Yield the loads of an expression."""
    if isinstance(expr, Load):
        yield expr
    for child in children(expr):
        yield from loads(child)


def children(expr: Expr) -> tuple[Expr, ...]:
    """Return what an expression is made of."""
    match expr:
        case Apply():
            return expr.left, expr.right
        case Select():
            return expr.condition, expr.then, expr.other
        case Call():
            return expr.arguments
        case _:
            return ()


def mapped(expr: Expr, change: Callable[[Load], Expr]) -> Expr:
    """Return an expression with its loads changed."""
    match expr:
        case Load():
            return change(expr)
        case Apply():
            return replace(expr, left=mapped(expr.left, change), right=mapped(expr.right, change))
        case Select():
            return Select(
                condition=mapped(expr.condition, change),
                then=mapped(expr.then, change),
                other=mapped(expr.other, change),
            )
        case Call():
            return replace(expr, arguments=tuple(mapped(a, change) for a in expr.arguments))
        case _:
            return expr
