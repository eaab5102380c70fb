"""What formulas of integers are made of: fixed-point factors, zero points, saturation, and the helpers behind them."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from utvm.compute import Expr, Helper, call
from utvm.graph.arithmetic import Requantization, integer_range
from utvm.graph.operators import FULL_INT8
from utvm.graph.tensor import DType, Tensor
from utvm.numerics import (
    INT32_MAX,
    INT32_MIN,
    half_up_shift,
    multiply_by_quantized_multiplier,
    multiply_single_rounding,
    quotient,
    scale_doubled,
    scaled_inverse_root,
    wrap_int32,
)
from utvm.numerics.floating import (
    float_cos,
    float_exp,
    float_floor,
    float_log,
    float_logistic,
    float_remainder,
    float_sin,
    float_sqrt,
    float_tanh,
)
from utvm.numerics.wide import (
    requantize_wide,
    round_int16,
    sigmoid_int16,
    softmax_power,
    softmax_share,
    tanh_int16,
)

CLAMP = Helper(name="utvm_clamp", evaluate=np.clip)
REQUANTIZE = Helper(name="utvm_requantize_double", evaluate=multiply_by_quantized_multiplier)
INT16 = integer_range(DType.INT16)
SATURATE16 = Helper(name="utvm_saturate16", evaluate=lambda x: np.clip(x, *INT16))
SCALE_DOUBLED = Helper(name="utvm_scale_doubled", evaluate=scale_doubled)
REQUANTIZE_SINGLE = Helper(name="utvm_requantize_single", evaluate=multiply_single_rounding)
REQUANTIZE_HALF_UP = Helper(
    name="utvm_requantize_half_up_shift", evaluate=lambda x, _, shift: half_up_shift(x, 1 - shift)
)
QUOTIENT = Helper(name="utvm_quotient", evaluate=quotient)
SCALED_INVERSE_ROOT = Helper(name="utvm_scaled_inverse_root", evaluate=scaled_inverse_root)
WRAPPING_SUM = Helper(name="utvm_wrapping_sum", evaluate=lambda a, b: wrap_int32(a + b))
WRAPPING_DIFFERENCE = Helper(name="utvm_wrapping_difference", evaluate=lambda a, b: wrap_int32(a - b))
WRAPPING_PRODUCT = Helper(name="utvm_wrapping_product", evaluate=lambda a, b: wrap_int32(a * b))
"""Results that may leave int32, where C's own have no meaning."""


EXP = Helper(name="utvm_exp", evaluate=float_exp)
LOGISTIC = Helper(name="utvm_logistic", evaluate=float_logistic)
TANH = Helper(name="utvm_tanh", evaluate=float_tanh)
LOG = Helper(name="utvm_log", evaluate=float_log)
SQRT = Helper(name="utvm_sqrt", evaluate=float_sqrt)
FLOOR = Helper(name="utvm_floor", evaluate=float_floor)
REMAINDER = Helper(name="utvm_remainder", evaluate=float_remainder)
SINE = Helper(name="utvm_sine", evaluate=lambda x, quarters: float_cos(x) if int(quarters) else float_sin(x))


REQUANTIZE_WIDE = Helper(name="utvm_requantize_wide", evaluate=requantize_wide)
SIGMOID_INT16 = Helper(name="utvm_sigmoid_int16", evaluate=sigmoid_int16)
TANH_INT16 = Helper(name="utvm_tanh_int16", evaluate=tanh_int16)
SOFTMAX_POWER = Helper(name="utvm_softmax_power", evaluate=softmax_power)
SOFTMAX_SHARE = Helper(name="utvm_softmax_share", evaluate=softmax_share)
ROUND_INT16 = Helper(name="utvm_round_int16", evaluate=round_int16)


_ONE = Requantization(multiplier=1 << 30, shift=1)


class Writes(Protocol):
    """An operator with one output."""

    @property
    def y(self) -> Tensor:
        """The output."""


def requantized(value: Expr, factor: Requantization) -> Expr:
    """Return an integer times a real factor in fixed point, rounded twice as TFLite does."""
    return call(REQUANTIZE, value, factor.multiplier, factor.shift)


def rescaled(value: Expr, factor: Requantization, limits: tuple[int, int]) -> Expr:
    """Return what `requantized` does, in fewer steps where a value's limits leave bits for shifts to the left."""
    if factor == _ONE:
        return value
    times = 2 << max(factor.shift, 0)
    low, high = limits
    if low * times < INT32_MIN or high * times > INT32_MAX:
        return requantized(value, factor)
    return call(SCALE_DOUBLED, value * times, factor.multiplier, max(-factor.shift, 0))


def stored(op: Writes, value: Expr) -> Expr:
    """Return a value at y's scale as y stores it: with its zero point, saturated or clamped."""
    low, high = limits(op)
    found = value + op.y.zero_point if op.y.zero_point else value
    return call(SATURATE16, found) if (low, high) == INT16 else call(CLAMP, found, low, high)


def limits(op: Writes) -> tuple[int, int]:
    """Return the least and the largest value that an operator stores; the whole range of int8 stands for any type's."""
    clamp: tuple[int, int] = getattr(op, "clamp", FULL_INT8)
    return integer_range(op.y.dtype) if clamp == FULL_INT8 else clamp


def centered(tensor: Tensor, value: Expr) -> Expr:
    """Return an element without its zero point."""
    return value - tensor.zero_point if tensor.zero_point else value
