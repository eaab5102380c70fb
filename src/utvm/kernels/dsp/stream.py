"""The weight stream of a multiply-accumulate micro-kernel: what it reads, in the order in which it reads it.

For each block of N output channels: bias words, weight words, output zero point, then (multiplier, shift) words of each
channel. A weight word holds two int16 lanes. In form `pair8` a lane holds 256 * p + q for the channels p and q of a
pair, so that each weight takes one byte: SMLAD with it accumulates 256 * P + Q, SXTB16 extracts q for Q, and
P = (acc - Q) >> 8 at the end, exact while |Q| < 2^23.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from utvm.graph import FULL_INT8, Conv2D, DepthwiseConv2D, FullyConnected, Rounding
from utvm.graph.arithmetic import channel_requantization

Weighted = Conv2D | DepthwiseConv2D | FullyConnected
PAIR8_BOUND = 1 << 23


class WeightForm(StrEnum):
    """How weights are stored."""

    INT16 = "int16"
    PAIR8 = "pair8"


class Saturation(StrEnum):
    """The instruction that limits a result, and its bits; any other clamp is left to the portable kernels."""

    INT8 = "ssat #8"
    """-128 … 127."""
    RELU = "usat #7"
    """0 … 127."""

    def line(self, register: str, shift: int = 0) -> str:
        """Return the instruction for a register, shifted right by `shift` before."""
        operation, bits = self.value.split()
        return f"{operation} {register}, {bits}, {register}" + (f", asr #{shift}" if shift else "")


class Finish(StrEnum):
    """How an accumulator becomes int8 in the micro-kernel."""

    DOUBLE = "double"
    """TFLite's double rounding by two SMMLAR, for right shifts of at least 2."""
    POSITIVE = "positive"
    """The same where the clamp takes all that is below the output zero point: ties of negative sums do not matter."""
    SHIFT = "shift"
    """Half-up shift (q7): the rounding constant and the output zero point are part of the bias."""
    SUM = "sum"
    """None: sums start at zero and are stored as int32."""

    @property
    def multiplies(self) -> bool:
        """Whether it reads a channel's `first` and `second`, and the output zero point."""
        return self in (Finish.DOUBLE, Finish.POSITIVE)

    def lines(self, register: str, saturation: Saturation, *, n: int | str = "", shift: int = 0) -> tuple[str, ...]:
        """Return the instructions from an accumulator to its saturated result, in the same register.

        They read `%zero`, and `%first` and `%second` with `n` behind them; or shift right by `shift`.
        """
        if self is Finish.SUM:
            return ()
        if self is Finish.SHIFT:
            return (saturation.line(register, shift),)
        # Ties of the second rounding go away from zero: one less for negative numbers.
        away = (f"add {register}, {register}, {register}, asr #31",) if self is Finish.DOUBLE else ()
        return (
            f"smmlar {register}, {register}, %first{n}, {register}",
            *away,
            f"smmlar {register}, {register}, %second{n}, %zero",
            saturation.line(register),
        )


_SATURATIONS = {FULL_INT8: Saturation.INT8, (0, 127): Saturation.RELU}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Requantizer:
    """The finishing constants of each output channel, int64 [OC] each."""

    finish: Finish
    saturation: Saturation
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    bias_addend: NDArray[np.int64]

    @property
    def shift(self) -> int:
        """The right shift of `Finish.SHIFT`, which all channels share; 0 for other finishes."""
        return int(self.first[0]) if self.finish is Finish.SHIFT else 0


