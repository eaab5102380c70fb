"""C helpers that kernels call. Each name is defined once in a model's file, in this order, if a kernel uses it.

Helpers may call helpers that stand before them; `with_dependencies` adds those. No undefined behaviour: left shifts are
done unsigned, and right shifts of negative numbers are arithmetic, as every GCC and Clang target defines them.
`int` may have 16 bits: what needs more is computed in the types of stdint.h.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from utvm.graph.foreign import TENSOR_TYPES
from utvm.kernels.prelude_float import FLOAT_DEPENDENCIES, FLOAT_PRELUDE
from utvm.kernels.prelude_wide import WIDE_DEPENDENCIES, WIDE_PRELUDE


def _larger_of_each(bits: int) -> str:
    """Return the C of the larger of each of two words' signed elements of so many bits."""
    return _of_each(bits, "larger", "max", "most", "%2, %3")


def _smaller_of_each(bits: int) -> str:
    """Return the C of the smaller of each of two words' signed elements of so many bits."""
    return _of_each(bits, "smaller", "min", "least", "%3, %2")


def _of_each(bits: int, which: str, name: str, result: str, order: str) -> str:
    count, elements = 32 // bits, {8: "four signed bytes", 16: "two signed halfwords"}[bits]
    return f"""\
/* The {which} of each of {elements}. */
static inline uint32_t utvm_{name}{count}(uint32_t a, uint32_t b) {{
  uint32_t difference, {result};
  __asm__("ssub{bits} %0, %2, %3\\n sel %1, {order}" : "=&r"(difference), "=r"({result}) : "r"(a), "r"(b) : "cc");
  return {result};
}}
"""


