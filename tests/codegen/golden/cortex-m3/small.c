#include "small.h"

#include <string.h>

#include "small_weights.h"

/* GCC's first scheduling pass moves loads up and then lacks registers; other compilers have no such switch. */
#if defined(__GNUC__) && !defined(__clang__)
#define UTVM_IN_ORDER __attribute__((optimize("no-schedule-insns")))
#else
#define UTVM_IN_ORDER
#endif

static inline int32_t utvm_clamp(int32_t x, int32_t low, int32_t high) {
  return x < low ? low : (x > high ? high : x);
}

/* Rounding doubling high multiply; a and b are not both INT32_MIN, so nothing saturates. */
static inline int32_t utvm_high_mul(int32_t a, int32_t b) {
  return (int32_t)(((int64_t)a * b + ((int64_t)1 << 30)) >> 31);
}

/* x / 2^shift to nearest, halves away from zero; 0 <= shift <= 31. */
static inline int32_t utvm_shift_right(int32_t x, int32_t shift) {
  const int32_t mask = (int32_t)(((uint32_t)1 << shift) - 1u);
  const int32_t threshold = (mask >> 1) + (x < 0);
  return (x >> shift) + ((x & mask) > threshold);
}

/* x * multiplier * 2^-(31 + right), rounded twice as TFLite does; |x| < 2^30 and 1 <= right <= 30. */
static inline int32_t utvm_scale_right(int32_t x, int32_t multiplier, int32_t right) {
  const int32_t high = (int32_t)(((int64_t)(x * 2) * multiplier + ((int64_t)1 << 31)) >> 32);
  return (high + (int32_t)(((uint32_t)1 << right) >> 1) + (high >> 31)) >> right;
}

static inline int32_t utvm_saturating_shift_left(int32_t x, int32_t shift) {
  const int64_t wide = (int64_t)x * ((int64_t)1 << shift);
  return wide > INT32_MAX ? INT32_MAX : (wide < INT32_MIN ? INT32_MIN : (int32_t)wide);
}

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

/* Leading zeros of x > 0; int has 16 bits on some cores, and long 64 bits on others. */
static inline int32_t utvm_leading_zeros(uint32_t x) {
  return sizeof(int) < sizeof x ? __builtin_clzl(x) : __builtin_clz(x);
}

/*
 * Conv2D(x=int8[1x6x6x4]zp-3, weights=int8[4x3x3x4], bias=int32[4], y=int8[1x6x6x4]zp-3,
 * clamp=-128/127, rounding=double, stride=1/1, dilation=1/1, padding=1/1/1/1)
 * family blocked, m 3, n 2, use swar2, unroll 4, read copied, code in-order
 */
