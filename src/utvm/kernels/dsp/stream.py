"""The weight stream of a multiply-accumulate micro-kernel: what it reads, in the order in which it reads it.

For each block of N output channels: bias words, weight words, then the constants of the finish: those that the block
shares and those of each channel (`Finish.shared_words`, `Finish.channel_words`). A weight word holds two int16 lanes.
In form `pair8` a lane holds 256 * p + q for the channels p and q of a pair, so that each weight takes one byte: SMLAD
with it accumulates 256 * P + Q, SXTB16 extracts q for Q, and P = (acc - Q) >> 8 at the end, exact while |Q| < 2^23.
In form `bytes` two SXTB16 make the words of both channels of a pair.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

PAIR8_BOUND = 1 << 23


class WeightForm(StrEnum):
    """How weights are stored."""

    INT16 = "int16"
    PAIR8 = "pair8"
    BYTES = "bytes"


def to_words(values: list[int] | NDArray[np.int64]) -> NDArray[np.int32]:
    """Return integers modulo 2^32 as int32."""
    return (np.asarray(values, np.int64) & 0xFFFFFFFF).astype(np.uint32).view(np.int32)


def lane_words(low: NDArray[np.int64], high: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return words with `low` in bits 0–15 and `high` in bits 16–31."""
    return (low & 0xFFFF) | ((high & 0xFFFF) << 16)
