"""How a micro-kernel makes int8 of an accumulator: requantisation, output zero point and clamp, to the bit.

With multiplier M in [2^30, 2^31) and a right shift r, TFLite's double rounding is two SMMLAR:

    h = a + round(a * (2M - 2^32) / 2^32)        = round(a * M / 2^31)
    y = zero + round(h * 2^(32 - r) / 2^32)      = zero + round(h / 2^r)

The second factor fits int32 for r >= 2. Where a channel has a smaller r, the layer's weights and biases are doubled:

    y = (round(2a * M / 2^32) + 2^(r - 1) + zero * 2^r) >> r

for a >= 0. For a < 0, where ties go away from zero, one less is shifted; that suits r >= 1. Where some r is 0 and
negative sums matter, all channels take 4h and r + 2 instead.

A shift to the left is part of the channel's weights and bias: products and sums commute with it, modulo 2^32.

Single rounding is one SMMLA, which holds half of the divisor and the zero point, and a shift. A channel whose scale is
below 2^-32 has the multiplier 0: its outputs are the zero point.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from utvm.graph import Conv2D, DepthwiseConv2D, DType, FullyConnected, Rounding
from utvm.graph.arithmetic import channel_requantization

Weighted = Conv2D | DepthwiseConv2D | FullyConnected

_REMEMBERED = 8
"""Operators whose constants are remembered: all configs of one are looked at before those of the next."""
_SCALE_BITS = 2
"""Bits by which the first product is shifted to the left where a right shift is below 2."""
_MOST_LEFT = 7
"""The largest left shift of int8 weights in int16 lanes, twice of which still fit (`UniformFinish`)."""
_FAR_RIGHT = 20
"""Single rounding: right shifts beyond which a channel's constants do not fit int32 with every zero point."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saturation:
    """The instructions that limit a result to a clamp.

    A result comes without `base`, which is added behind the saturation.

    - `signed`, `bits`: the saturating instruction;
    - `base`: the difference of a result to what is saturated;
    - `floor`: the lower end of the clamp where the saturation does not reach it, else None;
    - `rectifies`: whether sums below zero become zero first, since the clamp starts at the output zero point.
    """

    signed: bool = True
    bits: int = 8
    base: int = 0
    floor: int | None = None
    rectifies: bool = False

    @staticmethod
    def of(clamp: tuple[int, int], zero_point: int | None) -> Saturation:
        """Return the shortest form for a clamp; `zero_point` is what a sum of zero becomes, None if nobody knows."""
        low, high = clamp
        bits = (high - low).bit_length()
        if high - low == (1 << bits) - 1:
            signed = low == -(1 << bits >> 1) and bits > 0
            return Saturation(signed=signed, bits=bits, base=0 if signed else low)
        if low == zero_point:
            return Saturation(base=high - 127, rectifies=True)
        return Saturation(base=high - 127, floor=low)

    def before(self, register: str) -> tuple[str, ...]:
        """Return what is done to a sum first."""
        return (f"bic {register}, {register}, {register}, asr #31",) if self.rectifies else ()

    def lines(self, register: str, shift: int = 0) -> tuple[str, ...]:
        """Return the instructions for a register, shifted right by `shift` before."""
        name = "ssat" if self.signed else "usat"
        first = f"{name} {register}, #{self.bits}, {register}" + (f", asr #{shift}" if shift else "")
        if self.floor is None:
            return (first, *_added(register, self.base))
        below = _added(register, self.base - self.floor)
        return (first, *below, f"bic {register}, {register}, {register}, asr #31", *_added(register, self.floor))


INT8 = Saturation()
"""-128 … 127."""


def _added(register: str, value: int) -> tuple[str, ...]:
    if value == 0:
        return ()
    return (f"{'add' if value > 0 else 'sub'} {register}, {register}, #{abs(value)}",)


