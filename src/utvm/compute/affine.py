"""Index arithmetic over axes: sums of axes with factors, and the quotients and remainders that merged axes need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Range = tuple[int, int]
"""The least and the largest value of something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """`inner / div % mod`, for an inner index that is never negative; without a `mod`, the quotient alone."""

    inner: Affine
    div: int
    mod: int | None

    def range(self, ranges: Mapping[str, Range]) -> Range:
        """Return the least and the largest value."""
        low, high = (bound // self.div for bound in self.inner.range(ranges))
        if self.mod is None or low // self.mod == high // self.mod:
            return (low, high) if self.mod is None else (low % self.mod, high % self.mod)
        return 0, self.mod - 1

    def values(self, axes: Mapping[str, NDArray[np.int64]]) -> NDArray[np.int64]:
        """Return the values for arrays of axes."""
        whole = self.inner.values(axes) // self.div
        return whole if self.mod is None else whole % self.mod

    def __str__(self) -> str:
        """Return C."""
        inner = str(self.inner) if self.inner.is_axis else f"({self.inner})"
        text = inner if self.div == 1 else f"{inner} / {self.div}"
        return text if self.mod is None else f"{text} % {self.mod}"


Term = str | Part


@dataclass(frozen=True, slots=True, kw_only=True)
class Affine:
    """`const` plus the sum of terms times their factors; a term is an axis or a part of one."""

    terms: tuple[tuple[Term, int], ...] = ()
    const: int = 0

    @property
    def is_axis(self) -> bool:
        """Whether it is one axis and nothing else."""
        return self.const == 0 and len(self.terms) == 1 and self.terms[0][1] == 1 and isinstance(self.terms[0][0], str)

    @property
    def axes(self) -> frozenset[str]:
        """The names of all axes in it."""
        found: set[str] = set()
        for term, _ in self.terms:
            found |= {term} if isinstance(term, str) else term.inner.axes
        return frozenset(found)

    def __add__(self, other: Affine | int) -> Affine:
        """Return the sum; equal terms are added up."""
        if isinstance(other, int):
            return Affine(terms=self.terms, const=self.const + other)
        factors = dict(self.terms)
        for term, factor in other.terms:
            factors[term] = factors.get(term, 0) + factor
        return Affine(terms=tuple((t, f) for t, f in factors.items() if f), const=self.const + other.const)

    def __mul__(self, factor: int) -> Affine:
        """Return the product with a number."""
        if factor == 0:
            return Affine()
        return Affine(terms=tuple((t, f * factor) for t, f in self.terms), const=self.const * factor)

    def at(self, axes: Mapping[str, Affine]) -> Affine:
        """Return it with axes replaced; parts that belong together become one again."""
        found = Affine(const=self.const)
        for term, factor in self.terms:
            if isinstance(term, str):
                found = found + axes.get(term, axis(term)) * factor
            else:
                found = found + part(term.inner.at(axes), term.div, term.mod) * factor
        return _rejoined(found)

    def range(self, ranges: Mapping[str, Range]) -> Range:
        """Return the least and the largest value, each term on its own."""
        low = high = self.const
        for term, factor in self.terms:
            ends = ranges[term] if isinstance(term, str) else term.range(ranges)
            products = sorted(end * factor for end in ends)
            low, high = low + products[0], high + products[1]
        return low, high

    def values(self, axes: Mapping[str, NDArray[np.int64]]) -> NDArray[np.int64]:
        """Return the values for arrays of axes, which broadcast."""
        total = np.array(self.const, np.int64)
        for term, factor in self.terms:
            total = total + factor * (axes[term] if isinstance(term, str) else term.values(axes))
        return total

    def __str__(self) -> str:
        """Return C."""
        texts = [_product(term, factor) for term, factor in self.terms]
        if self.const or not texts:
            texts.append(str(self.const))
        return " + ".join(texts).replace("+ -", "- ")


def axis(name: str) -> Affine:
    """Return the index that is an axis."""
    return Affine(terms=((name, 1),))


def number(value: int) -> Affine:
    """Return the index that is a number."""
    return Affine(const=value)


def part(inner: Affine, div: int, mod: int | None) -> Affine:
    """Return `inner / div % mod`, as simple as it is."""
    if not inner.terms:
        whole = inner.const // div
        return number(whole if mod is None else whole % mod)
    if mod == 1:
        return number(0)
    return inner if div == 1 and mod is None else Affine(terms=((Part(inner=inner, div=div, mod=mod), 1),))


def _rejoined(index: Affine) -> Affine:
    """Join `i / (d*m) * (c*m)` and `i / d % m * c` to `i / d * c`, as long as there are such pairs."""
    for low, factor in index.terms:
        if isinstance(low, str) or low.mod is None:
            continue
        for high, outer in index.terms:
            if isinstance(high, str) or high.inner != low.inner:
                continue
            if high.div == low.div * low.mod and outer == factor * low.mod:
                rest = tuple(t for t in index.terms if t[0] not in (low, high))
                mod = None if high.mod is None else low.mod * high.mod
                joined = part(low.inner, low.div, mod) * factor
                return _rejoined(Affine(terms=rest, const=index.const) + joined)
    return index


def _product(term: Term, factor: int) -> str:
    text = term if isinstance(term, str) else str(term)
    if factor == 1:
        return text
    return f"{text} * {factor}" if isinstance(term, str) else f"({text}) * {factor}"
