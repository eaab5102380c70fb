"""Exact integer Winograd transforms: F(2,3), F(4,3) and F(2,5) in one dimension.

Interpolation at 0, ±1, (±2,) and infinity. The rows of the weight transform are scaled so that all entries are
integers; the inverse transform undoes the differences between rows with shifts and leaves one factor, `scale` for each
dimension.
Source: S. Winograd, Arithmetic Complexity of Computations (1980); the integer scaling is ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from utvm.cores.microkernel import Block

Emit = Callable[[Block, list[str], str], list[str]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Transform:
    """One F(m, r): `points` = m + r - 1 inputs give m outputs of a filter of r taps.

    `data` (two int16 lanes a word, SADD16) and `inverse` (int32) append their instructions to a block, for the names of
    their inputs and a prefix for names of their own, and return the names of the results. `data_gain` bounds the sum of
    |coefficients| of the data transform. The result is `scale` times the convolution, for each dimension.
    """

    outputs: int
    taps: int
    weights: NDArray[np.int64]
    data_gain: int
    scale: int
    data: Emit
    inverse: Emit

    @property
    def points(self) -> int:
        """Inputs of one tile."""
        return self.outputs + self.taps - 1


class _Writer:
    """Appends two-operand operations under fresh names."""

    def __init__(self, block: Block, prefix: str, add: str, subtract: str) -> None:
        self._block, self._prefix, self._add, self._subtract = block, prefix, add, subtract
        self._count = 0

    def add(self, a: str, b: str, shift: int = 0) -> str:
        """Return the name of a + (b << shift)."""
        return self._emit(self._add, a, b, shift)

    def subtract(self, a: str, b: str) -> str:
        """Return the name of a - b."""
        return self._emit(self._subtract, a, b, 0)

    def twice(self, a: str) -> str:
        """Return the name of 2 * a."""
        return self.add(a, a)

    def _emit(self, operation: str, a: str, b: str, shift: int) -> str:
        self._count += 1
        name = f"%{self._prefix}t{self._count}"
        self._block(f"{operation} {name}, {a}, {b}" + (f", lsl #{shift}" if shift else ""))
        return name


def _data4(block: Block, d: list[str], prefix: str) -> list[str]:
    w = _Writer(block, prefix, "sadd16", "ssub16")
    return [w.subtract(d[0], d[2]), w.add(d[1], d[2]), w.subtract(d[2], d[1]), w.subtract(d[1], d[3])]


def _data6(block: Block, d: list[str], prefix: str) -> list[str]:
    w = _Writer(block, prefix, "sadd16", "ssub16")
    far = w.subtract(d[4], d[2])
    near = w.twice(w.twice(w.subtract(d[0], d[2])))
    first = w.add(near, far)  # 4 d0 - 5 d2 + d4
    odd = w.subtract(d[3], d[1])
    double = w.twice(odd)
    last = w.subtract(w.subtract(d[5], d[3]), w.twice(double))  # 4 d1 - 5 d3 + d5
    even4 = w.subtract(d[4], w.twice(w.twice(d[2])))  # d4 - 4 d2
    odd4 = w.subtract(d[3], w.twice(w.twice(d[1])))  # d3 - 4 d1
    return [
        first,
        w.add(even4, odd4),
        w.subtract(even4, odd4),
        w.add(far, double),
        w.subtract(far, double),
        last,
    ]


def _inverse_2_3(block: Block, m: list[str], prefix: str) -> list[str]:
    w = _Writer(block, prefix, "add", "sub")
    return [w.add(m[0], w.add(m[1], m[2])), w.subtract(w.subtract(m[1], m[2]), m[3])]


def _inverse_4_3(block: Block, m: list[str], prefix: str) -> list[str]:
    w = _Writer(block, prefix, "add", "sub")
    s, d = w.add(m[1], m[2]), w.subtract(m[1], m[2])
    p, q = w.add(m[3], m[4]), w.subtract(m[3], m[4])
    return [
        w.add(w.add(m[0], s), p),
        w.add(d, q, 1),
        w.add(s, p, 2),
        w.add(w.add(d, q, 3), m[5], 1),
    ]


def _inverse_2_5(block: Block, m: list[str], prefix: str) -> list[str]:
    w = _Writer(block, prefix, "add", "sub")
    s, d = w.add(m[1], m[2]), w.subtract(m[1], m[2])
    p, q = w.add(m[3], m[4]), w.subtract(m[3], m[4])
    second = w.add(w.add(q, d, 1), m[5], 1)
    return [w.add(w.add(m[0], p), s, 2), w.twice(second)]


def _matrix(*rows: tuple[int, ...]) -> NDArray[np.int64]:
    return np.array(rows, np.int64)


F23 = Transform(
    outputs=2,
    taps=3,
    weights=_matrix((2, 0, 0), (1, 1, 1), (1, -1, 1), (0, 0, 2)),
    data_gain=2,
    scale=2,
    data=_data4,
    inverse=_inverse_2_3,
)
F43 = Transform(
    outputs=4,
    taps=3,
    weights=_matrix((6, 0, 0), (-4, -4, -4), (-4, 4, -4), (1, 2, 4), (1, -2, 4), (0, 0, 12)),
    data_gain=10,
    scale=24,
    data=_data6,
    inverse=_inverse_4_3,
)
F25 = Transform(
    outputs=2,
    taps=5,
    weights=_matrix(
        (6, 0, 0, 0, 0),
        (-1, -1, -1, -1, -1),
        (-1, 1, -1, 1, -1),
        (1, 2, 4, 8, 16),
        (1, -2, 4, -8, 16),
        (0, 0, 0, 0, 6),
    ),
    data_gain=10,
    scale=24,
    data=_data6,
    inverse=_inverse_2_5,
)
TRANSFORMS = {(t.taps, t.outputs): t for t in (F23, F43, F25)}