static __attribute__((noinline)) void UTVM_IN_ORDER conv2d_6x6x4_4_k3x3_blocked(
    const int8_t *x,
    const uint32_t *weights,
    const int32_t *bias,
    const int32_t *multiplier,
    const int8_t *shift,
    uint32_t *x_staged,
    int8_t *y) {
  for (int32_t p_o = 0; p_o < 12; p_o++) {
    for (int32_t p_i = 0; p_i < 3; p_i++) {
      int8_t *const window = (int8_t *)(void *)(x_staged + 54);
      if ((p_o * 3 + p_i) / 6 - 1 >= 0 && (p_o * 3 + p_i) / 6 + 1 < 6 && (p_o * 3 + p_i) % 6 - 1 >= 0 && (p_o * 3 + p_i) % 6 + 1 < 6) {
        for (int32_t ky = 0; ky < 3; ky++) {
          const int8_t *const run = x + p_o * 12 + p_i * 4 - 28 + ky * 24;
          for (int32_t i = 0; i < 6; i++) {
            x_staged[p_i + ky * 18 + i * 3] = (uint32_t)(int32_t)run[i * 2] + ((uint32_t)(int32_t)run[i * 2 + 1] << 16);
          }
        }
      }
      else {
        int8_t *to = window;
        for (int32_t ky = 0; ky < 3; ky++) {
          for (int32_t kx = 0; kx < 3; kx++) {
            if ((p_o * 3 + p_i) / 6 + ky - 1 >= 0 && (p_o * 3 + p_i) / 6 + ky - 1 < 6 && (p_o * 3 + p_i) % 6 + kx - 1 >= 0 && (p_o * 3 + p_i) % 6 + kx - 1 < 6) {
              for (int32_t ic = 0; ic < 4; ic++) {
                *to++ = x[p_o * 12 + p_i * 4 + ky * 24 + kx * 4 + ic - 28];
              }
            }
            else {
              for (int32_t i = 0; i < 4; i++) {
                *to++ = -3;
              }
            }
          }
        }
        for (int32_t i = 0; i < 18; i++) {
          x_staged[p_i + i * 3] = (uint32_t)(int32_t)window[i * 2] + ((uint32_t)(int32_t)window[i * 2 + 1] << 16);
        }
      }
    }
    for (int32_t oc_o = 0; oc_o < 2; oc_o++) {
      int32_t acc0 = bias[oc_o * 2];
      int32_t acc1 = bias[oc_o * 2 + 1];
      int32_t acc2 = bias[oc_o * 2];
      int32_t acc3 = bias[oc_o * 2 + 1];
      int32_t acc4 = bias[oc_o * 2];
      int32_t acc5 = bias[oc_o * 2 + 1];
      for (int32_t k_o_o = 0; k_o_o < 4; k_o_o++) {
        {
          const uint32_t v0 = x_staged[k_o_o * 12];
          const uint32_t v1 = weights[oc_o * 36 + k_o_o * 8];
          acc0 += (int32_t)(v0 * v1 + 0x8000u) >> 16;
          const uint32_t v2 = weights[oc_o * 36 + k_o_o * 8 + 1];
          acc1 += (int32_t)(v0 * v2 + 0x8000u) >> 16;
          const uint32_t v3 = x_staged[k_o_o * 12 + 1];
          acc2 += (int32_t)(v3 * v1 + 0x8000u) >> 16;
          acc3 += (int32_t)(v3 * v2 + 0x8000u) >> 16;
          const uint32_t v4 = x_staged[k_o_o * 12 + 2];
          acc4 += (int32_t)(v4 * v1 + 0x8000u) >> 16;
          acc5 += (int32_t)(v4 * v2 + 0x8000u) >> 16;
        }
        {
          const uint32_t v0 = x_staged[k_o_o * 12 + 3];
          const uint32_t v1 = weights[oc_o * 36 + k_o_o * 8 + 2];
          acc0 += (int32_t)(v0 * v1 + 0x8000u) >> 16;
          const uint32_t v2 = weights[oc_o * 36 + k_o_o * 8 + 3];
          acc1 += (int32_t)(v0 * v2 + 0x8000u) >> 16;
          const uint32_t v3 = x_staged[k_o_o * 12 + 4];
          acc2 += (int32_t)(v3 * v1 + 0x8000u) >> 16;
          acc3 += (int32_t)(v3 * v2 + 0x8000u) >> 16;
          const uint32_t v4 = x_staged[k_o_o * 12 + 5];
          acc4 += (int32_t)(v4 * v1 + 0x8000u) >> 16;
          acc5 += (int32_t)(v4 * v2 + 0x8000u) >> 16;
        }
        {
          const uint32_t v0 = x_staged[k_o_o * 12 + 6];
          const uint32_t v1 = weights[oc_o * 36 + k_o_o * 8 + 4];
          acc0 += (int32_t)(v0 * v1 + 0x8000u) >> 16;
          const uint32_t v2 = weights[oc_o * 36 + k_o_o * 8 + 5];
          acc1 += (int32_t)(v0 * v2 + 0x8000u) >> 16;
          const uint32_t v3 = x_staged[k_o_o * 12 + 7];
          acc2 += (int32_t)(v3 * v1 + 0x8000u) >> 16;
          acc3 += (int32_t)(v3 * v2 + 0x8000u) >> 16;
          const uint32_t v4 = x_staged[k_o_o * 12 + 8];
          acc4 += (int32_t)(v4 * v1 + 0x8000u) >> 16;
          acc5 += (int32_t)(v4 * v2 + 0x8000u) >> 16;
        }
        {
          const uint32_t v0 = x_staged[k_o_o * 12 + 9];
          const uint32_t v1 = weights[oc_o * 36 + k_o_o * 8 + 6];
          acc0 += (int32_t)(v0 * v1 + 0x8000u) >> 16;
          const uint32_t v2 = weights[oc_o * 36 + k_o_o * 8 + 7];
          acc1 += (int32_t)(v0 * v2 + 0x8000u) >> 16;
          const uint32_t v3 = x_staged[k_o_o * 12 + 10];
          acc2 += (int32_t)(v3 * v1 + 0x8000u) >> 16;
          acc3 += (int32_t)(v3 * v2 + 0x8000u) >> 16;
          const uint32_t v4 = x_staged[k_o_o * 12 + 11];
          acc4 += (int32_t)(v4 * v1 + 0x8000u) >> 16;
          acc5 += (int32_t)(v4 * v2 + 0x8000u) >> 16;
        }
      }
      {
        {
          const uint32_t v0 = x_staged[48];
          const uint32_t v1 = weights[oc_o * 36 + 32];
          acc0 += (int32_t)(v0 * v1 + 0x8000u) >> 16;
          const uint32_t v2 = weights[oc_o * 36 + 33];
          acc1 += (int32_t)(v0 * v2 + 0x8000u) >> 16;
          const uint32_t v3 = x_staged[49];
          acc2 += (int32_t)(v3 * v1 + 0x8000u) >> 16;
          acc3 += (int32_t)(v3 * v2 + 0x8000u) >> 16;
          const uint32_t v4 = x_staged[50];
          acc4 += (int32_t)(v4 * v1 + 0x8000u) >> 16;
          acc5 += (int32_t)(v4 * v2 + 0x8000u) >> 16;
        }
        {
          const uint32_t v0 = x_staged[51];
          const uint32_t v1 = weights[oc_o * 36 + 34];
          acc0 += (int32_t)(v0 * v1 + 0x8000u) >> 16;
          const uint32_t v2 = weights[oc_o * 36 + 35];
          acc1 += (int32_t)(v0 * v2 + 0x8000u) >> 16;
          const uint32_t v3 = x_staged[52];
          acc2 += (int32_t)(v3 * v1 + 0x8000u) >> 16;
          acc3 += (int32_t)(v3 * v2 + 0x8000u) >> 16;
          const uint32_t v4 = x_staged[53];
          acc4 += (int32_t)(v4 * v1 + 0x8000u) >> 16;
          acc5 += (int32_t)(v4 * v2 + 0x8000u) >> 16;
        }
      }
      y[oc_o * 2 + p_o * 12] = (int8_t)utvm_clamp((utvm_scale_right(acc0, multiplier[oc_o * 2], shift[oc_o * 2]) + (-3)), (-128), 127);
      y[oc_o * 2 + p_o * 12 + 1] = (int8_t)utvm_clamp((utvm_scale_right(acc1, multiplier[oc_o * 2 + 1], shift[oc_o * 2 + 1]) + (-3)), (-128), 127);
      y[oc_o * 2 + p_o * 12 + 4] = (int8_t)utvm_clamp((utvm_scale_right(acc2, multiplier[oc_o * 2], shift[oc_o * 2]) + (-3)), (-128), 127);
      y[oc_o * 2 + p_o * 12 + 5] = (int8_t)utvm_clamp((utvm_scale_right(acc3, multiplier[oc_o * 2 + 1], shift[oc_o * 2 + 1]) + (-3)), (-128), 127);
      y[oc_o * 2 + p_o * 12 + 8] = (int8_t)utvm_clamp((utvm_scale_right(acc4, multiplier[oc_o * 2], shift[oc_o * 2]) + (-3)), (-128), 127);
      y[oc_o * 2 + p_o * 12 + 9] = (int8_t)utvm_clamp((utvm_scale_right(acc5, multiplier[oc_o * 2 + 1], shift[oc_o * 2 + 1]) + (-3)), (-128), 127);
    }
  }
}

