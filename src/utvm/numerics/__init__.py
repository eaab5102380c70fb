"""Fixed-point arithmetic, exactly as the device computes it."""

from utvm.numerics.fixed_point import (
    half_up_shift,
    multiply_by_quantized_multiplier,
    multiply_single_rounding,
    quantize_multiplier,
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
    wrap_int32,
)

__all__ = [
    "half_up_shift",
    "multiply_by_quantized_multiplier",
    "multiply_single_rounding",
    "quantize_multiplier",
    "rounding_divide_by_pot",
    "saturating_rounding_doubling_high_mul",
    "wrap_int32",
]
