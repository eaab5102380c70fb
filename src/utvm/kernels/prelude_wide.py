"""C helpers of int16 activations: the functions of `utvm.numerics.wide`."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import wrap
from typing import Any

from numpy.typing import NDArray

from utvm.numerics import wide


def _table(name: str, c_type: str, values: NDArray[Any]) -> str:
    rows = "\n".join(f"    {line}" for line in wrap(", ".join(map(str, values.tolist())), 94))
    return f"static const {c_type} {name}[{values.size}] = {{\n{rows}}};\n"


def _saturated(bits: int) -> str:
    """Return the C of `value`, the number of so many bits that is nearest to `any`."""
    most = (1 << (bits - 1)) - 1
    return f"""\
#if defined(__ARM_FEATURE_SAT)
  int32_t value;
  __asm__("ssat %0, #{bits}, %1" : "=r"(value) : "r"(any));
#else
  const int32_t value = any < -{most + 1} ? -{most + 1} : (any > {most} ? {most} : any);
#endif"""


def _between_words(comment: str, name: str, *, fraction_bits: int, result_bits: int) -> str:
    """Return the C of a function whose table has 512 words: 22 bits of a place, 10 of the step to the next.

    Args:
        comment: what stands above the function.
        name: of the function and its table.
        fraction_bits: bits of an argument between two places.
        result_bits: bits by which places and steps are finer than the result, the fraction's included.
    """
    steps, half = 1 << fraction_bits, 1 << (result_bits - 1)
    return f"""\
{comment}
static inline int32_t utvm_{name}_int16(int32_t x, int32_t multiplier, int32_t shift) {{
  const int32_t any = (x * multiplier + (int32_t)(((uint32_t)1 << shift) >> 1)) >> shift;
{_saturated(9 + fraction_bits)}
  const int32_t entry = utvm_{name}_words[256 + (value >> {fraction_bits})];
  const int32_t inside = (entry >> 10) * {steps} + (entry & 0x3FF) * (value & 0x{steps - 1:X});
  return (inside + {half} + (value >> 31)) >> {result_bits};
}}
"""


WIDE_PRELUDE: Mapping[str, str] = {
    "utvm_saturate16": """\
/* The int16 that is nearest to x. */
static inline int32_t utvm_saturate16(int32_t x) {
#if defined(__ARM_FEATURE_SAT)
  int32_t near;
  __asm__("ssat %0, #16, %1" : "=r"(near) : "r"(x));
  return near;
#else
  return x < -32768 ? -32768 : (x > 32767 ? 32767 : x);
#endif
}
""",
    "utvm_requantize_wide": """\
/* x * multiplier * 2^(shift - 31) of a 64-bit sum, by the upper half of the multiplier, rounded once, halves up. */
static inline int32_t utvm_requantize_wide(int64_t x, int32_t multiplier, int32_t shift) {
  const int32_t reduced = multiplier < 0x7FFF0000 ? (multiplier + ((int32_t)1 << 15)) >> 16 : 0x7FFF;
  const int32_t total = 15 - shift;
  const uint64_t product = (uint64_t)x * (uint64_t)(int64_t)reduced;
  return (int32_t)((int64_t)(product + ((uint64_t)1 << (total - 1))) >> total);
}
""",
    "utvm_scale_wide": """\
/* x * multiplier / 2^shift of a 64-bit sum, rounded once, halves up. */
static inline int32_t utvm_scale_wide(int64_t x, int32_t multiplier, int32_t shift) {
  const uint64_t product = (uint64_t)x * (uint64_t)(int64_t)multiplier;
  return (int32_t)((int64_t)(product + ((uint64_t)1 << (shift - 1))) >> shift);
}
""",
    "utvm_sigmoid_words": "/* 1024 * the sigmoid of k * 512 / 12288 in 65536ths, and its step; k from -256. */\n"
    + _table("utvm_sigmoid_words", "int32_t", wide.sigmoid_words()),
    "utvm_tanh_words": "/* 1024 * the tangent of k * 256 / 12288 in 32768ths, and its step; k from -256. */\n"
    + _table("utvm_tanh_words", "int32_t", wide.tanh_words()),
    "utvm_sigmoid_int16": _between_words(
        "/* The sigmoid in 32768ths, between the entries of a table; x * multiplier >> shift is in 12288ths. */",
        "sigmoid",
        fraction_bits=9,
        result_bits=10,
    ),
    "utvm_tanh_int16": _between_words(
        "/* The hyperbolic tangent in 32768ths, as the sigmoid of twice the argument. */",
        "tanh",
        fraction_bits=8,
        result_bits=8,
    ),
    "utvm_between_entries": """\
/* What lies between two entries of a table of 512 steps over int16. */
static inline int32_t utvm_between_entries(int32_t value, const int16_t *table) {
  const int16_t *entry = table + 256 + (value >> 7);
  return entry[0] + ((((int32_t)entry[1] - entry[0]) * (value & 0x7F) + 64) >> 7);
}
""",
    "utvm_power_entries": "/* exp(x) in 32768ths, x from -10 to 0. */\n"
    + _table("utvm_power_entries", "int16_t", wide.exponential_table()),
    "utvm_softmax_power": """\
/* exp of a difference to the largest of a row, in 32768ths. */
static inline int32_t utvm_softmax_power(int32_t difference, int32_t multiplier, int32_t shift) {
  const int32_t scaled = utvm_requantize_double(difference, multiplier, shift);
  return utvm_between_entries(utvm_clamp(scaled, -65535, 0) + 32767, utvm_power_entries);
}
""",
    "utvm_inverse_entries": "/* 1 / (1 + x) in 32768ths, x from 0 to 1. */\n"
    + _table("utvm_inverse_entries", "int16_t", wide.reciprocal_table()),
    "utvm_softmax_share": """\
/* A power over the sum of all, in 32768ths. */
static inline int32_t utvm_softmax_share(int32_t power, int32_t total) {
  const int32_t zeros = utvm_leading_zeros((uint32_t)total);
  const int32_t shifted = (int32_t)((((int64_t)total << (zeros - 1)) + 8192) >> 14);
  const int32_t inverse = utvm_between_entries(utvm_clamp(shifted - 98304, -32768, 32767), utvm_inverse_entries);
  const int32_t right = 31 - zeros;
  return utvm_clamp((int32_t)(((int64_t)power * inverse + ((int64_t)1 << (right - 1))) >> right), 0, 32767);
}
""",
    "utvm_round_int16": """\
/* To the nearest integer, halves away from zero; beyond +-65536, where int16 saturates anyway, it stops. */
static inline int32_t utvm_round_int16(float x) {
  const float inside = x < -65536.0f ? -65536.0f : (x > 65536.0f ? 65536.0f : x);
  const int32_t whole = (int32_t)inside;
  const float rest = inside - (float)whole;
  return whole + (rest >= 0.5f) - (rest <= -0.5f);
}
""",
}

WIDE_DEPENDENCIES: Mapping[str, tuple[str, ...]] = {
    "utvm_sigmoid_int16": ("utvm_sigmoid_words",),
    "utvm_tanh_int16": ("utvm_tanh_words",),
    "utvm_softmax_power": (*("utvm_between_entries", "utvm_power_entries", "utvm_requantize_double", "utvm_clamp"),),
    "utvm_softmax_share": ("utvm_between_entries", "utvm_inverse_entries", "utvm_leading_zeros", "utvm_clamp"),
}
"""Helpers that these call."""