/*
 * DepthwiseConv2D(x=int8[1x6x6x4]zp-3, weights=int8[1x3x3x4], bias=none, y=int8[1x6x6x4]zp-3,
 * clamp=-128/127, rounding=double, stride=1/1, dilation=1/1, padding=1/1/1/1)
 * family blocked, m 6, n 1, order channels, unroll window, read there, code scheduled
 */
static __attribute__((noinline)) void depthwise_6x6x4_4_k3x3_blocked(
    const int8_t *x,
    const int8_t *weights,
    const int32_t *bias,
    const int32_t *multiplier,
    const int8_t *shift,
    int8_t *y) {
  for (int32_t oy = 0; oy < 6; oy++) {
    for (int32_t c_o = 0; c_o < 4; c_o++) {
      int32_t acc0 = bias[c_o];
      int32_t acc1 = bias[c_o];
      int32_t acc2 = bias[c_o];
      int32_t acc3 = bias[c_o];
      int32_t acc4 = bias[c_o];
      int32_t acc5 = bias[c_o];
      {
        const int32_t v0 = (oy - 1 >= 0 ? x[oy * 24 + c_o - 24] : -3);
        const int32_t v1 = weights[c_o * 9];
        acc1 += ((v0 - (-3)) * v1);
        const int32_t v2 = (oy - 1 >= 0 ? x[oy * 24 + c_o - 20] : -3);
        acc2 += ((v2 - (-3)) * v1);
        const int32_t v3 = (oy - 1 >= 0 ? x[oy * 24 + c_o - 16] : -3);
        acc3 += ((v3 - (-3)) * v1);
        const int32_t v4 = (oy - 1 >= 0 ? x[oy * 24 + c_o - 12] : -3);
        acc4 += ((v4 - (-3)) * v1);
        const int32_t v5 = (oy - 1 >= 0 ? x[oy * 24 + c_o - 8] : -3);
        acc5 += ((v5 - (-3)) * v1);
      }
      {
        const int32_t v0 = (oy - 1 >= 0 ? x[oy * 24 + c_o - 24] : -3);
        const int32_t v1 = weights[c_o * 9 + 1];
        acc0 += ((v0 - (-3)) * v1);
        const int32_t v2 = (oy - 1 >= 0 ? x[oy * 24 + c_o - 20] : -3);
        acc1 += ((v2 - (-3)) * v1);
        const int32_t v3 = (oy - 1 >= 0 ? x[oy * 24 + c_o - 16] : -3);
        acc2 += ((v3 - (-3)) * v1);
        const int32_t v4 = (oy - 1 >= 0 ? x[oy * 24 + c_o - 12] : -3);
        acc3 += ((v4 - (-3)) * v1);
        const int32_t v5 = (oy - 1 >= 0 ? x[oy * 24 + c_o - 8] : -3);
        acc4 += ((v5 - (-3)) * v1);
        const int32_t v6 = (oy - 1 >= 0 ? x[oy * 24 + c_o - 4] : -3);
        acc5 += ((v6 - (-3)) * v1);
      }
      {
        const int32_t v0 = (oy - 1 >= 0 ? x[oy * 24 + c_o - 20] : -3);
        const int32_t v1 = weights[c_o * 9 + 2];
        acc0 += ((v0 - (-3)) * v1);
        const int32_t v2 = (oy - 1 >= 0 ? x[oy * 24 + c_o - 16] : -3);
        acc1 += ((v2 - (-3)) * v1);
        const int32_t v3 = (oy - 1 >= 0 ? x[oy * 24 + c_o - 12] : -3);
        acc2 += ((v3 - (-3)) * v1);
        const int32_t v4 = (oy - 1 >= 0 ? x[oy * 24 + c_o - 8] : -3);
        acc3 += ((v4 - (-3)) * v1);
        const int32_t v5 = (oy - 1 >= 0 ? x[oy * 24 + c_o - 4] : -3);
        acc4 += ((v5 - (-3)) * v1);
      }
      {
        const int32_t v0 = x[oy * 24 + c_o];
        const int32_t v1 = weights[c_o * 9 + 3];
        acc1 += ((v0 - (-3)) * v1);
        const int32_t v2 = x[oy * 24 + c_o + 4];
        acc2 += ((v2 - (-3)) * v1);
        const int32_t v3 = x[oy * 24 + c_o + 8];
        acc3 += ((v3 - (-3)) * v1);
        const int32_t v4 = x[oy * 24 + c_o + 12];
        acc4 += ((v4 - (-3)) * v1);
        const int32_t v5 = x[oy * 24 + c_o + 16];
        acc5 += ((v5 - (-3)) * v1);
      }
      {
        const int32_t v0 = x[oy * 24 + c_o];
        const int32_t v1 = weights[c_o * 9 + 4];
        acc0 += ((v0 - (-3)) * v1);
        const int32_t v2 = x[oy * 24 + c_o + 4];
        acc1 += ((v2 - (-3)) * v1);
        const int32_t v3 = x[oy * 24 + c_o + 8];
        acc2 += ((v3 - (-3)) * v1);
        const int32_t v4 = x[oy * 24 + c_o + 12];
        acc3 += ((v4 - (-3)) * v1);
        const int32_t v5 = x[oy * 24 + c_o + 16];
        acc4 += ((v5 - (-3)) * v1);
        const int32_t v6 = x[oy * 24 + c_o + 20];
        acc5 += ((v6 - (-3)) * v1);
      }
      {
        const int32_t v0 = x[oy * 24 + c_o + 4];
        const int32_t v1 = weights[c_o * 9 + 5];
        acc0 += ((v0 - (-3)) * v1);
        const int32_t v2 = x[oy * 24 + c_o + 8];
        acc1 += ((v2 - (-3)) * v1);
        const int32_t v3 = x[oy * 24 + c_o + 12];
        acc2 += ((v3 - (-3)) * v1);
        const int32_t v4 = x[oy * 24 + c_o + 16];
        acc3 += ((v4 - (-3)) * v1);
        const int32_t v5 = x[oy * 24 + c_o + 20];
        acc4 += ((v5 - (-3)) * v1);
      }
      {
        const int32_t v0 = (oy + 1 < 6 ? x[oy * 24 + c_o + 24] : -3);
        const int32_t v1 = weights[c_o * 9 + 6];
        acc1 += ((v0 - (-3)) * v1);
        const int32_t v2 = (oy + 1 < 6 ? x[oy * 24 + c_o + 28] : -3);
        acc2 += ((v2 - (-3)) * v1);
        const int32_t v3 = (oy + 1 < 6 ? x[oy * 24 + c_o + 32] : -3);
        acc3 += ((v3 - (-3)) * v1);
        const int32_t v4 = (oy + 1 < 6 ? x[oy * 24 + c_o + 36] : -3);
        acc4 += ((v4 - (-3)) * v1);
        const int32_t v5 = (oy + 1 < 6 ? x[oy * 24 + c_o + 40] : -3);
        acc5 += ((v5 - (-3)) * v1);
      }
      {
        const int32_t v0 = (oy + 1 < 6 ? x[oy * 24 + c_o + 24] : -3);
        const int32_t v1 = weights[c_o * 9 + 7];
        acc0 += ((v0 - (-3)) * v1);
        const int32_t v2 = (oy + 1 < 6 ? x[oy * 24 + c_o + 28] : -3);
        acc1 += ((v2 - (-3)) * v1);
        const int32_t v3 = (oy + 1 < 6 ? x[oy * 24 + c_o + 32] : -3);
        acc2 += ((v3 - (-3)) * v1);
        const int32_t v4 = (oy + 1 < 6 ? x[oy * 24 + c_o + 36] : -3);
        acc3 += ((v4 - (-3)) * v1);
        const int32_t v5 = (oy + 1 < 6 ? x[oy * 24 + c_o + 40] : -3);
        acc4 += ((v5 - (-3)) * v1);
        const int32_t v6 = (oy + 1 < 6 ? x[oy * 24 + c_o + 44] : -3);
        acc5 += ((v6 - (-3)) * v1);
      }
      {
        const int32_t v0 = (oy + 1 < 6 ? x[oy * 24 + c_o + 28] : -3);
        const int32_t v1 = weights[c_o * 9 + 8];
        acc0 += ((v0 - (-3)) * v1);
        const int32_t v2 = (oy + 1 < 6 ? x[oy * 24 + c_o + 32] : -3);
        acc1 += ((v2 - (-3)) * v1);
        const int32_t v3 = (oy + 1 < 6 ? x[oy * 24 + c_o + 36] : -3);
        acc2 += ((v3 - (-3)) * v1);
        const int32_t v4 = (oy + 1 < 6 ? x[oy * 24 + c_o + 40] : -3);
        acc3 += ((v4 - (-3)) * v1);
        const int32_t v5 = (oy + 1 < 6 ? x[oy * 24 + c_o + 44] : -3);
        acc4 += ((v5 - (-3)) * v1);
      }
      y[oy * 24 + c_o] = (int8_t)utvm_clamp((utvm_scale_right(acc0, multiplier[c_o], shift[c_o]) + (-3)), (-128), 127);
      y[oy * 24 + c_o + 4] = (int8_t)utvm_clamp((utvm_scale_right(acc1, multiplier[c_o], shift[c_o]) + (-3)), (-128), 127);
      y[oy * 24 + c_o + 8] = (int8_t)utvm_clamp((utvm_scale_right(acc2, multiplier[c_o], shift[c_o]) + (-3)), (-128), 127);
      y[oy * 24 + c_o + 12] = (int8_t)utvm_clamp((utvm_scale_right(acc3, multiplier[c_o], shift[c_o]) + (-3)), (-128), 127);
      y[oy * 24 + c_o + 16] = (int8_t)utvm_clamp((utvm_scale_right(acc4, multiplier[c_o], shift[c_o]) + (-3)), (-128), 127);
      y[oy * 24 + c_o + 20] = (int8_t)utvm_clamp((utvm_scale_right(acc5, multiplier[c_o], shift[c_o]) + (-3)), (-128), 127);
    }
  }
}

