"""Weights as int8 without a zero point, one scale for each output channel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from utvm.quantization.ranges import Method

_SHRINK = np.linspace(0.6, 1.0, 21)
_MOST_BIAS = float(1 << 30)
"""A bias in units of its scale stays below this, so that sums have room in 32 bits."""


def weight_scales(
    weights: NDArray[np.float32], axis: int, method: Method, bias: NDArray[np.float32] | None, x_scale: float
) -> NDArray[np.float64]:
    """Return one scale for each channel along `axis`, as float32 holds them.

    Args:
        weights: real values.
        axis: of the output channels.
        method: least squares weighs rounding against saturation; the others take the largest magnitude.
        bias: real values; a channel's scale is large enough for its bias to fit.
        x_scale: of the layer's input.
    """
    rows = np.moveaxis(weights, axis, 0).reshape(weights.shape[axis], -1).astype(np.float64)
    largest = np.abs(rows).max(axis=1)
    if method is Method.LEAST_SQUARES:
        largest = largest * _best_factors(rows, largest)
    least = np.full(len(largest), max(float(largest.max()), 1e-6) * 1e-6)
    if bias is not None:
        least = np.maximum(least, np.abs(bias.astype(np.float64)) / (x_scale * _MOST_BIAS) * 127)
    scales: NDArray[np.float64] = (np.maximum(largest, least) / 127).astype(np.float32).astype(np.float64)
    return scales


def stored_weights(weights: NDArray[np.float32], scales: NDArray[np.float64], axis: int) -> NDArray[np.int8]:
    """Return weights in units of their channels' scales, -127 … 127."""
    shape = [1] * weights.ndim
    shape[axis] = -1
    stored: NDArray[np.int8] = np.clip(np.rint(weights / scales.reshape(shape)), -127, 127).astype(np.int8)
    return stored


def _best_factors(rows: NDArray[np.float64], largest: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the factor on each row's largest magnitude with the smallest mean square of errors."""
    errors = []
    for factor in _SHRINK:
        scale = np.maximum(largest * factor, 1e-30)[:, None] / 127
        stored = np.clip(np.rint(rows / scale), -127, 127)
        errors.append(((stored * scale - rows) ** 2).sum(axis=1))
    best: NDArray[np.float64] = _SHRINK[np.argmin(np.array(errors), axis=0)]
    return best