class Finish(StrEnum):
    """How an accumulator becomes int8 in the micro-kernel."""

    DOUBLE = "double"
    """TFLite's double rounding by two SMMLAR, for right shifts of at least 2."""
    POSITIVE = "positive"
    """The same where the clamp takes all that is below the output zero point: ties of negative sums do not matter."""
    SCALED_DOUBLE = "scaled double"
    """Double rounding for any right shift: four times the first product."""
    SCALED_POSITIVE = "scaled positive"
    """The same where ties of negative sums do not matter."""
    SHIFTED_DOUBLE = "shifted double"
    """Double rounding of twice a sum by one SMMLAR and a shift, for right shifts of at least 1."""
    SHIFTED_POSITIVE = "shifted positive"
    """The same where ties of negative sums do not matter, for any right shift."""
    SINGLE = "single"
    """One rounding, by SMMLA and a shift."""
    SHIFT = "shift"
    """Half-up shift (q7): the rounding constant and the output zero point are part of the bias."""
    SUM = "sum"
    """None: sums start at zero and are stored as int32."""
    WIDE = "wide"
    """To int16, by one rounding high multiply (SMMULR)."""
    WIDE_CLAMPED = "wide clamped"
    """The same, limited to any clamp."""

    @property
    def multiplies(self) -> bool:
        """Whether it reads a channel's `first` and `second`, and a third constant."""
        return self not in (Finish.SHIFT, Finish.SUM)

    @property
    def rounds_away(self) -> bool:
        """Whether ties of negative sums have to go away from zero."""
        return self in (Finish.DOUBLE, Finish.SCALED_DOUBLE, Finish.SHIFTED_DOUBLE)

    @property
    def doubles(self) -> bool:
        """Whether it takes twice the sum."""
        return self in (Finish.SHIFTED_DOUBLE, Finish.SHIFTED_POSITIVE)

    @property
    def shifts(self) -> bool:
        """Whether a channel's third constant is a right shift."""
        return self is Finish.SINGLE or self.doubles

    @property
    def shared_words(self) -> int:
        """Words of constants for all channels of a block together."""
        return len(self.shared_names)

    @property
    def shared_names(self) -> tuple[str, ...]:
        """Registers of the constants of a block."""
        if self is Finish.WIDE_CLAMPED:
            return ("%above", "%between", "%low")
        return ("%zero",) if self.multiplies and not self.shifts and self is not Finish.WIDE else ()

    @property
    def channel_words(self) -> int:
        """Words of constants for each channel."""
        if self in WIDE_FINISHES:
            return 1
        return 0 if not self.multiplies else 3 if self.shifts else 2

    @property
    def out_bytes(self) -> int:
        """Bytes of an output."""
        return 4 if self is Finish.SUM else 2 if self in WIDE_FINISHES else 1

    @property
    def store(self) -> str:
        """The instruction that stores an output."""
        return {1: "strb", 2: "strh", 4: "str"}[self.out_bytes]

    def third(self, n: int | str = "") -> str:
        """Return the name of the register of the third constant, which `n` has for itself if it is a shift."""
        return f"%third{n}" if self.shifts else "%zero"

    def lines(self, register: str, saturation: Saturation, *, n: int | str = "", shift: int = 0) -> tuple[str, ...]:
        """Return the instructions from an accumulator to its saturated result, in the same register.

        They read `%first` and `%second` with `n` behind them, and `third(n)`; or shift right by `shift`.
        """
        if self is Finish.SUM:
            return ()
        if self is Finish.SHIFT:
            return saturation.lines(register, shift)
        if self is Finish.WIDE:
            return (f"smmulr {register}, {register}, %first{n}", *saturation.lines(register))
        if self is Finish.WIDE_CLAMPED:
            above, between, low = self.shared_names
            return (
                f"smmlar {register}, {register}, %first{n}, {above}",
                f"ssat {register}, #16, {register}",
                f"add {register}, {register}, {between}",
                f"bic {register}, {register}, {register}, asr #31",
                f"add {register}, {register}, {low}",
            )
        if self.shifts:
            operation = "smmlar" if self.doubles else "smmla"
            own = f"%own_{register[1:]}" if self.rounds_away else f"%second{n}"
            return (
                *saturation.before(register),
                *((f"add {own}, %second{n}, {register}, asr #31",) if self.rounds_away else ()),
                f"{operation} {register}, {register}, %first{n}, {own}",
                f"asr {register}, {register}, {self.third(n)}",
                *saturation.lines(register),
            )
        scaled = (f"lsl {register}, {register}, #{_SCALE_BITS}",) if self in _SCALED else ()
        # Ties of the second rounding go away from zero: one less for negative numbers.
        away = (f"add {register}, {register}, {register}, asr #31",) if self.rounds_away else ()
        return (
            *saturation.before(register),
            f"smmlar {register}, {register}, %first{n}, {register}",
            *scaled,
            *away,
            f"smmlar {register}, {register}, %second{n}, {self.third(n)}",
            *saturation.lines(register),
        )


