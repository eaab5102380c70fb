"""How vectors of sums of int16 activations become int16, to the bit.

tflite-micro scales a sum of 64 bits by a multiplier of 16 bits R and one rounding: (sum * R + 2^(t - 1)) >> t. Here
sums have 32 bits. For t <= 32 that is VRMULH by R * 2^(32 - t). Where some channel has a larger t, VMULH by R * 2^16
leaves the floor of sum * R / 2^16, and VRSHL by t - 16 bits adds the half: floors of floors are the same. Channels of
smaller t are shifted to the left first, where their sums have room.

Where biases alone leave 32 bits, their upper parts are multiplied by R when compiling, and added to the floor. Other
sums that may leave 32 bits have 64, and R and t as they are.

Sums beside a bias of 32 bits wrap and are rounded twice, as those of int8.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from utvm.graph import DepthwiseConv2D
from utvm.graph.arithmetic import channel_requantization
from utvm.graph.formulas import limits
from utvm.kernels.dsp.finish import Weighted
from utvm.kernels.dsp.wide_finish import biases, is_wrapping, largest_sums
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
_BEYOND = 1 << 62
"""To which `largest_sums` takes biases."""
_ROUNDED, _FLOORED, _TWICE, _LONG = "vrmulh", "vmulh", "vqrdmulh", "long"
_LEAST = {_ROUNDED: 16, _FLOORED: 17}
"""The least right shift of each product: to the left of it sums are shifted first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WideFinish(VectorFinish):
    """The steps from sums to int16, as of `VectorFinish`; no zero point.

    Attributes:
        has_addend: whether something is added to products.
    """

    has_addend: bool

    @staticmethod
    def of(op: Weighted) -> WideFinish:
        """Return the steps of an operator."""
        low, high = limits(op)
        steps = _steps(op)
        lowers = steps.product == _TWICE and low < 0
        return WideFinish(
            product=steps.product,
            left=bool((steps.left > 0).any()),
            has_addend=bool((steps.addend != 0).any()),
            lowers="" if not lowers else "all" if bool((steps.right < 0).all()) else "some",
            zero_point=0,
            low=low,
            high=high,
        )

    @property
    def shifts(self) -> bool:
        """Whether values are shifted behind the multiplication."""
        return self.product != _ROUNDED

    @property
    def adds(self) -> bool:
        """Whether something is added to products."""
        return self.has_addend

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
    if _steps(op).product != _LONG:
        return None
    if isinstance(op, DepthwiseConv2D):
        return "a sum may leave 32 bits"
    reduced, total = _reduced(op, _ALWAYS_ZERO_LONG)
    most = largest_sums(op)
    if bool((most >= _MOST_LONG).any() or (total < 1).any()):
        return "its sums or its scales are too large"
    return "its outputs may leave 32 bits" if bool((most * reduced >> np.minimum(total, 62) >= 1 << 31).any()) else None


def wide_bias(op: Weighted) -> NDArray[np.int64]:
    """Return what is added to each channel's sums first, [OC]."""
    return _steps(op).bias


def wide_constants(op: Weighted) -> list[NDArray[np.int64]]:
    """Return the constants of the finish, or those of sums of 64 bits, in the order of use, each [OC]."""
    steps, finish = _steps(op), WideFinish.of(op)
    if finish.long:
        reduced, total = _reduced(op, _ALWAYS_ZERO_LONG)
        return [np.int64(1) << (total - 1), reduced, total]
    used = (finish.left, steps.left), (True, steps.factor), (finish.adds, steps.addend), (finish.shifts, steps.right)
    return [each for needed, each in used if needed]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Steps:
    """What is done to the sums of each channel, [OC].

    Attributes:
        product: what multiplies.
        bias: what is added first.
        left: by how many bits sums are shifted to the left then.
        factor: what they are multiplied by.
        addend: what is added to the product.
        right: minus the bits of the last shift.
    """

    product: str
    bias: NDArray[np.int64]
    left: NDArray[np.int64]
    factor: NDArray[np.int64]
    addend: NDArray[np.int64]
    right: NDArray[np.int64]


@lru_cache(maxsize=8)
def _steps(op: Weighted) -> _Steps:
    bias, none = biases(op), np.zeros_like(biases(op))
    if is_wrapping(op):
        table = channel_requantization(op)
        shift, factor = table.shift.astype(np.int64), table.multiplier.astype(np.int64)
        left, right = np.maximum(shift, 0), np.minimum(shift, 0)
        return _Steps(product=_TWICE, bias=bias, left=left, factor=factor, addend=none, right=right)
    reduced, total = _reduced(op, _ALWAYS_ZERO)
    product = _ROUNDED if bool((total <= _MOST_TOTAL).all()) else _FLOORED
    left = np.maximum(_LEAST[product] - total, 0)
    # Compared with a shifted limit: shifted sums may leave 64 bits.
    fits = largest_sums(op) >> 31 - np.minimum(left, 31) == 0
    if not bool(fits.all()):
        return _with_parted_bias(op, fits) or _Steps(
            product=_LONG, bias=bias, left=none, factor=none, addend=none, right=none
        )
    factor = reduced << (_MOST_TOTAL - total - left if product == _ROUNDED else 16)
    return _Steps(product=product, bias=bias, left=left, factor=factor, addend=none, right=16 - total - left)


def _with_parted_bias(op: Weighted, fits: NDArray[np.bool_]) -> _Steps | None:
    """Return the steps where biases alone leave 32 bits; None where something else does.

    The upper part of such a bias, from bit 16 + j on, is multiplied here: floor((sum + b) * R / 2^(16 + j)) is that of
    the sum and the lower part, plus the upper part times R.
    """
    bias, addend = biases(op).copy(), np.zeros_like(biases(op))
    reduced, total = _reduced(op, _ALWAYS_ZERO)
    all_reduced, all_totals = _reduced(op, _ALWAYS_ZERO_LONG)
    left = np.maximum(_LEAST[_FLOORED] - total, 0)
    products = largest_sums(op) - np.abs(np.clip(bias, -_BEYOND, _BEYOND))
    more = np.zeros_like(bias)
    for channel in np.flatnonzero(~fits | (largest_sums(op) >> 31 - np.minimum(left, 31) > 0)):
        factor, shift, whole = int(all_reduced[channel]), int(all_totals[channel]), int(bias[channel])
        for j in range(16):
            upper, lower = divmod(whole, 1 << 16 + j)
            room = int(products[channel]) + lower < 1 << 31 and abs(upper * factor) < 1 << 30
            if room and 0 < shift - 16 - j < 31:
                break
        else:
            return None
        bias[channel], addend[channel], more[channel] = lower, upper * factor, j
        reduced[channel], total[channel], left[channel] = factor, shift, 0
    right = 16 - total - left + more
    return _Steps(product=_FLOORED, bias=bias, left=left, factor=reduced << 16 - more, addend=addend, right=right)


def _reduced(op: Weighted, always_zero: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return R and t of each channel; R is 0 where t is so large that every output is."""
    table = channel_requantization(op)
    reduced, total = upper_half(table.multiplier), 15 - table.shift.astype(np.int64)
    nothing = (reduced == 0) | (total >= always_zero)
    return np.where(nothing, 0, reduced), np.where(nothing, _MOST_TOTAL, total)