PRELUDE: Mapping[str, str] = {
    "UTVM_MATH": "#include <math.h>\n",
    "UTVM_IN_ORDER": """\
/* GCC's first scheduling pass moves loads up and then lacks registers; other compilers have no such switch. */
#if defined(__GNUC__) && !defined(__clang__)
#define UTVM_IN_ORDER __attribute__((optimize("no-schedule-insns")))
#else
#define UTVM_IN_ORDER
#endif
""",
    "utvm_tensors": TENSOR_TYPES,
    "utvm_clamp": """\
static inline int32_t utvm_clamp(int32_t x, int32_t low, int32_t high) {
  return x < low ? low : (x > high ? high : x);
}
""",
    "utvm_wrapping_sum": """\
/* a + b modulo 2^32. */
static inline int32_t utvm_wrapping_sum(int32_t a, int32_t b) {
  return (int32_t)((uint32_t)a + (uint32_t)b);
}
""",
    "utvm_wrapping_difference": """\
/* a - b modulo 2^32. */
static inline int32_t utvm_wrapping_difference(int32_t a, int32_t b) {
  return (int32_t)((uint32_t)a - (uint32_t)b);
}
""",
    "utvm_wrapping_product": """\
/* a * b modulo 2^32. */
static inline int32_t utvm_wrapping_product(int32_t a, int32_t b) {
  return (int32_t)((uint32_t)a * (uint32_t)b);
}
""",
    "utvm_high_mul": """\
/* Rounding doubling high multiply; a and b are not both INT32_MIN, so nothing saturates. */
static inline int32_t utvm_high_mul(int32_t a, int32_t b) {
  return (int32_t)(((int64_t)a * b + ((int64_t)1 << 30)) >> 31);
}
""",
    "utvm_shift_right": """\
/* x / 2^shift to nearest, halves away from zero; 0 <= shift <= 31. */
static inline int32_t utvm_shift_right(int32_t x, int32_t shift) {
  const int32_t mask = (int32_t)(((uint32_t)1 << shift) - 1u);
  const int32_t threshold = (mask >> 1) + (x < 0);
  return (x >> shift) + ((x & mask) > threshold);
}
""",
    "utvm_requantize_double": """\
/* x * multiplier * 2^(shift - 31), rounded twice as TFLite does. */
static inline int32_t utvm_requantize_double(int32_t x, int32_t multiplier, int32_t shift) {
  const int32_t left = shift > 0 ? shift : 0;
  const int32_t right = shift > 0 ? 0 : -shift;
  return utvm_shift_right(utvm_high_mul((int32_t)((uint32_t)x << left), multiplier), right);
}
""",
    "utvm_scale_right": """\
/* x * multiplier * 2^-(31 + right), rounded twice as TFLite does; |x| < 2^30 and 1 <= right <= 30. */
static inline int32_t utvm_scale_right(int32_t x, int32_t multiplier, int32_t right) {
  const int32_t high = (int32_t)(((int64_t)(x * 2) * multiplier + ((int64_t)1 << 31)) >> 32);
  return (high + (int32_t)(((uint32_t)1 << right) >> 1) + (high >> 31)) >> right;
}
""",
    "utvm_scale_doubled": """\
/* x / 2 * multiplier * 2^-(31 + right), rounded twice as TFLite does; 0 <= right <= 31. */
static inline int32_t utvm_scale_doubled(int32_t x, int32_t multiplier, int32_t right) {
#if defined(__ARM_FEATURE_DSP)
  int32_t high;
  __asm__("smmulr %0, %1, %2" : "=r"(high) : "r"(x), "r"(multiplier));
#else
  const int32_t high = (int32_t)(((int64_t)x * multiplier + ((int64_t)1 << 31)) >> 32);
#endif
  return right == 0 ? high : (high + (int32_t)(((uint32_t)1 << right) >> 1) + (high >> 31)) >> right;
}
""",
    "utvm_requantize_single": """\
/* x * multiplier * 2^(shift - 31), rounded once, halves up. */
static inline int32_t utvm_requantize_single(int32_t x, int32_t multiplier, int32_t shift) {
  const int32_t total = 31 - shift;
  return (int32_t)(((int64_t)x * multiplier + ((int64_t)1 << (total - 1))) >> total);
}
""",
    "utvm_requantize_half_up_shift": """\
/* (x + 2^(s - 1)) >> s with s = 1 - shift, the rounding of CMSIS-NN's q7 networks; the multiplier is 2^30. */
static inline int32_t utvm_requantize_half_up_shift(int32_t x, int32_t multiplier, int32_t shift) {
  const int32_t right = 1 - shift;
  (void)multiplier;
  return (x + (int32_t)(((uint32_t)1 << right) >> 1)) >> right;
}
""",
    "utvm_saturating_shift_left": """\
static inline int32_t utvm_saturating_shift_left(int32_t x, int32_t shift) {
  const int64_t wide = (int64_t)x * ((int64_t)1 << shift);
  return wide > INT32_MAX ? INT32_MAX : (wide < INT32_MIN ? INT32_MIN : (int32_t)wide);
}
""",
    "utvm_reciprocal": """\
/* 1 / (1 + x) in Q0.31 for x in [0, 1) in Q0.31: three Newton-Raphson steps, as gemmlowp takes them. */
static inline int32_t utvm_reciprocal(int32_t x) {
  const int32_t half = (int32_t)(((int64_t)x + INT32_MAX + 1) >> 1);
  int32_t guess = 1515870810 + utvm_high_mul(half, -1010580540);
  for (int32_t step = 0; step < 3; step++) {
    const int32_t error = ((int32_t)1 << 29) - utvm_high_mul(half, guess);
    guess += utvm_saturating_shift_left(utvm_high_mul(guess, error), 2);
  }
  return utvm_saturating_shift_left(guess, 1);
}
""",
    "utvm_leading_zeros": """\
/* Leading zeros of x > 0; int has 16 bits on some cores, and long 64 bits on others. */
static inline int32_t utvm_leading_zeros(uint32_t x) {
  return sizeof(int) < sizeof x ? __builtin_clzl(x) : __builtin_clz(x);
}
""",
    "utvm_inverse_root": """\
/* 1 / sqrt(x), which is the result times 2^(shift - 31): five Newton-Raphson steps, as TFLite takes them. */
static inline int32_t utvm_inverse_root(int32_t x, int32_t *shift) {
  int32_t right = 11;
  *shift = 0;
  if (x <= 1) {
    return INT32_MAX;
  }
  for (; x >= (int32_t)1 << 29; x /= 4) {
    right++;
  }
  const int32_t pairs = (utvm_leading_zeros((uint32_t)x) - 1) / 2 - 1;
  right -= pairs;
  const int32_t half = utvm_shift_right((int32_t)((uint32_t)x << (2 * pairs)) >> 1, 1);
  int32_t root = (int32_t)1 << 28;
  for (int32_t step = 0; step < 5; step++) {
    const int32_t cube = utvm_saturating_shift_left(utvm_high_mul(utvm_high_mul(root, root), root), 6);
    root = utvm_saturating_shift_left(utvm_high_mul(402653184, root) - utvm_high_mul(half, cube), 3);
  }
  const int32_t found = utvm_high_mul(root, 1518500250);
  if (right < 0) {
    return (int32_t)((uint32_t)found << -right);
  }
  *shift = -right;
  return found;
}
""",
    "utvm_scaled_inverse_root": """\
/* 1 / sqrt(x) * multiplier * 2^(shift - 31) for x > 0, by way of 20 bits behind the point, as TFLite's RSQRT. */
static inline int32_t utvm_scaled_inverse_root(int32_t x, int32_t multiplier, int32_t shift) {
  int32_t exponent;
  const int32_t factor = utvm_inverse_root(x, &exponent);
  return utvm_requantize_double(utvm_requantize_double(1, factor, exponent + 20), multiplier, shift - 20);
}
""",
    "utvm_quotient": """\
/* a / b * multiplier * 2^(shift - 31) as TFLite divides; 0 where b is 0. */
static inline int32_t utvm_quotient(int32_t a, int32_t b, int32_t multiplier, int32_t shift) {
  const int32_t top = b < 0 ? -a : a;
  const uint32_t bottom = b < 0 ? (uint32_t)-b : (uint32_t)b;
  const uint32_t size = top < 0 ? (uint32_t)(-1 - top) : (uint32_t)top;
  const int32_t zeros = bottom == 0 ? 0 : utvm_leading_zeros(bottom);
  const int32_t inverse = utvm_reciprocal((int32_t)((bottom << zeros) - 0x80000000u));
  const int32_t headroom = size == 0 ? 31 : utvm_leading_zeros(size) - 1;
  const int32_t unscaled = utvm_high_mul((int32_t)((uint32_t)top << headroom), inverse);
  const int32_t total = shift - (31 - zeros) - headroom;
  if (bottom == 0) {
    return 0;
  }
  if (total < -31) {
    /* TFLite's shift by 32 and more, as its interpreter computes it on x86. */
    const int32_t high = utvm_high_mul(unscaled, multiplier);
    return (high >> (-total & 31)) + (high >= 0);
  }
  return utvm_requantize_double(unscaled, multiplier, total);
}
""",
    "utvm_round": """\
/* To the nearest integer, halves away from zero; beyond +-512, where int8 saturates anyway, it stops. */
static inline int32_t utvm_round(float x) {
  const float inside = x < -512.0f ? -512.0f : (x > 512.0f ? 512.0f : x);
  const int32_t whole = (int32_t)inside;
  const float rest = inside - (float)whole;
  return whole + (rest >= 0.5f) - (rest <= -0.5f);
}
""",
    "utvm_quantize4": """\
/* Four quotients by a scale, rounded with halves away from zero, plus a zero point; 1 / scale is close to high + low.
   Twice a quotient is rounded toward zero, to n; then it is (n + (n >= 0)) >> 1. */
static inline void utvm_quantize4(
    const float *x, int8_t *y, float scale, float high, float low, int32_t zero_point) {
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FEATURE_FMA) && defined(__ARM_FP) && (__ARM_FP & 4)
  float q0, q1, q2, q3;
  int32_t y0, y1, y2, y3, even, odd;
  (void)scale;
  __asm__("vmul.f32 %[q0], %[x0], %[low]\\n vmul.f32 %[q1], %[x1], %[low]\\n"
          "vmul.f32 %[q2], %[x2], %[low]\\n vmul.f32 %[q3], %[x3], %[low]\\n"
          "vfma.f32 %[q0], %[x0], %[high]\\n vfma.f32 %[q1], %[x1], %[high]\\n"
          "vfma.f32 %[q2], %[x2], %[high]\\n vfma.f32 %[q3], %[x3], %[high]\\n"
          "vcvt.s32.f32 %[q0], %[q0], #1\\n vcvt.s32.f32 %[q1], %[q1], #1\\n"
          "vcvt.s32.f32 %[q2], %[q2], #1\\n vcvt.s32.f32 %[q3], %[q3], #1"
          : [q0] "=&t"(q0), [q1] "=&t"(q1), [q2] "=&t"(q2), [q3] "=&t"(q3)
          : [x0] "t"(x[0]), [x1] "t"(x[1]), [x2] "t"(x[2]), [x3] "t"(x[3]), [low] "t"(low), [high] "t"(high));
  __asm__("vmov %[y0], %[q0]\\n vmov %[y1], %[q1]\\n vmov %[y2], %[q2]\\n vmov %[y3], %[q3]\\n"
          "add %[even], %[offset], %[y0], asr #31\\n qadd %[y0], %[y0], %[even]\\n"
          "add %[odd], %[offset], %[y1], asr #31\\n qadd %[y1], %[y1], %[odd]\\n"
          "add %[even], %[offset], %[y2], asr #31\\n qadd %[y2], %[y2], %[even]\\n"
          "add %[odd], %[offset], %[y3], asr #31\\n qadd %[y3], %[y3], %[odd]\\n"
          "ssat %[y0], #8, %[y0], asr #1\\n ssat %[y1], #8, %[y1], asr #1\\n"
          "ssat %[y2], #8, %[y2], asr #1\\n ssat %[y3], #8, %[y3], asr #1"
          : [y0] "=&r"(y0), [y1] "=&r"(y1), [y2] "=&r"(y2), [y3] "=&r"(y3), [even] "=&r"(even), [odd] "=&r"(odd)
          : [q0] "t"(q0), [q1] "t"(q1), [q2] "t"(q2), [q3] "t"(q3), [offset] "r"(2 * zero_point + 1));
  y[0] = (int8_t)y0;
  y[1] = (int8_t)y1;
  y[2] = (int8_t)y2;
  y[3] = (int8_t)y3;
#else
  (void)high;
  (void)low;
  for (int32_t i = 0; i < 4; i++) {
    y[i] = (int8_t)utvm_clamp(utvm_round(x[i] / scale) + zero_point, -128, 127);
  }
#endif
}
""",
    "utvm_float_bits": """\
static inline uint32_t utvm_float_bits(float x) {
  union {
    float value;
    uint32_t bits;
  } both;
  both.value = x;
  return both.bits;
}
""",
    "utvm_quotient_below": """\
/* The magnitude of x, given by its bits without the sign, times `factor` * 2^(141 - exponent), rounded, or one less.
   At most 255. */
static inline uint32_t utvm_quotient_below(uint32_t bits, uint32_t factor, int32_t exponent) {
  const int32_t right = exponent - (int32_t)(bits >> 23);
  const uint32_t product = (0x8000u | (bits >> 8 & 0x7FFFu)) * factor;
  const uint32_t rounded = right > 31 ? 0 : ((product >> (right & 31)) + 1) >> 1;
  return right < 0 || rounded > 255 ? 255 : rounded;
}
""",
    "utvm_average": """\
/* total / count to nearest, halves away from zero. */
static inline int32_t utvm_average(int32_t total, int32_t count) {
  return (total + (total > 0 ? count / 2 : -(count / 2))) / count;
}
""",
    "utvm_max4": _larger_of_each(8),
    "utvm_min4": _smaller_of_each(8),
    "utvm_max2": _larger_of_each(16),
    "utvm_min2": _smaller_of_each(16),
    "utvm_add_below16": """\
/* To each of two unsigned halfwords that is below its limit, its addend is added. */
static inline uint32_t utvm_add_below16(uint32_t lanes, uint32_t limits, uint32_t addends) {
  uint32_t sum, result;
  __asm__("uadd16 %0, %2, %4\\n usub16 %1, %2, %3\\n sel %1, %2, %0"
          : "=&r"(sum), "=&r"(result)
          : "r"(lanes), "r"(limits), "r"(addends)
          : "cc");
  return result;
}
""",
    "utvm_load4": """\
/* Four bytes at a multiple of four. */
static inline uint32_t utvm_load4(const int8_t *from) {
  typedef uint32_t __attribute__((may_alias)) word;
  return *(const word *)(const void *)from;
}
""",
    "utvm_load1": """\
static inline uint32_t utvm_load1(const int8_t *from) {
  return (uint8_t)*from;
}
""",
    "utvm_load2": """\
/* Two bytes at a multiple of two. */
static inline uint32_t utvm_load2(const int8_t *from) {
  typedef uint16_t __attribute__((may_alias)) half;
  return *(const half *)(const void *)from;
}
""",
    "utvm_store4": """\
static inline void utvm_store4(int8_t *to, uint32_t four) {
  typedef uint32_t __attribute__((may_alias)) word;
  *(word *)(void *)to = four;
}
""",
    "utvm_load4_anywhere": """\
/* Four bytes at any address, by what instructions the compiler may use there. */
static inline uint32_t utvm_load4_anywhere(const int8_t *from) {
  typedef struct __attribute__((packed, may_alias)) {
    uint32_t value;
  } word;
  return ((const word *)(const void *)from)->value;
}
""",
    "utvm_load4_by_lw": """\
/* Four bytes at any address on a RISC-V core that takes them, which its compiler does not know. */
static inline uint32_t utvm_load4_by_lw(const int8_t *from) {
  typedef struct __attribute__((packed, may_alias)) {
    uint32_t value;
  } word;
  uint32_t value;
  __asm__("lw %0, %1" : "=r"(value) : "m"(*(const word *)(const void *)from));
  return value;
}
""",
    "utvm_store4_anywhere": """\
static inline void utvm_store4_anywhere(int8_t *to, uint32_t four) {
  typedef struct __attribute__((packed, may_alias)) {
    uint32_t value;
  } word;
  ((word *)(void *)to)->value = four;
}
""",
    "utvm_add_even": """\
/* Bytes 0 and 2 of x, sign-extended, added to two int16 lanes. */
static inline uint32_t utvm_add_even(uint32_t lanes, uint32_t x) {
  uint32_t sum;
  __asm__("sxtab16 %0, %1, %2" : "=r"(sum) : "r"(lanes), "r"(x));
  return sum;
}
""",
    "utvm_add_odd": """\
/* Bytes 1 and 3 of x, sign-extended, added to two int16 lanes. */
static inline uint32_t utvm_add_odd(uint32_t lanes, uint32_t x) {
  uint32_t sum;
  __asm__("sxtab16 %0, %1, %2, ror #8" : "=r"(sum) : "r"(lanes), "r"(x));
  return sum;
}
""",
    "utvm_extend_even": """\
/* Bytes 0 and 2, sign-extended to int16 lanes. */
static inline uint32_t utvm_extend_even(uint32_t x) {
  uint32_t lanes;
  __asm__("sxtb16 %0, %1" : "=r"(lanes) : "r"(x));
  return lanes;
}
""",
    "utvm_extend_odd": """\
/* Bytes 1 and 3, sign-extended to int16 lanes. */
static inline uint32_t utvm_extend_odd(uint32_t x) {
  uint32_t lanes;
  __asm__("sxtb16 %0, %1, ror #8" : "=r"(lanes) : "r"(x));
  return lanes;
}
""",
    "utvm_pack_low": """\
/* The low halves of two words, the first one's below. */
static inline uint32_t utvm_pack_low(uint32_t low, uint32_t high) {
  return (low & 0xFFFFu) | (high << 16);
}
""",
    "utvm_pack_two": """\
/* Two int16 lanes, in one instruction. */
static inline uint32_t utvm_pack_two(uint32_t low, uint32_t high) {
  uint32_t lanes;
  __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(lanes) : "r"(low), "r"(high));
  return lanes;
}
""",
    "utvm_expand_eight": """\
/* Eight bytes, sign-extended to int16 lanes; all are read before the first store. */
static inline void utvm_expand_eight(const int8_t *from, uint32_t *to) {
  const uint32_t lane0 = (uint32_t)from[0], lane1 = (uint32_t)from[1], lane2 = (uint32_t)from[2];
  const uint32_t lane3 = (uint32_t)from[3], lane4 = (uint32_t)from[4], lane5 = (uint32_t)from[5];
  const uint32_t lane6 = (uint32_t)from[6], lane7 = (uint32_t)from[7];
  to[0] = utvm_pack_two(lane0, lane1);
  to[1] = utvm_pack_two(lane2, lane3);
  to[2] = utvm_pack_two(lane4, lane5);
  to[3] = utvm_pack_two(lane6, lane7);
}
""",
    "utvm_pack_high": """\
/* The high halves of two words, the second one's below. */
static inline uint32_t utvm_pack_high(uint32_t high, uint32_t low) {
  return (high & 0xFFFF0000u) | (low >> 16);
}
""",
    **FLOAT_PRELUDE,
    **WIDE_PRELUDE,
}

