"""Why an integer Winograd convolution loses nothing, when it does not, and the constants that divide its factor out.

The transforms leave a known factor on every sum S of a channel (products and bias): scale = odd * 2^right, one
`Transform.scale` for each dimension that is transformed. Additions, subtractions, multiplications and shifts to the
left commute with taking remainders, so whatever overflows on the way, int32 registers hold scale * S modulo 2^32. An
odd number has an inverse modulo 2^32:

    (scale * S) * odd^-1 = 2^right * S    modulo 2^32,

and where |S| < 2^(31 - right) the int32 at the right is 2^right * S itself: an arithmetic shift to the right by `right`
yields S. The bias is added as bias * 2^right behind the inverse, by the multiply-accumulate that applies it.

Products are made of int16 lanes, so transformed data and weights have to fit these. Data are raw int8 (their zero
point is in the bias), at most 128 in magnitude, and a transform makes them at most `data_gain` times larger in each
dimension; sums of lanes may overflow on the way too. Weights are known: they are transformed and looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from utvm.graph import Conv2D
from utvm.kernels.dsp.finish import Requantizer, accumulator_bound, folded_bias
from utvm.kernels.dsp.stream import to_words
from utvm.kernels.dsp.winograd.transforms import Transform

FINISH_WORDS = 5
"""Words of a channel's constants for its finish."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The factor odd * 2^right that a transform leaves on every sum."""

    odd: int
    right: int

    @staticmethod
    def of(transform: Transform, dimensions: int) -> Scale:
        """Return the scale of a transform that is applied along `dimensions` dimensions."""
        factor = transform.scale**dimensions
        right = (factor & -factor).bit_length() - 1
        return Scale(odd=factor >> right, right=right)

    @property
    def inverse(self) -> int:
        """The inverse of `odd` modulo 2^32."""
        return pow(self.odd, -1, 1 << 32)


def is_exact(
    op: Conv2D, found: Requantizer, transform: Transform, point_weights: NDArray[np.int64], *, dimensions: int
) -> bool:
    """Whether a convolution is exact by a transform: lanes hold its data and weights, int32 its sums times 2^right.

    Args:
        op: the convolution.
        found: its finish, whose addend is part of the sums.
        transform: the transform.
        point_weights: the transformed weights.
        dimensions: how many dimensions are transformed.
    """
    lane, word = 1 << 15, 1 << 31
    data_fit = transform.data_gain**dimensions * 128 < lane
    weights_fit = bool((np.abs(point_weights) < lane).all())
    sums = accumulator_bound(op) + np.abs(found.bias_addend)
    return data_fit and weights_fit and bool((sums < word >> Scale.of(transform, dimensions).right).all())


def finish_constants(op: Conv2D, found: Requantizer, scale: Scale) -> NDArray[np.int32]:
    """Return `FINISH_WORDS` words for each channel: bias * 2^right, inverse, first, second, third."""
    bias = (folded_bias(op) + found.bias_addend) << scale.right
    table = np.stack([bias, np.full_like(bias, scale.inverse), found.first, found.second, found.third])
    return to_words(table.T.reshape(-1))