/*
 * MaxPool2D(x=int8[1x6x6x4]zp-3, y=int8[1x3x3x4]zp-3, filter=2/2, stride=2/2, padding=0/0/0/0,
 * clamp=-128/127)
 * family portable
 */
static __attribute__((noinline)) void max_pool_6x6x4(const int8_t *x, int8_t *y) {
  {
    const int32_t n = 0;
    (void)n;
    for (int32_t oy = 0; oy < 3; oy++) {
      const int32_t start_y = oy * 2 - 0;
      const int32_t first_y = start_y < 0 ? 0 : start_y;
      const int32_t last_y = start_y + 2 < 6 ? start_y + 2 : 6;
      for (int32_t ox = 0; ox < 3; ox++) {
        const int32_t start_x = ox * 2 - 0;
        const int32_t first_x = start_x < 0 ? 0 : start_x;
        const int32_t last_x = start_x + 2 < 6 ? start_x + 2 : 6;
        const int8_t *pixels = x + ((n * 6 + first_y) * 6 + first_x) * 4;
        int8_t *to = y + ((n * 3 + oy) * 3 + ox) * 4;
        const int32_t count = (last_y - first_y) * (last_x - first_x);
        if (count == 4) {
          for (int32_t c = 0; c < 4; c++) {
            int32_t value = -128;
            value = pixels[c] > value ? pixels[c] : value;
            value = pixels[c + 4] > value ? pixels[c + 4] : value;
            value = pixels[c + 24] > value ? pixels[c + 24] : value;
            value = pixels[c + 28] > value ? pixels[c + 28] : value;
            to[c] = (int8_t)utvm_clamp(value, -128, 127);
          }
        }
        else {
          for (int32_t c = 0; c < 4; c++) {
            int32_t value = -128;
            for (int32_t ky = 0; ky < last_y - first_y; ky++) {
              const int8_t *at = pixels + c + ky * 24;
              for (int32_t kx = 0; kx < last_x - first_x; kx++) {
                value = at[kx * 4] > value ? at[kx * 4] : value;
              }
            }
            to[c] = (int8_t)utvm_clamp(value, -128, 127);
          }
        }
      }
    }
  }
}

