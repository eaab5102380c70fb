"""How a sum becomes int8 in six cycles, to the bit.

From a sum to its output is a staircase of at most 255 steps: requantisation, zero point and clamp only say at which
sums it steps. A shorter computation that steps at the same sums is exact, and all of them can be looked at:

    total = floor((sum - lowest) * M / 2^16)
    y     = clip((total + offset) >> shift)

The product takes three instructions by halves of 16 bits, where the upper half of a product of words takes five cycles:
cv.muluN of the low halves, cv.mac with the high half of M, cv.machhuN of the high half of the sum. `lowest` is part of
the bias. M and `offset` are searched for each channel; `shift` is the same for all, or a channel's own.

TFLite's second rounding takes halves away from zero, which moves the steps below the output zero point: a layer whose
clamp does not begin there has an offset for either side, in two cycles more. Where no M is exact, the finish takes the
steps of the definition, in 22 cycles.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from utvm.graph import Conv2D, DepthwiseConv2D, FullyConnected, Rounding
from utvm.graph.arithmetic import channel_requantization
from utvm.kernels.dsp.finish import folded_bias
from utvm.numerics import half_up_shift, multiply_by_quantized_multiplier, multiply_single_rounding

Weighted = Conv2D | DepthwiseConv2D | FullyConnected
_Longs = NDArray[np.int64]

_HALF = 16
_MOST_SHIFT = 31
_LEAST_SHIFT = 4
_GUESS = 8
"""How many sums around its real position a step is looked for first: rounding twice moves it by a few."""
_NEIGHBOURS = 24
"""How far around its nominal value M is searched."""
_HOPELESS_STEP = 3
"""By then most channels have an M, where the form suits them."""
_LOWER_SHIFTS = 4
"""How many shifts of a channel's own are tried."""
_REMEMBERED = 8
_NOWHERE = 1 << 60
"""Farther than any value of 32 bits."""
_HIGHEST_TOTAL = 0xFFFFFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishForm:
    """The instructions from a sum to its output.

    Attributes:
        exact: whether they are those of the definition; the rest does not matter then.
        own: whether each channel has a shift of its own, so that M may have more bits.
        limits: whether a sum is limited first to where the staircase steps, so that M may have still more.
        parts: whether the offset is another one above the output zero point: halves go away from zero.
    """

    exact: bool = False
    own: bool = False
    limits: bool = False
    parts: bool = False

    @property
    def words(self) -> int:
        """Constants of a channel."""
        return 4 if self.exact else 3 + self.own + 2 * self.parts

    @property
    def name(self) -> str:
        """What functions are called after."""
        return "x" if self.exact else "s" + "o" * self.own + "l" * self.limits + "p" * self.parts


