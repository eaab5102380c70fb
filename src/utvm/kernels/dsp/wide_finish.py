"""How a micro-kernel makes int16 of a sum of int16 activations and int8 weights, to the bit.

tflite-micro scales a sum of 64 bits by a multiplier of 16 bits R and one rounding: (sum * R + 2^(t - 1)) >> t. For
t <= 32 that is one SMMULR by R * 2^(32 - t), as long as the sum has 32 bits. For t < 16 weights and biases are shifted
to the left, so that the factor fits. Sums that may leave 32 bits, other scales, and sums beside a bias of 32 bits,
which wrap and are rounded twice, are stored as int32 and finished in C.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from utvm.codegen import CArray
from utvm.graph import DepthwiseConv2D, DType, Operator
from utvm.graph.arithmetic import channel_requantization
from utvm.graph.formulas import limits
from utvm.kernels.dsp.finish import Finish, Requantizer, Saturation, Weighted, requantizer
from utvm.numerics.wide import upper_half

LARGEST_INPUT = 1 << 15
_LEAST_TOTAL, _MOST_TOTAL = 16, 32
"""Right shifts of the product with 16 bits of a multiplier that a factor of 32 bits can hold."""
_ALWAYS_ZERO = 47
"""Right shifts by which every sum of 32 bits becomes 0."""
_MOST_LEFT = 7
"""The largest left shift of int8 weights in int16 lanes."""
_BEYOND = 1 << 62


def is_wrapping(op: Weighted) -> bool:
    """Whether sums have 32 bits and wrap, as tflite-micro's beside a bias of 32 bits."""
    return op.bias is not None and op.bias.dtype is not DType.INT64


def biases(op: Weighted) -> NDArray[np.int64]:
    """Return the bias of each channel, zeros if there is none."""
    count = channel_requantization(op).multiplier.size
    return np.zeros(count, np.int64) if op.bias is None else op.bias.values.astype(np.int64)


@lru_cache(maxsize=8)
def largest_sums(op: Weighted) -> NDArray[np.int64]:
    """Return, for each output channel, a bound on |sum| over all inputs, its bias included."""
    axis = 3 if isinstance(op, DepthwiseConv2D) else 0
    weights = np.moveaxis(op.weights.values.astype(np.int64), axis, 0)
    found: NDArray[np.int64] = np.abs(weights).reshape(weights.shape[0], -1).sum(axis=1) * LARGEST_INPUT
    return found + np.abs(np.clip(biases(op), -_BEYOND, _BEYOND))


@lru_cache(maxsize=8)
def wide_requantizer(op: Weighted) -> Requantizer | None:
    """Return how the micro-kernel makes int16 of the sums of `op`; None where C has to."""
    if is_wrapping(op):
        return None
    table = channel_requantization(op)
    total = 15 - table.shift.astype(np.int64)
    reduced = upper_half(table.multiplier)
    nothing = (reduced == 0) | (total >= _ALWAYS_ZERO)
    reduced, total = np.where(nothing, 0, reduced), np.where(nothing, _MOST_TOTAL, total)
    left = np.maximum(_LEAST_TOTAL - total, 0)
    # Compared with a shifted limit: shifted sums may leave 64 bits.
    if total.max() > _MOST_TOTAL or left.max() > _MOST_LEFT or (largest_sums(op) >= 1 << 31 - left).any():
        return None
    low, high = limits(op)
    saturation = Saturation.of((low, high), None)
    plain = saturation.floor is None and saturation.base == 0
    above = (1 << 15) - 1 - high
    none = np.zeros_like(left)
    return Requantizer(
        finish=Finish.WIDE if plain else Finish.WIDE_CLAMPED,
        saturation=saturation if plain else Saturation(),
        first=reduced << (_MOST_TOTAL - total - left),
        second=none,
        third=none,
        left=left,
        bias_addend=none,
        zero=0,
        shared=() if plain else (above, -above - low, low),
    )


def finish_of(op: Weighted) -> Requantizer | None:
    """Return how the micro-kernel finishes `op`, to int8 or int16; None where no form is exact."""
    return wide_requantizer(op) if op.y.dtype is DType.INT16 else requantizer(op)


def wide_refusal(op: Operator) -> str | None:
    """Return which tensor is not as int16 activations and int8 weights that are known; None where all are."""
    if not isinstance(op, Weighted):
        return None
    for tensor, wanted in ((op.x, DType.INT16), (op.weights, DType.INT8), (op.y, DType.INT16)):
        if tensor.dtype is not wanted:
            return f"it does not take {tensor.dtype} (tensor '{tensor.name}')"
    known = all(tensor.is_constant for tensor in op.inputs[1:])
    return None if known else "its weights or its bias are not known when compiling"


def wide_sums_refusal(op: Weighted) -> str | None:
    """Return why C can't finish the sums of `op`; None where it can."""
    if is_wrapping(op):
        return None
    return "a channel's scale is 2^14 or more" if channel_requantization(op).shift.max() > 14 else None


def sums_constants(op: Weighted) -> dict[str, CArray]:
    """Return what C reads to finish sums: biases and requantisation."""
    table = channel_requantization(op)
    if is_wrapping(op):
        return {
            "bias": CArray(c_type="int32_t", values=biases(op).astype(np.int32)),
            "multiplier": CArray(c_type="int32_t", values=table.multiplier),
            "shift": CArray(c_type="int8_t", values=table.shift.astype(np.int8)),
        }
    return {
        "bias": CArray(c_type="int64_t", values=biases(op)),
        "multiplier": CArray(c_type="int16_t", values=upper_half(table.multiplier).astype(np.int16)),
        "shift": CArray(c_type="int8_t", values=(15 - table.shift).astype(np.int8)),
    }


def sums_helpers(op: Weighted) -> tuple[str, ...]:
    """Return the helpers of `finished_sum`."""
    return ("utvm_requantize_double" if is_wrapping(op) else "utvm_scale_wide", "utvm_clamp")


def finished_sum(op: Weighted, parts: list[str], channel: str) -> str:
    """Return the C expression of an output, of the sums of parts of its terms (int32_t)."""
    kind = "uint32_t" if is_wrapping(op) else "uint64_t"
    signed = "int32_t" if is_wrapping(op) else "int64_t"
    total = " + ".join(f"({kind}){part}" for part in (f"bias[{channel}]", *parts))
    scaled = f"{sums_helpers(op)[0]}(({signed})({total}), multiplier[{channel}], shift[{channel}])"
    low, high = limits(op)
    return f"(int16_t)utvm_clamp({scaled}, {low}, {high})"