_DEPENDENCIES: Mapping[str, tuple[str, ...]] = {
    "utvm_expand_eight": ("utvm_pack_two",),
    "utvm_inverse_root": (
        "utvm_leading_zeros",
        "utvm_shift_right",
        "utvm_high_mul",
        "utvm_saturating_shift_left",
    ),
    "utvm_scaled_inverse_root": ("utvm_inverse_root", "utvm_requantize_double"),
    "utvm_quotient": ("utvm_leading_zeros", "utvm_reciprocal", "utvm_high_mul", "utvm_requantize_double"),
    "utvm_quantize4": ("utvm_clamp", "utvm_round"),
    "utvm_requantize_double": ("utvm_high_mul", "utvm_shift_right"),
    "utvm_reciprocal": ("utvm_high_mul", "utvm_saturating_shift_left"),
    **FLOAT_DEPENDENCIES,
    **WIDE_DEPENDENCIES,
}


def with_dependencies(names: Iterable[str]) -> tuple[str, ...]:
    """Return `names` and the helpers that they call, each once, in the order of `PRELUDE`."""
    wanted: set[str] = set()
    stack = list(names)
    while stack:
        name = stack.pop()
        if name not in PRELUDE:
            raise KeyError(f"no C helper is named {name}")
        if name not in wanted:
            wanted.add(name)
            stack.extend(_DEPENDENCIES.get(name, ()))
    return tuple(name for name in PRELUDE if name in wanted)
