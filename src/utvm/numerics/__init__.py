"""Fixed-point arithmetic, exactly as the device computes it."""

from utvm.numerics.fixed_point import (
    INT32_MAX,
    INT32_MIN,
    Int64Array,
    half_up_shift,
    multiply_by_quantized_multiplier,
    multiply_single_rounding,
    quantize_multiplier,
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
    saturating_shift_left,
    scale_doubled,
    wrap_int32,
)
from utvm.numerics.roots import inverse_square_root, quotient, scaled_inverse_root
from utvm.numerics.transcendental import (
    exp_on_negative_values,
    logistic,
    one_minus_x_over_one_plus_x,
    one_over_one_plus_x,
    reciprocal,
    tanh,
)

__all__ = [
    "INT32_MAX",
    "INT32_MIN",
    "Int64Array",
    "exp_on_negative_values",
    "half_up_shift",
    "inverse_square_root",
    "logistic",
    "multiply_by_quantized_multiplier",
    "multiply_single_rounding",
    "one_minus_x_over_one_plus_x",
    "one_over_one_plus_x",
    "quantize_multiplier",
    "quotient",
    "reciprocal",
    "rounding_divide_by_pot",
    "saturating_rounding_doubling_high_mul",
    "saturating_shift_left",
    "scale_doubled",
    "scaled_inverse_root",
    "tanh",
    "wrap_int32",
]
