"""Arithmetic of int16 activations, exactly as tflite-micro's reference kernels compute it.

Source: `common.cc` (MultiplyByQuantizedMultiplier of 64 bits), `reference/integer_ops/logistic.h` and `tanh.h`,
`reference/softmax.h` (SoftmaxInt16), `internal/common.h` (LUTPopulateInt16, LUTLookup).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from utvm.numerics.fixed_point import Int64Array, multiply_by_quantized_multiplier, wrap_int32

_STEPS = 512


def requantize_wide(x: ArrayLike, multiplier: ArrayLike, shift: ArrayLike) -> Int64Array:
    """Return x * multiplier * 2^(shift - 31) of 64-bit sums: a multiplier of 16 bits, one rounding, halves up."""
    total = 15 - np.asarray(shift, np.int64)
    return wrap_int32((np.asarray(x, np.int64) * upper_half(multiplier) + (np.int64(1) << (total - 1))) >> total)


def upper_half(multiplier: ArrayLike) -> Int64Array:
    """Return the upper 16 bits of a multiplier, rounded; the largest that fits int16 at most."""
    factor = np.asarray(multiplier, np.int64)
    half: Int64Array = np.where(factor < 0x7FFF0000, (factor + (1 << 15)) >> 16, 0x7FFF)
    return half


@lru_cache(maxsize=1)
def sigmoid_table() -> NDArray[np.uint16]:
    """Return the sigmoid of k / 24 in 65536ths, k = 0 … 255, raised by half the error between two entries."""
    at = np.arange(257) / 24
    value, middle = 65536 / (1 + np.exp(-at)), 65536 / (1 + np.exp(-at - 1 / 48))
    raised = value[:-1] + (middle[:-1] - (value[:-1] + value[1:]) / 2) / 2
    table = np.floor(raised + 0.5).astype(np.uint16)
    table[-1] = 65535
    return table


@lru_cache(maxsize=1)
def sigmoid_words() -> NDArray[np.int32]:
    """Return, for each 512 arguments of the sigmoid from -2^17 on, 1024 * what they start at + the step behind it."""
    table = sigmoid_table().astype(np.int64)
    below = 65536 - table[:0:-1]
    # What is 255 steps away and more has one value.
    first = np.concatenate([[2, 2], below[1:], table[:255], [65534]])
    return _words(first, np.concatenate([[0, 0], np.diff(table)[-2::-1], np.diff(table), [0]]))


@lru_cache(maxsize=1)
def tanh_words() -> NDArray[np.int32]:
    """Return, for each 256 arguments of the tangent from -2^16 on, 1024 * what they start at + the step behind it."""
    table = sigmoid_table().astype(np.int64)
    first = np.concatenate([[-32767], 32768 - table[:0:-1], table[:255] - 32768, [32767]])
    return _words(first, np.concatenate([[0], np.diff(table)[::-1], np.diff(table), [0]]))


def _words(first: Int64Array, step: Int64Array) -> NDArray[np.int32]:
    words: NDArray[np.int32] = (first * 1024 + step).astype(np.int32)
    return words


def sigmoid_int16(x: ArrayLike, multiplier: int, shift: int) -> Int64Array:
    """Return the sigmoid in 32768ths, between the entries of a table; x * multiplier >> shift is in 12288ths."""
    value = _argument(x, multiplier, shift)
    size = np.abs(value)
    place, rest = np.minimum(size >> 9, 254), size & 0x1FF
    table = sigmoid_table().astype(np.int64)
    inside = (table[place] << 9) + rest * (table[place + 1] - table[place])
    result = np.where(size >> 9 >= 255, 0x7FFF << 10, inside)
    return np.where(value >= 0, result + (1 << 9), (1 << 25) - result + (1 << 9) - 1) >> 10


def tanh_int16(x: ArrayLike, multiplier: int, shift: int) -> Int64Array:
    """Return the hyperbolic tangent in 32768ths, from the sigmoid of twice the argument."""
    value = _argument(x, multiplier, shift)
    size = np.abs(value)
    place, rest = np.minimum(size >> 8, 254), size & 0xFF
    table = sigmoid_table().astype(np.int64)
    inside = (table[place] << 8) + rest * (table[place + 1] - table[place])
    result = np.where(size >> 8 >= 255, 0xFFFF << 8, inside)
    return np.where(value >= 0, result - (1 << 23) + (1 << 7), -result + (1 << 23) + (1 << 7) - 1) >> 8


def _argument(x: ArrayLike, multiplier: int, shift: int) -> Int64Array:
    half = (1 << shift) >> 1
    return (np.asarray(x, np.int64) * int(multiplier) + half) >> int(shift)


def sigmoid_argument(scale: float, *, tanh: bool) -> tuple[int, int]:
    """Return (multiplier, shift) with which an argument of a scale becomes 12288ths."""
    power = np.log2(scale)
    rounded = int(np.round(power))
    left = 12 + rounded
    if abs(power - rounded) < 1e-3 and (left == 0 or (tanh and left == 1)):
        return 3 << left, 0
    factor, shift = scale * 4096.0 * 3.0, 0
    while factor <= 32767.0 / 2.0 and shift <= 30:
        shift += 1
        factor *= 2.0
    return int(factor), shift


@lru_cache(maxsize=1)
def exponential_table() -> NDArray[np.int16]:
    """Return exp(x) in 32768ths for x from -10 to 0 in 512 steps, and the end."""
    return _populated(np.float32(10.0) / np.float32(65535.0), 32767, np.exp)


@lru_cache(maxsize=1)
def reciprocal_table() -> NDArray[np.int16]:
    """Return 1 / (1 + x) in 32768ths for x from 0 to 1 in 512 steps, and the end."""
    return _populated(np.float32(1.0) / np.float32(65535.0), -32768, lambda x: np.float32(1) / (np.float32(1) + x))


def softmax_power(difference: ArrayLike, multiplier: int, shift: int) -> Int64Array:
    """Return exp of a difference to the largest of a row, in 32768ths."""
    scaled = multiply_by_quantized_multiplier(difference, multiplier, shift)
    return looked_up(np.clip(scaled + 32767, -32768, 32767), exponential_table())


def softmax_share(power: ArrayLike, total: ArrayLike) -> Int64Array:
    """Return a power over the sum of all, in 32768ths."""
    value, whole = np.asarray(power, np.int64), np.asarray(total, np.int64)
    zeros = 32 - np.frexp(whole.astype(np.float64))[1].astype(np.int64)
    shifted = ((whole << (zeros - 1)) + (1 << 13)) >> 14
    place = np.clip(shifted - ((1 << 15) + (1 << 16)), -32768, 32767)
    inverse = looked_up(place, reciprocal_table())
    right = 31 - zeros
    shares: Int64Array = np.clip((value * inverse + (np.int64(1) << (right - 1))) >> right, 0, 32767)
    return shares


def round_int16(x: ArrayLike) -> Int64Array:
    """Return float32 to the nearest integer, halves away from zero, within 65536 of 0."""
    value = np.clip(np.nan_to_num(np.asarray(x, np.float32)), np.float32(-65536), np.float32(65536)).astype(np.float64)
    return np.copysign(np.floor(np.abs(value) + 0.5), value).astype(np.int64)


def looked_up(value: Int64Array, table: NDArray[np.int16]) -> Int64Array:
    """Return what lies between two entries of a table of 512 steps over int16."""
    place, rest = 256 + (value >> 7), value & 0x7F
    wide = table.astype(np.int64)
    found: Int64Array = wide[place] + (((wide[place + 1] - wide[place]) * rest + 64) >> 7)
    return found


def _populated(
    scale: np.float32, zero: int, function: Callable[[NDArray[np.float32]], NDArray[np.float32]]
) -> NDArray[np.int16]:
    """Return a table in float32 steps, each entry moved by half the error at its middle."""
    f = np.float32
    least, most = scale * f(-32768 - zero), scale * f(32767 - zero)
    out = f(2.0) / f(65535.0)
    inverse = f(65536) / (out * f(32767) - out * f(-32768))
    step = (most - least) / f(_STEPS)
    at = least + np.arange(_STEPS, dtype=f) * step
    value = function(at.astype(f)) * inverse
    middle = function((at + step / f(2)).astype(f)) * inverse
    following = function((least + np.arange(1, _STEPS + 1, dtype=f) * step).astype(f)) * inverse
    sample = _round(value)
    between = _round((following + sample) / f(2))
    entries = sample - _round((between - _round(middle)) / f(2))
    last = _round(function(np.array([most], f)) * inverse)
    table: NDArray[np.int16] = np.clip(np.concatenate([entries, last]), -32768, 32767).astype(np.int16)
    return table


def _round(value: NDArray[np.float32]) -> NDArray[np.float32]:
    rounded: NDArray[np.float32] = np.copysign(np.floor(np.abs(value) + np.float32(0.5)), value).astype(np.float32)
    return rounded
