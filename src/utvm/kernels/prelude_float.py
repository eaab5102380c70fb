"""C helpers of float32: the functions of `utvm.numerics.floating`, one IEEE operation after another, no library.

Compiled under -ffp-contract=off they give the same bits on every core, with an FPU or without.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from utvm.codegen import float_literal
from utvm.numerics import floating as f


def _polynomial(x: str, terms: Sequence[float]) -> str:
    """Return Horner's form of a polynomial."""
    text = float_literal(terms[0])
    for term in terms[1:]:
        literal = float_literal(term)
        text = f"({text} * {x} {'-' if literal.startswith('-') else '+'} {literal.lstrip('-')})"
    return text


FLOAT_PRELUDE: Mapping[str, str] = {
    "UTVM_LOADED": """\
/* Between the loads of a block and its arithmetic: a load behind a multiply-accumulate would wait for its result. */
#if defined(__GNUC__) && defined(__ARM_FP)
#define UTVM_LOADED __asm__ volatile("" ::: "memory")
#else
#define UTVM_LOADED
#endif
""",
    "utvm_multiply_add": """\
/* acc + x * w, the product rounded before the sum: one instruction where there is one that rounds so. */
static inline float utvm_multiply_add(float acc, float x, float w) {
#if defined(__arm__) && defined(__ARM_FP) && (__ARM_FP & 4) && !defined(__SOFTFP__)
  __asm__ volatile("vmla.f32 %0, %1, %2" : "+t"(acc) : "t"(x), "t"(w));
  return acc;
#else
  return acc + x * w;
#endif
}
""",
    "utvm_float_of": """\
static inline float utvm_float_of(uint32_t bits) {
  union {
    uint32_t bits;
    float value;
  } both;
  both.bits = bits;
  return both.value;
}
""",
    "utvm_exp": f"""\
/* e^x: 2^k times a polynomial of what is left (Cephes, expf). */
static inline float utvm_exp(float x) {{
  if (!(x == x)) {{
    return x;
  }}
  if (x > {float_literal(f.EXP_MOST)}) {{
    return utvm_float_of(0x7F800000u);
  }}
  if (x < {float_literal(f.EXP_LEAST)}) {{
    return 0.0f;
  }}
  const float scaled = x * {float_literal(f.LOG2_E)};
  const int32_t power = (int32_t)(scaled + (scaled < 0.0f ? -0.5f : 0.5f));
  const float whole = (float)power;
  const float rest = (x - whole * {float_literal(f.LN2_HIGH)}) - whole * {float_literal(f.LN2_LOW)};
  const float sum = {_polynomial("rest", f.EXP_TERMS)} * (rest * rest) + rest + 1.0f;
  const int32_t half = power >> 1;
  return (sum * utvm_float_of((uint32_t)(half + 127) << 23)) *
         utvm_float_of((uint32_t)(power - half + 127) << 23);
}}
""",
    "utvm_tanh": f"""\
/* The hyperbolic tangent (Cephes, tanhf). */
static inline float utvm_tanh(float x) {{
  const float size = x < 0.0f ? -x : x;
  if (!(x == x)) {{
    return x;
  }}
  if (size < {float_literal(f.TANH_BY_TERMS)}) {{
    const float square = x * x;
    return {_polynomial("square", f.TANH_TERMS)} * square * x + x;
  }}
  const float far = 1.0f - 2.0f / (utvm_exp(size + size) + 1.0f);
  return x < 0.0f ? -far : far;
}}
""",
    "utvm_logistic": """\
static inline float utvm_logistic(float x) {
  const float share = utvm_exp(x < 0.0f ? x : -x);
  return (x < 0.0f ? share : 1.0f) / (1.0f + share);
}
""",
    "utvm_log": f"""\
/* The natural logarithm (Cephes, logf). */
static inline float utvm_log(float x) {{
  if (!(x > 0.0f)) {{
    return utvm_float_of(x == 0.0f ? 0xFF800000u : 0x7FC00000u);
  }}
  if (utvm_float_bits(x) == 0x7F800000u) {{
    return x;
  }}
  const int32_t tiny = x < 0x1.0p-126f;
  const uint32_t bits = utvm_float_bits(tiny ? x * 8388608.0f : x);
  const float half = utvm_float_of((bits & 0x7FFFFFu) | 0x3F000000u);
  const int32_t low = half < {float_literal(f.SQRT_HALF)};
  const float whole = (float)((int32_t)(bits >> 23) - 126 - (tiny ? 23 : 0) - low);
  const float part = (low ? half + half : half) - 1.0f;
  const float square = part * part;
  float sum = {_polynomial("part", f.LOG_TERMS)} * part * square;
  sum = sum + whole * {float_literal(f.LN2_LOW)};
  sum = sum - 0.5f * square;
  return (part + sum) + whole * {float_literal(f.LN2_HIGH)};
}}
""",
    "utvm_sine": f"""\
/* The sine of x + quarters * pi / 2 (Cephes, sinf and cosf); multiples of pi / 2 are taken off in double precision. */
static inline float utvm_sine(float x, int32_t quarters) {{
  if (!(x > {float_literal(-f.LARGEST_ANGLE)} && x < {float_literal(f.LARGEST_ANGLE)})) {{
    return utvm_float_of(0x7FC00000u);
  }}
  const double scaled = (double)x * {f.TWO_OVER_PI.hex()};
  const int32_t turns = (int32_t)(scaled + (scaled < 0.0 ? -0.5 : 0.5));
  const double whole = (double)turns;
  const float rest = (float)(((double)x - whole * {f.HALF_PI_HIGH.hex()}) - whole * {f.HALF_PI_LOW.hex()});
  const float square = rest * rest;
  const int32_t place = turns + quarters;
  float result;
  if (place & 1) {{
    result = {_polynomial("square", f.COS_TERMS)} * square * square - 0.5f * square + 1.0f;
  }} else {{
    result = {_polynomial("square", f.SIN_TERMS)} * square * rest + rest;
  }}
  return place & 2 ? -result : result;
}}
""",
    "utvm_floor": """\
static inline float utvm_floor(float x) {
  if (!(x > -8388608.0f && x < 8388608.0f)) {
    return x;
  }
  const float whole = (float)(int32_t)x;
  return whole > x ? whole - 1.0f : whole;
}
""",
    "utvm_remainder": """\
/* What is left of a by whole multiples of b, with the sign of a: every difference is exact. */
static inline float utvm_remainder(float a, float b) {
  float rest = a < 0.0f ? -a : a;
  const float by = b < 0.0f ? -b : b;
  if (!(by > 0.0f) || !(rest <= 3.4028235e38f)) {
    return utvm_float_of(0x7FC00000u);
  }
  float times = by;
  while (times <= rest * 0.5f) {
    times *= 2.0f;
  }
  while (rest >= by) {
    if (rest >= times) {
      rest -= times;
    }
    times *= 0.5f;
  }
  return a < 0.0f ? -rest : rest;
}
""",
    "utvm_sqrt": """\
/* The square root, correctly rounded: by the FPU, or bit by bit. */
static inline float utvm_sqrt(float x) {
#if defined(__arm__) && defined(__ARM_FP) && (__ARM_FP & 4) && !defined(__SOFTFP__)
  float root;
  __asm__("vsqrt.f32 %0, %1" : "=t"(root) : "t"(x));
  return root;
#else
  uint32_t bits = utvm_float_bits(x);
  if (!(x > 0.0f) || bits == 0x7F800000u) {
    return x < 0.0f ? utvm_float_of(0x7FC00000u) : x;
  }
  int32_t exponent = (int32_t)(bits >> 23);
  uint32_t part = bits & 0x7FFFFFu;
  if (exponent == 0) {
    for (exponent = 1; (part & 0x800000u) == 0; exponent--) {
      part <<= 1;
    }
  }
  part |= 0x800000u;
  exponent -= 127;
  if (exponent & 1) {
    part <<= 1;
  }
  /* The root of part * 2^25 has 25 bits: one more than the result. */
  uint64_t left = (uint64_t)part << 25;
  uint64_t root = 0;
  for (uint64_t bit = (uint64_t)1 << 48; bit != 0; bit >>= 2) {
    if (left >= root + bit) {
      left -= root + bit;
      root = (root >> 1) + bit;
    } else {
      root >>= 1;
    }
  }
  const uint32_t rounded = (uint32_t)((root + 1) >> 1);
  return utvm_float_of((((uint32_t)((exponent >> 1) + 127)) << 23) + rounded - 0x800000u);
#endif
}
""",
}

FLOAT_DEPENDENCIES: Mapping[str, tuple[str, ...]] = {
    "utvm_exp": ("utvm_float_of",),
    "utvm_tanh": ("utvm_exp",),
    "utvm_logistic": ("utvm_exp",),
    "utvm_log": ("utvm_float_of", "utvm_float_bits"),
    "utvm_remainder": ("utvm_float_of",),
    "utvm_sine": ("utvm_float_of",),
    "utvm_sqrt": ("utvm_float_of", "utvm_float_bits"),
}
"""Helpers that these call."""