_SCALED = (Finish.SCALED_DOUBLE, Finish.SCALED_POSITIVE)
WIDE_FINISHES = (Finish.WIDE, Finish.WIDE_CLAMPED)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Requantizer:
    """The finishing constants of each output channel, int64 [OC] each.

    - `first`, `second`, `third`: the factors; third is the output zero point, or a right shift (`Finish.shifts`);
    - `left`: the shift to the left of weights and bias;
    - `bias_addend`: what is added to the bias;
    - `zero`: the output zero point less the base of the saturation;
    - `shared`: the constants of a block, where they are not the zero point.
    """

    finish: Finish
    saturation: Saturation
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    third: NDArray[np.int64]
    left: NDArray[np.int64]
    bias_addend: NDArray[np.int64]
    zero: int
    shared: tuple[int, ...] = ()

    @property
    def lanes_left(self) -> NDArray[np.int64]:
        """The shift to the left of weights in int16 lanes, and of biases: `left`, and the doubling if there is one."""
        return self.left + self.finish.doubles

    @property
    def shift(self) -> int:
        """The right shift of `Finish.SHIFT`, which all channels share; 0 for other finishes."""
        return int(self.first[0]) if self.finish is Finish.SHIFT else 0

    def constants(self, first: int, last: int) -> NDArray[np.int64]:
        """Return the `Finish.channel_words` constants of channels, `last` excluded: [channel, word]."""
        every = (self.first, self.second, self.third)[: self.finish.channel_words]
        return np.stack([values[first:last] for values in every], axis=1) if every else np.zeros((last - first, 0), int)

    def shared_constants(self) -> list[int]:
        """Return the `Finish.shared_words` constants of a block."""
        return list(self.shared or (self.zero,))[: self.finish.shared_words]


def requantizer(op: Weighted) -> Requantizer | None:
    """Return how the micro-kernel finishes `op`, or None where no form is exact."""
    found = _found(op)
    return None if isinstance(found, str) else found


def requantizer_refusal(op: Weighted) -> str | None:
    """Return why no finish is exact for `op`; None where one is."""
    found = _found(op)
    return found if isinstance(found, str) else None


@lru_cache(maxsize=_REMEMBERED)
def _found(op: Weighted) -> Requantizer | str:
    if op.rounding is Rounding.HALF_UP_SHIFT:
        return _shifting(op)
    return _double(op) if op.rounding is Rounding.DOUBLE else _single(op)


def _most_left(op: Weighted) -> int:
    """Return how far weights can be shifted to the left, and doubled, in 16 bits."""
    return _MOST_LEFT if op.weights.dtype is DType.INT8 else _MOST_LEFT - 1


