"""Exact integer Winograd transforms: F(2,3), F(4,3), F(2,5) and F(4,5) in one dimension.

F(m, r) computes m outputs y of a filter g of r taps from m + r - 1 inputs d by as many products:

    y = A^T [(G g) . (B^T d)]        with . element by element.

It is multiplication of polynomials by interpolation, transposed. Row p of G evaluates the filter at a point p, with the
powers 1, p, p^2, ...; column p of A^T holds the same powers; row p of B^T holds the coefficients of the product of
(x - q) over all other points q. The last point is infinity: there G takes the last tap, A^T gives to the last output,
and B^T has the product over all finite points. That leaves one factor for each point, 1 / product of (p - q), which may
stand in any of the three.

The points are 0, 1, -1, then 2, -2, then 1/2, -1/2, and infinity. Small numbers keep the entries of B^T small, which
decides whether data fit int16 (`data_gain`); points of opposite sign share their sums of even and of odd terms; powers
of two make A^T a matter of shifts.

All entries here are integers: each row of G is multiplied by what the denominators ask for, but by few powers of two,
since its bits are those of the weights; A^T shifts the sums of such a point up instead. So y comes out `scale` times
too large, and `exactness` divides that out again.

Sources: S. Winograd, Arithmetic Complexity of Computations (SIAM, 1980); A. Lavin and S. Gray, Fast Algorithms for
Convolutional Neural Networks (CVPR 2016), section 4, for the three matrices. The integer scaling is ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from utvm.cores.microkernel import Block

Emit = Callable[[Block, list[str]], list[str]]
"""Appends instructions to a block for the names of its inputs; returns the names of its results."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Transform:
    """One F(m, r): `points` = m + r - 1 inputs give m outputs of a filter of r taps.

    Points come in the order of the module's text. `weights` is G: [points, taps]. `data` is B^T (on two int16 lanes a
    word, by SADD16), `inverse` is A^T (on int32). `data_gain` bounds the sum of |entries| in a row of B^T. The result
    is `scale` times the convolution, for each dimension.
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

    def __init__(self, block: Block, add: str, subtract: str) -> None:
        self._block, self._add, self._subtract = block, add, subtract
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
        name = f"%t{self._count}"
        self._block(f"{operation} {name}, {a}, {b}" + (f", lsl #{shift}" if shift else ""))
        return name


def _data4(block: Block, d: list[str]) -> list[str]:
    """B^T for 0, 1, -1 and infinity."""
    w = _Writer(block, "sadd16", "ssub16")
    return [w.subtract(d[0], d[2]), w.add(d[1], d[2]), w.subtract(d[2], d[1]), w.subtract(d[1], d[3])]


def _data6(block: Block, d: list[str]) -> list[str]:
    """B^T for 0, 1, -1, 2, -2 and infinity."""
    w = _Writer(block, "sadd16", "ssub16")
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


def _inverse_2_3(block: Block, m: list[str]) -> list[str]:
    w = _Writer(block, "add", "sub")
    return [w.add(m[0], w.add(m[1], m[2])), w.subtract(w.subtract(m[1], m[2]), m[3])]


def _inverse_4_3(block: Block, m: list[str]) -> list[str]:
    w = _Writer(block, "add", "sub")
    s, d = w.add(m[1], m[2]), w.subtract(m[1], m[2])
    p, q = w.add(m[3], m[4]), w.subtract(m[3], m[4])
    return [
        w.add(w.add(m[0], s), p),
        w.add(d, q, 1),
        w.add(s, p, 2),
        w.add(w.add(d, q, 3), m[5], 1),
    ]


def _inverse_2_5(block: Block, m: list[str]) -> list[str]:
    w = _Writer(block, "add", "sub")
    s, d = w.add(m[1], m[2]), w.subtract(m[1], m[2])
    p, q = w.add(m[3], m[4]), w.subtract(m[3], m[4])
    second = w.add(w.add(q, d, 1), m[5], 1)
    return [w.add(w.add(m[0], p), s, 2), w.twice(second)]


def _data8(block: Block, d: list[str]) -> list[str]:
    """B^T for 0, 1, -1, 2, -2, 1/2, -1/2 and infinity."""
    w = _Writer(block, "sadd16", "ssub16")
    half, sloped, steep, first = _data8_columns(w, d[2], d[4], d[6], d[0])
    even1, even2 = w.add(half, sloped), half  # 4 d2 - 17 d4 + 4 d6, d2 - 5 d4 + 4 d6
    even_half = w.add(even1, w.add(steep, w.twice(steep)))  # 16 d2 - 20 d4 + 4 d6
    first = w.subtract(first, even1)  # 4 d0 - 21 d2 + 21 d4 - 4 d6
    half, sloped, steep, last = _data8_columns(w, d[5], d[3], d[1], d[7])
    odd1, odd_half = w.add(half, sloped), w.twice(half)  # 4 d1 - 17 d3 + 4 d5, 8 d1 - 10 d3 + 2 d5
    last = w.subtract(last, odd1)  # -4 d1 + 21 d3 - 21 d5 + 4 d7
    four3 = w.twice(w.twice(d[3]))
    odd2 = w.twice(w.add(w.subtract(steep, four3), d[1]))  # 2 d1 - 10 d3 + 8 d5
    pairs = ((even1, odd1), (even2, odd2), (even_half, odd_half))
    return [first, *(f(even, odd) for even, odd in pairs for f in (w.add, w.subtract)), last]


def _data8_columns(w: _Writer, a: str, b: str, c: str, end: str) -> tuple[str, str, str, str]:
    """Return a - 5 b + 4 c, 3 (a - 4 b), 4 a - b, and 4 end - 17 a + 4 b: what even and odd columns are made of."""
    four_a, four_b = w.twice(w.twice(a)), w.twice(w.twice(b))
    outer = w.subtract(w.subtract(four_b, w.twice(w.twice(four_a))), a)
    slope, steep = w.subtract(a, four_b), w.subtract(four_a, b)
    half = w.add(w.subtract(slope, b), w.twice(w.twice(c)))
    outer = w.add(outer, w.twice(w.twice(end)))
    return half, w.add(slope, w.twice(slope)), steep, outer


def _inverse_4_5(block: Block, m: list[str]) -> list[str]:
    w = _Writer(block, "add", "sub")
    s1, d1 = w.add(m[1], m[2]), w.subtract(m[1], m[2])
    s2, d2 = w.add(m[3], m[4]), w.subtract(m[3], m[4])
    s3, d3 = w.add(m[5], m[6]), w.subtract(m[5], m[6])
    return [
        w.add(w.add(w.add(m[0], s1), s2), s3, 3),
        w.add(w.add(d1, d2, 1), d3, 2),
        w.add(w.add(s1, s2, 2), s3, 1),
        w.add(w.add(w.add(d1, d2, 3), d3), m[7]),
    ]


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
F45 = Transform(
    outputs=4,
    taps=5,
    weights=_matrix(
        (180, 0, 0, 0, 0),
        (-40, -40, -40, -40, -40),
        (-40, 40, -40, 40, -40),
        (2, 4, 8, 16, 32),
        (2, -4, 8, -16, 32),
        (16, 8, 4, 2, 1),
        (16, -8, 4, -2, 1),
        (0, 0, 0, 0, 180),
    ),
    data_gain=60,
    scale=720,
    data=_data8,
    inverse=_inverse_4_5,
)
TRANSFORMS = {(t.taps, t.outputs): t for t in (F23, F43, F25)}
"""Those that are used in two dimensions."""
ROW_TRANSFORMS = {**TRANSFORMS, (5, 4): F45}
"""Those that are used along rows alone. F(4,5) in two dimensions would need more than int16 for the data."""