/*
 * FullyConnected(x=int8[1x3x3x4]zp-3, weights=int8[3x36], bias=int32[3], y=int8[1x3]zp-3,
 * clamp=-128/127, rounding=double)
 * family blocked, m 1, n 2, use plain, unroll 4, read there, code in-order
 */
static __attribute__((noinline)) void UTVM_IN_ORDER fully_connected_36_3_blocked(
    const int8_t *x,
    const int8_t *weights,
    const int32_t *bias,
    const int32_t *multiplier,
    const int8_t *shift,
    int8_t *y) {
  {
    int32_t acc0 = bias[0];
    int32_t acc1 = bias[1];
    for (int32_t k_o = 0; k_o < 9; k_o++) {
      {
        const int32_t v0 = x[k_o * 4];
        const int32_t v1 = weights[k_o * 8];
        acc0 += (v0 * v1);
        const int32_t v2 = weights[k_o * 8 + 1];
        acc1 += (v0 * v2);
      }
      {
        const int32_t v0 = x[k_o * 4 + 1];
        const int32_t v1 = weights[k_o * 8 + 2];
        acc0 += (v0 * v1);
        const int32_t v2 = weights[k_o * 8 + 3];
        acc1 += (v0 * v2);
      }
      {
        const int32_t v0 = x[k_o * 4 + 2];
        const int32_t v1 = weights[k_o * 8 + 4];
        acc0 += (v0 * v1);
        const int32_t v2 = weights[k_o * 8 + 5];
        acc1 += (v0 * v2);
      }
      {
        const int32_t v0 = x[k_o * 4 + 3];
        const int32_t v1 = weights[k_o * 8 + 6];
        acc0 += (v0 * v1);
        const int32_t v2 = weights[k_o * 8 + 7];
        acc1 += (v0 * v2);
      }
    }
    y[0] = (int8_t)utvm_clamp((utvm_scale_right(acc0, multiplier[0], shift[0]) + (-3)), (-128), 127);
    y[1] = (int8_t)utvm_clamp((utvm_scale_right(acc1, multiplier[1], shift[1]) + (-3)), (-128), 127);
  }
  {
    int32_t acc0 = bias[2];
    for (int32_t k_o = 0; k_o < 9; k_o++) {
      {
        const int32_t v0 = x[k_o * 4];
        const int32_t v1 = weights[k_o * 8 + 72];
        acc0 += (v0 * v1);
      }
      {
        const int32_t v0 = x[k_o * 4 + 1];
        const int32_t v1 = weights[k_o * 8 + 74];
        acc0 += (v0 * v1);
      }
      {
        const int32_t v0 = x[k_o * 4 + 2];
        const int32_t v1 = weights[k_o * 8 + 76];
        acc0 += (v0 * v1);
      }
      {
        const int32_t v0 = x[k_o * 4 + 3];
        const int32_t v1 = weights[k_o * 8 + 78];
        acc0 += (v0 * v1);
      }
    }
    y[2] = (int8_t)utvm_clamp((utvm_scale_right(acc0, multiplier[2], shift[2]) + (-3)), (-128), 127);
  }
}