def requantizer(op: Weighted) -> Requantizer | None:
    """Return how the micro-kernel finishes `op`, or None where its short forms are not exact."""
    saturation = _SATURATIONS.get(op.clamp)
    if saturation is None:
        return None
    table = channel_requantization(op)
    multiplier, right = table.multiplier.astype(np.int64), -table.shift.astype(np.int64)
    zero = np.zeros_like(multiplier)
    if op.rounding is Rounding.DOUBLE and (multiplier >= 1 << 30).all() and (right >= 2).all() and (right <= 31).all():
        return Requantizer(
            finish=Finish.POSITIVE if op.clamp[0] >= op.y.zero_point else Finish.DOUBLE,
            saturation=saturation,
            first=2 * multiplier - (1 << 32),
            second=np.int64(1) << (32 - right),
            bias_addend=zero,
        )
    if op.rounding is Rounding.HALF_UP_SHIFT:
        return _shifting(op, right + 1, saturation)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class UniformFinish:
    """One multiplier for all channels: twice the accumulator times `multiplier`, plus `offset`, shifted right.

    `offset` holds the second rounding's half and the output zero point, `shift` is for the saturating instruction. That
    is one instruction less than two SMMLAR, and another where negative sums do not matter (`Finish.POSITIVE`).
    """

    multiplier: int
    offset: int
    shift: int

    @staticmethod
    def lines(register: str, finish: Finish, saturation: Saturation, shift: int) -> tuple[str, ...]:
        """Return the instructions from twice an accumulator to its saturated result, in the same register.

        They read `%first`, the multiplier, and `%offset`.
        """
        last = (f"smmlar {register}, {register}, %first, %offset", saturation.line(register, shift))
        if finish is Finish.POSITIVE:
            return last
        # As in `Finish.lines`; with such a multiplier the rounded product is negative just where the sum is.
        own = f"%offset_{register[1:]}"
        return (f"add {own}, %offset, {register}, asr #31", last[0].replace("%offset", own), last[1])


def uniform_finish(op: Weighted, found: Requantizer) -> UniformFinish | None:
    """Return the finish of an operator whose channels share one multiplier and shift, or None where it is not exact.

    A sum below zero has to stay below zero after the first rounding, so the multiplier must exceed one half; and twice
    the sum, and the product with its offset, have to fit int32.
    """
    if not found.finish.multiplies or not ((found.first == found.first[0]) & (found.second == found.second[0])).all():
        return None
    multiplier, shift = (int(found.first[0]) + (1 << 32)) // 2, 33 - int(found.second[0]).bit_length()
    offset = (1 << (shift - 1)) + (op.y.zero_point << shift)
    bound = int(accumulator_bound(op, 3 if isinstance(op, DepthwiseConv2D) else 0).max())
    if multiplier <= 1 << 30 or bound + abs(offset) >= 1 << 30:
        return None
    return UniformFinish(multiplier=multiplier, offset=offset, shift=shift)


def _shifting(op: Weighted, shift: NDArray[np.int64], saturation: Saturation) -> Requantizer | None:
    """One shift for all channels; rounding and output zero point are added to the bias, in front of the shift."""
    if not (shift == shift[0]).all() or not 1 <= shift[0] <= 31:
        return None
    addend = (np.int64(1) << (shift - 1)) + (np.int64(op.y.zero_point) << shift)
    axis = 3 if isinstance(op, DepthwiseConv2D) else 0
    if (accumulator_bound(op, axis) + np.abs(addend) >= 1 << 31).any():
        return None
    return Requantizer(
        finish=Finish.SHIFT, saturation=saturation, first=shift, second=np.zeros_like(shift), bias_addend=addend
    )


def folded_bias(op: Weighted, channel_axis: int) -> NDArray[np.int64]:
    """Return bias - x's zero point * sum of the channel's weights: the accumulator's start for raw inputs."""
    weights = np.moveaxis(op.weights.values.astype(np.int64), channel_axis, 0)
    sums = weights.reshape(weights.shape[0], -1).sum(axis=1)
    bias = np.zeros_like(sums) if op.bias is None else op.bias.values.astype(np.int64)
    folded: NDArray[np.int64] = bias - op.x.zero_point * sums
    return folded


def accumulator_bound(op: Weighted, channel_axis: int) -> NDArray[np.int64]:
    """Return, for each output channel, a bound on |accumulator| over all raw int8 inputs, folded bias included."""
    weights = np.moveaxis(np.abs(op.weights.values.astype(np.int64)), channel_axis, 0)
    bound: NDArray[np.int64] = weights.reshape(weights.shape[0], -1).sum(axis=1) * 128
    return bound + np.abs(folded_bias(op, channel_axis))


def to_words(values: list[int] | NDArray[np.int64]) -> NDArray[np.int32]:
    """Return integers modulo 2^32 as int32."""
    return (np.asarray(values, np.int64) & 0xFFFFFFFF).astype(np.uint32).view(np.int32)


def lane_words(low: NDArray[np.int64], high: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return words with `low` in bits 0–15 and `high` in bits 16–31."""
    return (low & 0xFFFF) | ((high & 0xFFFF) << 16)
