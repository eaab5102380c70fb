"""Fewer loops for the same computation: neighbouring axes that walk through memory as one become one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from utvm.compute.affine import Affine
from utvm.compute.expressions import Buffer, Compute, Expr, Index, Load, children, mapped


def collapsed(compute: Compute) -> Compute:
    """Return a computation whose loads are flat where nothing lies outside, and whose neighbouring axes are merged."""
    flat = _mapped(compute, _flat)
    for names in (list(flat.space), list(flat.reduce)):
        inner = names.pop() if names else ""
        for outer in reversed(names):
            if flat.axes[inner] == 1:
                flat, inner = _merged(flat, inner, outer), outer
            elif flat.axes[outer] == 1 or _walk_as_one(flat, outer, inner):
                flat = _merged(flat, outer, inner)
            else:
                inner = outer
    return flat


def _flat(expr: Expr) -> Expr:
    if not isinstance(expr, Load) or expr.outside is not None:
        return expr
    return replace(expr, buffer=_line(expr.buffer), index=(expr.buffer.flat(expr.index),))


def _line(buffer: Buffer) -> Buffer:
    return replace(buffer, shape=(buffer.elements,))


def _walk_as_one(compute: Compute, outer: str, inner: str) -> bool:
    """Whether each index steps through `outer` as it would through so many turns of `inner`."""
    turns = compute.axes[inner]
    return all(_steps(index, outer) == _steps(index, inner) * turns for index in _indices(compute))


def _steps(index: Affine, name: str) -> int:
    return dict(index.terms).get(name, 0)


def _merged(compute: Compute, gone: str, kept: str) -> Compute:
    """Return it without the axis `gone`; its neighbour `kept` has the turns of both."""
    turns = compute.axes[gone] * compute.axes[kept]

    def fewer(names: Mapping[str, int]) -> dict[str, int]:
        return {n: turns if n == kept else e for n, e in names.items() if n != gone}

    def moved(expr: Expr) -> Expr:
        match expr:
            case Load():
                return replace(expr, index=tuple(_without(i, gone) for i in expr.index))
            case Index():
                return replace(expr, value=_without(expr.value, gone))
            case _:
                return expr

    found = _mapped(compute, moved)
    return replace(
        found,
        space=fewer(compute.space),
        reduce=fewer(compute.reduce),
        index=tuple(_without(i, gone) for i in found.index),
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
    return replace(
        compute,
        init=mapped(compute.init, change),
        term=mapped(compute.term, change),
        epilogue=mapped(compute.epilogue, change),
        output=_line(compute.output),
        index=(compute.output.flat(compute.index),),
    )
