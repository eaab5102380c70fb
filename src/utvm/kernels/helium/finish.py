"""How vectors of sums become int8: requantisation, output zero point and clamp, to the bit.

VQRDMULH is TFLite's rounding doubling high multiplication. VRSHL to the right rounds halves up; TFLite's second
rounding takes them away from zero, so negative values are lowered by one first, unless their channel is not shifted.
Where the clamp begins at the output zero point or above, negative values end there anyway. A shift to the left comes
first.

Single rounding is the high half of the product, VMULH, and VRSHL by one bit or more: what the low half would add is
below that bit. Channels with a smaller right shift are shifted to the left first, where their sums have room.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from utvm.graph import Conv2D, DepthwiseConv2D, FullyConnected, Rounding
from utvm.graph.arithmetic import channel_requantization
from utvm.kernels.dsp.finish import accumulator_bound

Weighted = Conv2D | DepthwiseConv2D | FullyConnected

_SINGLE_ROOM = 2
"""Bits by which a sum under single rounding is shifted to the left more than its scale is."""
_SUM_BITS = 31
_PRODUCTS = {Rounding.DOUBLE: "vqrdmulh", Rounding.SINGLE: "vmulh", Rounding.HALF_UP_SHIFT: ""}
_LOWEST, _HIGHEST = -128, 127


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorFinish:
    """The steps from sums to int8.

    Attributes:
        product: the instruction that multiplies; empty where values are only shifted, as in q7 networks.
        left: whether some channel is shifted to the left first.
        lowers: whether negative values are lowered by one before the shift; `some`: not in every channel.
        zero_point: the output's.
        low, high: the clamp.
    """

    product: str
    left: bool
    lowers: str
    zero_point: int
    low: int
    high: int

    @staticmethod
    def of(op: Weighted) -> VectorFinish:
        """Return the steps of an operator."""
        double = op.rounding is Rounding.DOUBLE
        shift = channel_requantization(op).shift
        matters = double and op.clamp[0] < op.y.zero_point
        return VectorFinish(
            product=_PRODUCTS[op.rounding],
            left=bool((_left(op) > 0).any()),
            lowers="" if not matters else "all" if bool((shift < 0).all()) else "some",
            zero_point=op.y.zero_point,
            low=op.clamp[0],
            high=op.clamp[1],
        )

    @property
    def unsigned(self) -> bool:
        """Whether saturation to uint8 is the clamp."""
        return (self.zero_point, self.low, self.high) == (_LOWEST, _LOWEST, _HIGHEST)

    @property
    def multiplies(self) -> bool:
        """Whether values are multiplied."""
        return bool(self.product)

    @property
    def shifts(self) -> bool:
        """Whether values are shifted behind the multiplication."""
        return True

    @property
    def adds(self) -> bool:
        """Whether something is added to products."""
        return False

    @property
    def vectors(self) -> int:
        """Vectors of constants that four channels have."""
        return self.shifts + self.multiplies + self.left + self.adds

    @property
    def clamps_low(self) -> bool:
        """Whether a vector of the lower end is needed."""
        return not self.unsigned and self.low > _LOWEST

    @property
    def clamps_high(self) -> bool:
        """Whether a vector of the upper end is needed."""
        return self.high < _HIGHEST


def refusal(op: Weighted) -> str | None:
    """Return why sums of `op` have no exact finish, as a clause; None where they have one."""
    shift = channel_requantization(op).shift
    if op.rounding is Rounding.HALF_UP_SHIFT and bool((shift > 1).any()):
        return "a scale shifts to the left"
    if op.rounding is Rounding.SINGLE and bool((accumulator_bound(op) << _left(op) >> _SUM_BITS > 0).any()):
        return "a scale is large, and its sums are too"
    return None


def constants(op: Weighted) -> list[NDArray[np.int64]]:
    """Return the vectors of `VectorFinish.vectors`, in the order of use, each [OC]."""
    table, finish = channel_requantization(op), VectorFinish.of(op)
    shift = table.shift.astype(np.int64)
    if not finish.multiplies:
        return [shift - 1]
    left = _left(op)
    # VMULH leaves the double of what VQRDMULH does.
    right = np.minimum(shift, 0) if op.rounding is Rounding.DOUBLE else shift + 1 - left
    return [*([left] if finish.left else []), table.multiplier.astype(np.int64), right]


def _left(op: Weighted) -> NDArray[np.int64]:
    """Return by how many bits each channel's sums are shifted to the left."""
    shift = channel_requantization(op).shift.astype(np.int64)
    if op.rounding is Rounding.HALF_UP_SHIFT:
        return np.zeros_like(shift)
    return np.maximum(shift + (_SINGLE_ROOM if op.rounding is Rounding.SINGLE else 0), 0)