_FORMS = (
    *(FinishForm(own=own, limits=limits) for own, limits in ((False, False), (True, False), (True, True))),
    *(FinishForm(own=own, limits=limits, parts=True) for own, limits in ((False, False), (True, False), (True, True))),
)
"""From fewest cycles to most."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StairFinish:
    """The constants of a finish.

    Attributes:
        form: the instructions.
        start: what a sum starts from, for raw inputs, int64 [OC].
        words: what the instructions read of each channel, uint32 [OC, any].
        common: what all channels share: the shift, unless they have their own, and the limit; or the zero point.
        clamp: the lowest and highest output.
    """

    form: FinishForm
    start: _Longs
    words: NDArray[np.uint32]
    common: tuple[int, int]
    clamp: tuple[int, int]

    @property
    def saturates(self) -> bool:
        """Whether the clamp is that of int8."""
        return self.clamp == (-128, 127)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Stairs:
    """Where the outputs of each channel step.

    Attributes:
        first, last: the lowest and highest sum that inputs can make, [OC, 1].
        levels: outputs above the lowest, [levels].
        steps: the first sum with at least that output, or last + 1, [OC, levels].
        scale: outputs of a unit of the sum, [OC, 1].
    """

    first: _Longs
    last: _Longs
    levels: _Longs
    steps: _Longs
    scale: NDArray[np.float64]


@lru_cache(maxsize=_REMEMBERED)
def finish_of(op: Weighted) -> StairFinish | None:
    """Return the fastest exact finish of an operator; None where there is none."""
    if folded_bias(op).size and int(np.abs(_reach(op)).max()) >= 1 << 31:
        return None
    stairs = _stairs(op)
    if stairs is not None:
        for form in _FORMS:
            found = _searched(op, stairs, form)
            if found is not None:
                return found
    return _reference(op) if op.rounding is Rounding.DOUBLE else None


def _reach(op: Weighted) -> _Longs:
    """Return the lowest and the highest sum that raw inputs can make, [OC, 2]."""
    weights = np.moveaxis(op.weights.values.astype(np.int64), 3 if isinstance(op, DepthwiseConv2D) else 0, 0)
    flat = weights.reshape(weights.shape[0], -1)
    positive, negative = np.maximum(flat, 0).sum(axis=1), np.minimum(flat, 0).sum(axis=1)
    bias = folded_bias(op)
    return np.stack([bias - 128 * positive + 127 * negative, bias + 127 * positive - 128 * negative], axis=1)


def _outputs(op: Weighted, sums: _Longs) -> _Longs:
    """Return the outputs of sums [OC, any], clamped."""
    table = channel_requantization(op)
    multiplier, shift = table.multiplier.astype(np.int64)[:, None], table.shift.astype(np.int64)[:, None]
    match op.rounding:
        case Rounding.DOUBLE:
            scaled = multiply_by_quantized_multiplier(sums, multiplier, shift)
        case Rounding.SINGLE:
            scaled = multiply_single_rounding(sums, multiplier, shift)
        case _:
            scaled = half_up_shift(sums, 1 - shift)
    return np.clip(scaled + op.y.zero_point, *op.clamp)


def _stairs(op: Weighted) -> _Stairs | None:
    """Return the staircases of all channels; None where a shift to the left may leave 32 bits."""
    reach, table = _reach(op), channel_requantization(op)
    left = np.maximum(table.shift.astype(np.int64), 0)
    if (np.abs(reach).max(axis=1) << left >= 1 << 31).any() or (table.multiplier < 0).any():
        return None
    if op.rounding is Rounding.HALF_UP_SHIFT and (table.shift > 1).any():
        return None
    first, last = reach[:, :1], reach[:, 1:]
    levels = np.arange(op.clamp[0] + 1, op.clamp[1] + 1, dtype=np.int64)
    scale = (table.multiplier.astype(np.float64) * 2.0 ** (table.shift.astype(np.float64) - 31))[:, None]
    near = np.rint((levels - op.y.zero_point - 0.5) / np.maximum(scale, 2.0**-40))
    near = np.clip(near, first.astype(np.float64), last.astype(np.float64)).astype(np.int64)
    # Where a guess does not enclose a step, the search goes over all sums.
    below, above = np.maximum(near - _GUESS, first - 1), np.minimum(near + _GUESS, last + 1)
    below = np.where(_reaches(op, below, levels, first, last), first - 1, below)
    above = np.where(_reaches(op, above, levels, first, last), above, last + 1)
    while (above - below > 1).any():
        middle = (below + above) >> 1
        high = _reaches(op, middle, levels, first, last)
        above, below = np.where(high, middle, above), np.where(high, below, middle)
    return _Stairs(first=first, last=last, levels=levels, steps=above, scale=scale)


def _reaches(op: Weighted, sums: _Longs, levels: _Longs, first: _Longs, last: _Longs) -> NDArray[np.bool_]:
    """Return whether outputs of sums reach their levels; behind `last` they all do, before `first` none."""
    inside = _outputs(op, np.clip(sums, first, last)) >= levels
    return (inside | (sums > last)) & (sums >= first)


def _searched(op: Weighted, stairs: _Stairs, form: FinishForm) -> StairFinish | None:
    """Return a finish by halves, or None where some channel has no exact M."""
    first, last = stairs.first, stairs.last
    if form.limits:
        inside = (stairs.steps > first) & (stairs.steps <= last)
        far = np.int64(1) << 40
        lowest = np.where(inside, stairs.steps, far).min(axis=1, keepdims=True, initial=far) - 1
        highest = np.where(inside, stairs.steps, -far).max(axis=1, keepdims=True, initial=-far)
        first, last = np.where(lowest < far - 1, lowest, first), np.where(highest > -far, highest, first)
    width = int((last - first).max())
    end = first + width if form.limits else last
    # The value before the shift must fit 32 bits with its sign, wherever the sum lies.
    edges = [np.abs(edge * stairs.scale + op.y.zero_point) for edge in (first, end)]
    shift = np.minimum(np.floor(31 - np.log2(np.maximum(*edges) + 2)), _MOST_SHIFT).astype(np.int64)
    if not form.own:
        shift = np.full_like(shift, shift.min())
    if (shift < _LEAST_SHIFT).any():
        return None
    found = _best(stairs, first, last, end - first, shift, form, op.y.zero_point)
    if found is None:
        return None
    shift, factor, *offsets = found
    top = ((end - first)[:, 0] * factor >> _HALF) + sum(offsets[::2])
    if (offsets[0] < -(1 << 31)).any() or (top >= 1 << 31).any():
        return None
    low = factor & 0xFFFF
    columns = [factor >> _HALF, low | (low << _HALF), *offsets, *([shift] if form.own else [])]
    return StairFinish(
        form=form,
        start=folded_bias(op) - first[:, 0],
        words=(np.stack(columns, axis=1) & 0xFFFFFFFF).astype(np.uint32),
        common=(0 if form.own else int(shift[0]), width),
        clamp=op.clamp,
    )


def _best(
    stairs: _Stairs, first: _Longs, last: _Longs, span: _Longs, most_shift: _Longs, form: FinishForm, middle: int
) -> list[_Longs] | None:
    """Return shift, M and offset of each channel, or None where a channel has none.

    With parts there follow the total above which an output is above the middle, and what the offset grows by there.
    """
    at = np.clip(stairs.steps, first, last) - first
    before = np.clip(stairs.steps - 1, first, last) - first
    reached, not_before = stairs.steps <= last, stairs.steps > first
    found = np.zeros((5 if form.parts else 3, len(first)), np.int64)
    left = np.arange(len(first))
    steps = sorted(range(-_NEIGHBOURS, _NEIGHBOURS + 1), key=abs)
    for lower, step in product(range(_LOWER_SHIFTS if form.own else 1), steps):
        if step == _HOPELESS_STEP and len(left) > len(first) / 2:
            return None
        shift = most_shift[left] - lower
        factor = np.maximum(np.rint(stairs.scale[left] * 2.0 ** (shift + _HALF)).astype(np.int64) + step, 0)
        if (factor * span[left].astype(np.float64) >= 2.0 ** (32 + _HALF)).any():
            return None
        least = np.where(reached[left], (stairs.levels << shift) - (at[left] * factor >> _HALF), -_NOWHERE)
        most = np.where(not_before[left], (stairs.levels << shift) - 1 - (before[left] * factor >> _HALF), _NOWHERE)
        if form.parts:
            up = int(np.searchsorted(stairs.levels, middle, side="right"))
            offset, room = _between(least[:, :up], most[:, : up + 1])
            upper, room_above = _between(least[:, up:], most[:, up + 1 :])
            bound = np.full(len(left), _HIGHEST_TOTAL)
            if up < len(stairs.levels):
                there = reached[left, up]
                total, total_before = (each[left, up] * factor[:, 0] >> _HALF for each in (at, before))
                bound = np.where(there, total - 1, bound)
                # The bound must lie between two totals: there is none where both are equal, or all are above it.
                room = np.where(there & ((total == total_before) | ~not_before[left, up]), -1, room)
            room = np.minimum(room, room_above)
            rows = [shift[:, 0], factor[:, 0], offset, bound, upper - offset]
        else:
            offset, room = _between(least, most)
            rows = [shift[:, 0], factor[:, 0], offset]
        exact = room >= 0
        found[:, left[exact]] = np.stack(rows)[:, exact]
        left = left[~exact]
        if not left.size:
            return list(found)
    return None


def _between(least: _Longs, most: _Longs) -> tuple[_Longs, _Longs]:
    """Return a value not below any of `least` nor above any of `most` [OC, any], and the room there is for it."""
    low, high = least.max(axis=1, initial=-_NOWHERE), most.min(axis=1, initial=_NOWHERE)
    one_side = np.where(low == -_NOWHERE, np.where(high == _NOWHERE, 0, high), low)
    value = np.where((low == -_NOWHERE) | (high == _NOWHERE), one_side, (low + high) >> 1)
    return value, high - low


def _reference(op: Weighted) -> StairFinish:
    """Return the finish by definition."""
    table = channel_requantization(op)
    left, right = np.maximum(table.shift, 0), np.maximum(-table.shift, 0)
    lowers = np.where(right > 0, -1, 0)
    columns = [left, table.multiplier, right, lowers]
    words = np.stack([column.astype(np.int64) & 0xFFFFFFFF for column in columns], axis=1).astype(np.uint32)
    return StairFinish(
        form=FinishForm(exact=True),
        start=folded_bias(op),
        words=words,
        common=(op.y.zero_point, 0),
        clamp=op.clamp,
    )