def _shifts(op: Weighted) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return multiplier, left and right shift of each channel."""
    table = channel_requantization(op)
    shift = table.shift.astype(np.int64)
    return table.multiplier.astype(np.int64), np.maximum(shift, 0), np.maximum(-shift, 0)


def _double(op: Weighted) -> Requantizer | str:
    multiplier, left, right = _shifts(op)
    if left.max() > (most := _most_left(op)):
        return f"a channel's scale is {1 << most} or more"
    none = multiplier == 0
    right = np.where(none, _SCALE_BITS, right)
    scaled = bool((right < _SCALE_BITS).any())
    if scaled and (shifted := _shifted(op, multiplier, left, right)) is not None:
        return shifted
    if scaled:
        largest = ((accumulator_bound(op) << left).astype(np.float64) * multiplier / (1 << 31)).max()
        if largest >= (1 << (31 - _SCALE_BITS)) - 1:
            return "a channel's scale is 1/4 or more, and sums times their scale may reach 2^29"
        right = right + _SCALE_BITS
    positive = op.clamp[0] >= op.y.zero_point
    saturation = Saturation.of(op.clamp, op.y.zero_point)
    # Beyond 32 the quotient of what `largest` allows is 0.
    second = np.where(none | (right > 32), 0, np.int64(1) << (32 - np.minimum(right, 32)))
    zero = op.y.zero_point - saturation.base
    finishes = (Finish.SCALED_DOUBLE, Finish.SCALED_POSITIVE) if scaled else (Finish.DOUBLE, Finish.POSITIVE)
    return Requantizer(
        finish=finishes[positive],
        saturation=saturation,
        first=np.where(none, 0, 2 * multiplier - (1 << 32)),
        second=second,
        third=np.full_like(multiplier, zero),
        left=left,
        bias_addend=np.zeros_like(multiplier),
        zero=zero,
    )


def _shifted(
    op: Weighted, multiplier: NDArray[np.int64], left: NDArray[np.int64], right: NDArray[np.int64]
) -> Requantizer | None:
    """Return the finish by one product and a shift, or None where 32 bits or negative sums forbid it."""
    positive = op.clamp[0] >= op.y.zero_point
    bound = accumulator_bound(op) << left
    # What rounds to 0 for every sum needs no factor, and none of the shifts that leave no room for the zero point.
    nothing = (multiplier == 0) | ((right > _FAR_RIGHT) & (bound < np.int64(1) << right >> 1))
    multiplier, right = np.where(nothing, 0, multiplier), np.where(nothing, _SCALE_BITS, right)
    if (bound >= 1 << 30).any() or right.max() > _FAR_RIGHT or not (positive or right.min() >= 1):
        return None
    saturation = Saturation.of(op.clamp, op.y.zero_point)
    zero = op.y.zero_point - saturation.base
    return Requantizer(
        finish=Finish.SHIFTED_POSITIVE if positive else Finish.SHIFTED_DOUBLE,
        saturation=saturation,
        first=multiplier,
        second=(np.int64(1) << right >> 1) + (np.int64(zero) << right),
        third=right,
        left=left,
        bias_addend=np.zeros_like(multiplier),
        zero=zero,
    )


def _single(op: Weighted) -> Requantizer | str:
    multiplier, left, right = _shifts(op)
    bound = accumulator_bound(op)
    saturation = Saturation.of(op.clamp, op.y.zero_point)
    zero = op.y.zero_point - saturation.base
    # What rounds to 0 for every sum needs no factor, and none of the shifts that leave no room for the zero point.
    nothing = (multiplier == 0) | ((right > _FAR_RIGHT) & (bound < np.int64(1) << np.minimum(right, 62) >> 1))
    multiplier, right = np.where(nothing, 0, multiplier), np.where(nothing, _SCALE_BITS, right)
    left = left + np.maximum(_SCALE_BITS - right, 0)
    right = np.maximum(right, _SCALE_BITS)
    if left.max() > (most := _most_left(op)):
        return f"a channel's scale is {1 << (most - _SCALE_BITS)} or more"
    second = (np.int64(1) << (right - 2)) + (np.int64(zero) << (right - 1))
    if ((bound << left) + np.abs(second) >= 1 << 31).any():
        return "sums and the constants of one rounding may not fit 32 bits together"
    return Requantizer(
        finish=Finish.SINGLE,
        saturation=saturation,
        first=multiplier,
        second=second,
        third=right - 1,
        left=left,
        bias_addend=np.zeros_like(multiplier),
        zero=zero,
    )


def _shifting(op: Weighted) -> Requantizer | str:
    """One shift for all channels; rounding and output zero point are added to the bias, in front of the shift."""
    shift = 1 - channel_requantization(op).shift.astype(np.int64)
    if not (shift == shift[0]).all() or not 1 <= shift[0] <= 31:
        return "its channels are shifted by different numbers of bits, or not to the right"
    saturation = Saturation.of(op.clamp, None)
    zero = op.y.zero_point - saturation.base
    addend = (np.int64(1) << (shift - 1)) + (np.int64(zero) << shift)
    if (accumulator_bound(op) + np.abs(addend) >= 1 << 31).any():
        return "sums and the rounding constant may not fit 32 bits together"
    nothing = np.zeros_like(shift)
    return Requantizer(
        finish=Finish.SHIFT,
        saturation=saturation,
        first=shift,
        second=nothing,
        third=nothing,
        left=nothing,
        bias_addend=addend,
        zero=zero,
    )


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
        product = f"smmlar {register}, {register}, %first, %offset"
        last = saturation.lines(register, shift)
        if not finish.rounds_away or shift == 0:
            return (*saturation.before(register), product, *last)
        # As in `Finish.lines`; with such a multiplier the rounded product is negative just where the sum is.
        own = f"%offset_{register[1:]}"
        return (f"add {own}, %offset, {register}, asr #31", product.replace("%offset", own), *last)


def uniform_finish(op: Weighted, found: Requantizer) -> UniformFinish | None:
    """Return the finish of an operator whose channels share one multiplier and shift, or None where it is not exact.

    A sum below zero has to stay below zero after the first rounding, so the multiplier must exceed one half; and twice
    the sum, and the product with its offset, have to fit int32.
    """
    if op.rounding is not Rounding.DOUBLE or not channel_requantization(op).uniform:
        return None
    multiplier, left, shift = (int(values[0]) for values in _shifts(op))
    offset = (1 << shift >> 1) + (found.zero << shift)
    bound = int(accumulator_bound(op).max()) << left
    if multiplier <= 1 << 30 or bound + abs(offset) >= 1 << 30:
        return None
    return UniformFinish(multiplier=multiplier, offset=offset, shift=shift)


def _channels_first(op: Weighted) -> NDArray[np.int64]:
    """Return the weights of each output channel: [OC, anything]."""
    axis = 3 if isinstance(op, DepthwiseConv2D) else 0
    weights = np.moveaxis(op.weights.values.astype(np.int64), axis, 0)
    return weights.reshape(weights.shape[0], -1)


@lru_cache(maxsize=_REMEMBERED)
def folded_bias(op: Weighted) -> NDArray[np.int64]:
    """Return bias - x's zero point * sum of the channel's weights: the accumulator's start for raw inputs."""
    sums = _channels_first(op).sum(axis=1)
    bias = np.zeros_like(sums) if op.bias is None else op.bias.values.astype(np.int64)
    folded: NDArray[np.int64] = bias - op.x.zero_point * sums
    return folded


@lru_cache(maxsize=_REMEMBERED)
def accumulator_bound(op: Weighted) -> NDArray[np.int64]:
    """Return, for each output channel, a bound on |accumulator| over all raw int8 inputs, folded bias included."""
    bound: NDArray[np.int64] = np.abs(_channels_first(op)).sum(axis=1) * 128
    return bound + np.abs(folded_bias(op))
