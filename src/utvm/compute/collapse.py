"""Fewer loops for the same computation: neighbouring axes that walk through memory as one become one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from utvm.compute.affine import Affine
from utvm.compute.expressions import Apply, Buffer, Call, Compute, Expr, Index, Load, Lookup, Select, children


def collapsed(compute: Compute) -> Compute:
    """Return a computation whose loads are flat where nothing lies outside, and whose neighbouring axes are merged."""
    flat = _mapped(compute, _flat)
    for names in (list(flat.space), list(flat.reduce)):
        for first, second in zip(names[-2::-1], names[:0:-1], strict=True):
            if _walk_as_one(flat, first, second):
                flat = _merged(flat, first, second)
    return flat


def _flat(expr: Expr) -> Expr:
    if not isinstance(expr, Load) or expr.outside is not None:
        return expr
    return replace(expr, buffer=_line(expr.buffer), index=(expr.buffer.flat(expr.index),))


def _line(buffer: Buffer) -> Buffer:
    return replace(buffer, shape=(buffer.elements,))


def _walk_as_one(compute: Compute, first: str, second: str) -> bool:
    """Whether each index steps through `first` as it would through so many turns of `second`."""
    axes = compute.axes
    if first not in axes or second not in axes:
        return False
    return all(_steps(index, first) == _steps(index, second) * axes[second] for index in _indices(compute))


def _steps(index: Affine, name: str) -> int:
    return dict(index.terms).get(name, 0)


def _merged(compute: Compute, first: str, second: str) -> Compute:
    """Return it without `first`; `second` has the turns of both."""
    axes = compute.axes
    turns = axes[first] * axes[second]

    def fewer(names: Mapping[str, int]) -> dict[str, int]:
        return {n: turns if n == second else e for n, e in names.items() if n != first}

    def moved(expr: Expr) -> Expr:
        match expr:
            case Load():
                return replace(expr, index=tuple(_without(i, first) for i in expr.index))
            case Index():
                return replace(expr, value=_without(expr.value, first))
            case _:
                return expr

    found = _mapped(compute, moved)
    return replace(
        found,
        space=fewer(compute.space),
        reduce=fewer(compute.reduce),
        index=tuple(_without(i, first) for i in found.index),
    )


def _without(index: Affine, name: str) -> Affine:
    return Affine(terms=tuple(t for t in index.terms if t[0] != name), const=index.const)


def _indices(compute: Compute) -> list[Affine]:
    found = list(compute.index)

    def note(expr: Expr) -> None:
        if isinstance(expr, Load):
            found.extend(expr.index)
        elif isinstance(expr, Index):
            found.append(expr.value)
        for child in children(expr):
            note(child)

    for expr in (compute.init, compute.term, compute.epilogue):
        note(expr)
    return found


def _mapped(compute: Compute, change: Callable[[Expr], Expr]) -> Compute:
    """Return a computation with all expressions changed, and its output as one line."""

    def visit(expr: Expr) -> Expr:
        match expr:
            case Apply():
                expr = replace(expr, left=visit(expr.left), right=visit(expr.right))
            case Select():
                expr = Select(condition=visit(expr.condition), then=visit(expr.then), other=visit(expr.other))
            case Call():
                expr = replace(expr, arguments=tuple(visit(a) for a in expr.arguments))
            case Lookup():
                expr = replace(expr, place=visit(expr.place))
            case _:
                pass
        return change(expr)

    return replace(
        compute,
        init=visit(compute.init),
        term=visit(compute.term),
        epilogue=visit(compute.epilogue),
        output=_line(compute.output),
        index=(compute.output.flat(compute.index),),
    )
