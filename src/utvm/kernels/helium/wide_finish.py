"""How vectors of sums of int16 activations become int16, to the bit.

tflite-micro scales a sum of 64 bits by a multiplier of 16 bits R and one rounding: (sum * R + 2^(t - 1)) >> t. Here
sums have 32 bits. For t <= 32 that is VRMULH by R * 2^(32 - t). Where some channel has a larger t, VMULH by R * 2^16
leaves the floor of sum * R / 2^16, and VRSHL by t - 16 bits adds the half: floors of floors are the same. Channels of
smaller t are shifted to the left first, where their sums have room.

Sums that may leave 32 bits have 64, and R and t as they are.

Sums beside a bias of 32 bits wrap and are rounded twice, as those of int8.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from utvm.graph import DepthwiseConv2D
from utvm.graph.arithmetic import channel_requantization
from utvm.graph.formulas import limits
from utvm.kernels.dsp.finish import Weighted
from utvm.kernels.dsp.wide_finish import is_wrapping, largest_sums
from utvm.kernels.helium.finish import VectorFinish
from utvm.numerics.wide import upper_half

_LOWEST, _HIGHEST = -(1 << 15), (1 << 15) - 1
_MOST_TOTAL = 32
"""The right shift of a product with R up to which VRMULH suffices."""
_ALWAYS_ZERO = 47
_ALWAYS_ZERO_LONG = 63
"""Right shifts by which every product of a sum of 32 bits, and of one of `_MOST_LONG`, becomes 0."""
_MOST_LONG = 1 << 47
"""What a product with R of 15 bits leaves below half of the range of 64 bits."""
_ROUNDED, _FLOORED, _TWICE, _LONG = "vrmulh", "vmulh", "vqrdmulh", "long"
_LEAST = {_ROUNDED: 16, _FLOORED: 17}
"""The least right shift of each product: to the left of it sums are shifted first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WideFinish(VectorFinish):
    """The steps from sums of 32 bits to int16, as of `VectorFinish`; no zero point."""

    @staticmethod
    def of(op: Weighted) -> WideFinish:
        """Return the steps of an operator."""
        low, high = limits(op)
        product, left, right = _steps(op)
        lowers = product == _TWICE and low < 0
        return WideFinish(
            product=product,
            left=bool((left > 0).any()),
            lowers="" if not lowers else "all" if bool((right < 0).all()) else "some",
            zero_point=0,
            low=low,
            high=high,
        )

    @property
    def shifts(self) -> bool:
        """Whether values are shifted behind the multiplication."""
        return self.product != _ROUNDED

    @property
    def long(self) -> bool:
        """Whether sums have 64 bits."""
        return self.product == _LONG

    @property
    def unsigned(self) -> bool:
        """Whether saturation to unsigned values is the clamp."""
        return False

    @property
    def clamps_low(self) -> bool:
        """Whether a vector of the lower end is needed."""
        return self.low > _LOWEST

    @property
    def clamps_high(self) -> bool:
        """Whether a vector of the upper end is needed."""
        return self.high < _HIGHEST


def finish_refusal(op: Weighted) -> str | None:
    """Return why sums of `op` have no exact finish, as a clause; None where they have one."""
    if is_wrapping(op):
        return "its sums wrap" if isinstance(op, DepthwiseConv2D) else None
    if WideFinish.of(op).long:
        if isinstance(op, DepthwiseConv2D):
            return "a sum may leave 32 bits"
        reduced, total = _reduced(op, _ALWAYS_ZERO_LONG)
        most = largest_sums(op)
        if bool((most >= _MOST_LONG).any() or (total < 1).any()):
            return "its sums or its scales are too large"
        if bool((most * reduced >> np.minimum(total, 62) >= 1 << 31).any()):
            return "its outputs may leave 32 bits"
    return None


def wide_constants(op: Weighted) -> list[NDArray[np.int64]]:
    """Return the vectors of `WideFinish.vectors`, in the order of use, each [OC]."""
    finish = WideFinish.of(op)
    product, left, right = _steps(op)
    if product == _LONG:
        reduced, total = _reduced(op, _ALWAYS_ZERO_LONG)
        return [np.int64(1) << (total - 1), reduced, total]
    factors = channel_requantization(op).multiplier.astype(np.int64)
    if product != _TWICE:
        reduced, total = _reduced(op)
        factors = reduced << (_MOST_TOTAL - total - left if product == _ROUNDED else 16)
    return [*([left] if finish.left else []), factors, *([right] if finish.shifts else [])]


def _reduced(op: Weighted, always_zero: int = _ALWAYS_ZERO) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return R and t of each channel; R is 0 where every output is."""
    table = channel_requantization(op)
    reduced, total = upper_half(table.multiplier), 15 - table.shift.astype(np.int64)
    nothing = (reduced == 0) | (total >= always_zero)
    return np.where(nothing, 0, reduced), np.where(nothing, _MOST_TOTAL, total)


def _steps(op: Weighted) -> tuple[str, NDArray[np.int64], NDArray[np.int64]]:
    """Return the product, and by how many bits each channel is shifted to the left first and to the right after it.

    Shifts to the right are negative, as VRSHL takes them.
    """
    if is_wrapping(op):
        shift = channel_requantization(op).shift.astype(np.int64)
        return _TWICE, np.maximum(shift, 0), np.minimum(shift, 0)
    _, total = _reduced(op)
    product = _ROUNDED if bool((total <= _MOST_TOTAL).all()) else _FLOORED
    left = np.maximum(_LEAST[product] - total, 0)
    # Compared with a shifted limit: shifted sums may leave 64 bits.
    if bool((largest_sums(op) >> 31 - np.minimum(left, 31) > 0).any()):
        return _LONG, np.zeros_like(left), np.zeros_like(left)
    return product, left, 16 - total - left
