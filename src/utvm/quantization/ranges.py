"""The range of real values that the integers of a tensor cover, from what calibration saw."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from utvm.graph import DType, Quantization

_BINS = 4096
_PERCENTILE = 99.99
_SHRINK = np.linspace(0.3, 1.0, 36)
"""Factors that least squares tries on both ends."""
_LEAST_WIDTH = 255 * 2.0**-26
"""A scale has to be above 2^-27 for TFLite's sigmoid and tanh."""


class Method(StrEnum):
    """How a range follows from a distribution."""

    MIN_MAX = "min-max"
    """All that was seen."""
    PERCENTILE = "percentile"
    """99.99 % of what was seen, on both sides."""
    LEAST_SQUARES = "least-squares"
    """The range with the smallest mean square of errors, of rounding and saturation together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueRange:
    """Real values from `low` (at most 0) to `high` (at least 0)."""

    low: float
    high: float

    def quantization(self, dtype: DType = DType.INT8) -> Quantization:
        """Return int8, or int16 without a zero point, over this range; 0 is exact."""
        if dtype is DType.INT16:
            most = max(self.high, -self.low, _LEAST_WIDTH)
            return Quantization.per_tensor(float(np.float32(most / 32767)))
        width = max(self.high - self.low, _LEAST_WIDTH)
        scale = float(np.float32(width / 255))
        zero_point = int(np.clip(np.rint(-128 - self.low / scale), -128, 127))
        return Quantization.per_tensor(scale, zero_point)


class Distribution:
    """The values of one tensor over all samples: extremes and a histogram whose range doubles as it has to."""

    def __init__(self) -> None:
        self.low = 0.0
        self.high = 0.0
        self.counts: NDArray[np.int64] = np.zeros(_BINS, np.int64)
        self._reach = 0.0
        """The histogram covers -reach to reach."""

    def add(self, values: NDArray[np.float32]) -> None:
        """Count more values."""
        low, high = float(values.min()), float(values.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        most = max(-low, high)
        if self._reach == 0.0:
            self._reach = most
        if self._reach == 0.0:
            return
        while self._reach < most:
            pairs = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.concatenate([np.zeros(_BINS // 4, np.int64), pairs, np.zeros(_BINS // 4, np.int64)])
            self._reach *= 2
        index = ((values.reshape(-1) / self._reach + 1) * (_BINS / 2)).astype(np.int64)
        self.counts += np.bincount(np.minimum(index, _BINS - 1), minlength=_BINS)

    @property
    def centres(self) -> NDArray[np.float64]:
        """The real value in the middle of each bin."""
        return np.asarray(((np.arange(_BINS) + 0.5) / (_BINS / 2) - 1) * self._reach, np.float64)

    def range(self, method: Method) -> ValueRange:
        """Return the range to quantise by."""
        if method is Method.PERCENTILE:
            return self._percentile()
        if method is Method.LEAST_SQUARES:
            return self._least_squares()
        return ValueRange(low=self.low, high=self.high)

    def _percentile(self) -> ValueRange:
        total = self.counts.sum()
        if not total:
            return ValueRange(low=self.low, high=self.high)
        share = np.cumsum(self.counts) / total
        low = self.centres[int(np.searchsorted(share, 1 - _PERCENTILE / 100))]
        high = self.centres[min(int(np.searchsorted(share, _PERCENTILE / 100)), _BINS - 1)]
        return ValueRange(low=min(0.0, max(float(low), self.low)), high=max(0.0, min(float(high), self.high)))

    def _least_squares(self) -> ValueRange:
        kept = np.flatnonzero(self.counts)
        values, counts = self.centres[kept], self.counts[kept].astype(np.float64)
        best, least = ValueRange(low=self.low, high=self.high), np.inf
        for factor in _SHRINK:
            tried = ValueRange(low=self.low * float(factor), high=self.high * float(factor))
            quant = tried.quantization()
            scale, zero_point = quant.scale[0], quant.zero_point[0]
            stored = np.clip(np.rint(values / scale) + zero_point, -128, 127)
            error = float((counts * ((stored - zero_point) * scale - values) ** 2).sum())
            if error < least:
                best, least = tried, error
        return best