/*
 * Softmax(x=int8[1x3]zp-3, y=int8[1x3]zp-128, beta=1.0)
 * family portable
 */
static __attribute__((noinline)) void softmax_1x3(
    const int8_t *x,
    const int32_t *exponentials,
    int8_t *y) {
  {
    const int32_t row = 0;
    (void)row;
    const int8_t *from = x + row * 3;
    int8_t *to = y + row * 3;
    int32_t most = -128;
    int32_t sum = 0;
    for (int32_t i = 0; i < 3; i++) {
      most = from[i] > most ? from[i] : most;
    }
    for (int32_t i = 0; i < 3; i++) {
      sum += (int32_t)(((uint32_t)exponentials[most - from[i]] + 2048u) >> 12);
    }
    const int32_t zeros = utvm_leading_zeros((uint32_t)sum);
    const int32_t scale = utvm_reciprocal((int32_t)(((uint32_t)sum << zeros) - 0x80000000u));
    const int32_t right = 35 - zeros;
    for (int32_t i = 0; i < 3; i++) {
      const int32_t share = utvm_high_mul(exponentials[most - from[i]], scale);
      to[i] = (int8_t)utvm_clamp(utvm_shift_right(share, right) - 128, -128, 127);
    }
  }
}

int32_t small_run(uint8_t *arena) {
  /* 0: conv */
  conv2d_6x6x4_4_k3x3_blocked(
      (const int8_t *)(arena + 40),
      small_0_weights,
      small_0_bias,
      small_0_multiplier,
      small_0_shift,
      (uint32_t *)(void *)(arena + 184),
      (int8_t *)(arena + 0));
  /* 1: depthwise */
  depthwise_6x6x4_4_k3x3_blocked(
      (const int8_t *)(arena + 0),
      small_1_weights,
      small_1_bias,
      small_0_multiplier,
      small_0_shift,
      (int8_t *)(arena + 144));
  /* 2: pool */
  max_pool_6x6x4((const int8_t *)(arena + 144), (int8_t *)(arena + 4));
  /* 3: dense */
  fully_connected_36_3_blocked(
      (const int8_t *)(arena + 4),
      small_3_weights,
      small_3_bias,
      small_3_multiplier,
      small_3_shift,
      (int8_t *)(arena + 0));
  /* 4: softmax */
  softmax_1x3((const int8_t *)(arena + 0), small_4_exponentials, (int8_t *)(arena + 0));
  return 0;
}
