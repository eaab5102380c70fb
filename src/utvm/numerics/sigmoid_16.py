"""Sigmoid and hyperbolic tangent of int16 by a table with linear interpolation, as TFLite has them.

Arguments are Q3.12 times 3: a step of the table is 1/24. Its knots lie above the curve by half of what a chord lies
below it in the middle, which makes the largest error of the interpolation smallest; the last is the end of the range.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.int64]
_STEP = 1 / 24
_KNOTS = 256


def sigmoid_knots() -> NDArray[np.uint16]:
    """Return sigmoid(i / 24) times 2^16 for interpolation, uint16 [256]."""
    value = 1 / (1 + np.exp(-np.arange(_KNOTS) * _STEP))
    bend = value * (1 - value) * (2 * value - 1)
    knots = np.floor(65536 * (value + _STEP**2 / 16 * bend) + 0.5)
    knots[-1] = 65535
    found: NDArray[np.uint16] = knots.astype(np.uint16)
    return found


def sigmoid_16(x: NDArray[Any]) -> Values:
    """Return the sigmoid of Q3.12 in Q0.15."""
    scaled = x.astype(np.int64) * 3
    size, knots = np.abs(scaled), sigmoid_knots().astype(np.int64)
    place = np.minimum(size >> 9, 254)
    inside = (knots[place] << 9) + (size & 511) * (knots[place + 1] - knots[place])
    value = np.where(size >> 9 >= 255, 0x7FFF << 10, inside)
    return np.asarray(np.where(scaled >= 0, value + 512, (1 << 25) - value + 511) >> 10, np.int64)


def tanh_16(x: NDArray[Any], *, power: int) -> Values:
    """Return tanh(x * 2^power) in Q0.15 of int16."""
    shift = 12 + power
    wide = x.astype(np.int64) * 3
    scaled = wide << shift if shift >= 0 else (wide + (1 << (-shift - 1))) >> -shift
    size, knots = np.abs(scaled), sigmoid_knots().astype(np.int64)
    place = np.minimum(size >> 8, 254)
    inside = (knots[place] << 8) + (size & 255) * (knots[place + 1] - knots[place])
    value = np.where(size >> 8 >= 255, 0xFFFF << 8, inside)
    result = np.where(scaled >= 0, value - (1 << 23) + 128, -value + (1 << 23) + 127)
    return np.asarray(result >> 8, np.int64)
