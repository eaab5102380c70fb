#include "small.h"

#include <string.h>

#include "small_weights.h"

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

/* x * multiplier * 2^(shift - 31), rounded twice as TFLite does. */
static inline int32_t utvm_requantize_double(int32_t x, int32_t multiplier, int32_t shift) {
  const int32_t left = shift > 0 ? shift : 0;
  const int32_t right = shift > 0 ? 0 : -shift;
  return utvm_shift_right(utvm_high_mul((int32_t)((uint32_t)x << left), multiplier), right);
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
 * family portable
 */
static __attribute__((noinline)) void conv2d_6x6x4_4_k3x3(
    const int8_t *x,
    const int8_t *weights,
    const int32_t *bias,
    const int32_t *multiplier,
    const int8_t *shift,
    int8_t *y) {
  {
    const int32_t n = 0;
    (void)n;
    for (int32_t oy = 0; oy < 6; oy++) {
      const int32_t start_y = oy * 1 - 1;
      const int32_t first_y = start_y < 0 ? -start_y : 0;
      const int32_t room_y = 6 - start_y;
      const int32_t last_y = room_y < 3 ? room_y : 3;
      for (int32_t ox = 0; ox < 6; ox++) {
        const int32_t start_x = ox * 1 - 1;
        const int32_t first_x = start_x < 0 ? -start_x : 0;
        const int32_t room_x = 6 - start_x;
        const int32_t last_x = room_x < 3 ? room_x : 3;
        {
          const int32_t oc = 0;
          (void)oc;
          int32_t acc0 = bias[oc];
          int32_t acc1 = bias[oc + 1];
          int32_t acc2 = bias[oc + 2];
          int32_t acc3 = bias[oc + 3];
          for (int32_t ky = first_y; ky < last_y; ky++) {
            const int8_t *px = x + ((n * 6 + start_y + ky) * 6 + start_x + first_x) * 4;
            const int8_t *pw = weights + ((oc * 3 + ky) * 3 + first_x) * 4;
            for (int32_t i = 0; i < (last_x - first_x) * 4; i++) {
              const int32_t value = px[i] + 3;
              acc0 += value * pw[i];
              acc1 += value * pw[i + 36];
              acc2 += value * pw[i + 72];
              acc3 += value * pw[i + 108];
            }
          }
          acc0 = utvm_requantize_double(acc0, multiplier[oc], shift[oc]) - 3;
          y[((n * 6 + oy) * 6 + ox) * 4 + oc] = (int8_t)utvm_clamp(acc0, -128, 127);
          acc1 = utvm_requantize_double(acc1, multiplier[oc + 1], shift[oc + 1]) - 3;
          y[((n * 6 + oy) * 6 + ox) * 4 + oc + 1] = (int8_t)utvm_clamp(acc1, -128, 127);
          acc2 = utvm_requantize_double(acc2, multiplier[oc + 2], shift[oc + 2]) - 3;
          y[((n * 6 + oy) * 6 + ox) * 4 + oc + 2] = (int8_t)utvm_clamp(acc2, -128, 127);
          acc3 = utvm_requantize_double(acc3, multiplier[oc + 3], shift[oc + 3]) - 3;
          y[((n * 6 + oy) * 6 + ox) * 4 + oc + 3] = (int8_t)utvm_clamp(acc3, -128, 127);
        }
      }
    }
  }
}

/*
 * DepthwiseConv2D(x=int8[1x6x6x4]zp-3, weights=int8[1x3x3x4], bias=none, y=int8[1x6x6x4]zp-3,
 * clamp=-128/127, rounding=double, stride=1/1, dilation=1/1, padding=1/1/1/1)
 * family portable
 */
static __attribute__((noinline)) void depthwise_6x6x4_4_k3x3(
    const int8_t *x,
    const int8_t *weights,
    const int32_t *bias,
    const int32_t *multiplier,
    const int8_t *shift,
    int8_t *y) {
  {
    const int32_t n = 0;
    (void)n;
    for (int32_t oy = 0; oy < 6; oy++) {
      const int32_t start_y = oy * 1 - 1;
      const int32_t first_y = start_y < 0 ? -start_y : 0;
      const int32_t room_y = 6 - start_y;
      const int32_t last_y = room_y < 3 ? room_y : 3;
      for (int32_t ox = 0; ox < 6; ox++) {
        const int32_t start_x = ox * 1 - 1;
        const int32_t first_x = start_x < 0 ? -start_x : 0;
        const int32_t room_x = 6 - start_x;
        const int32_t last_x = room_x < 3 ? room_x : 3;
        for (int32_t oc = 0; oc < 4; oc++) {
          int32_t acc0 = bias[oc];
          for (int32_t ky = first_y; ky < last_y; ky++) {
            const int8_t *px = x + ((n * 6 + start_y + ky) * 6 + start_x + first_x) * 4 + oc;
            const int8_t *pw = weights + (ky * 3 + first_x) * 4 + oc;
            for (int32_t i = 0; i < (last_x - first_x); i++) {
              acc0 += (px[i * 4] + 3) * pw[i * 4];
            }
          }
          acc0 = utvm_requantize_double(acc0, multiplier[oc], shift[oc]) - 3;
          y[((n * 6 + oy) * 6 + ox) * 4 + oc] = (int8_t)utvm_clamp(acc0, -128, 127);
        }
      }
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
 * family portable
 */
static __attribute__((noinline)) void fully_connected_36_3(
    const int8_t *x,
    const int8_t *weights,
    const int32_t *bias,
    const int32_t *multiplier,
    const int8_t *shift,
    int8_t *y) {
  {
    const int32_t n = 0;
    (void)n;
    for (int32_t o = 0; o < 3; o++) {
      int32_t acc0 = bias[o];
      const int8_t *px = x + n * 36;
      const int8_t *pw = weights + o * 36;
      for (int32_t i = 0; i < 36; i++) {
        const int32_t value = px[i] + 3;
        acc0 += value * pw[i];
      }
      acc0 = utvm_requantize_double(acc0, multiplier[o], shift[o]) - 3;
      y[n * 3 + o] = (int8_t)utvm_clamp(acc0, -128, 127);
    }
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
  conv2d_6x6x4_4_k3x3(
      (const int8_t *)(arena + 96),
      small_0_weights,
      small_0_bias,
      small_0_multiplier,
      small_0_shift,
      (int8_t *)(arena + 48));
  /* 1: depthwise */
  depthwise_6x6x4_4_k3x3(
      (const int8_t *)(arena + 48),
      small_1_weights,
      small_1_bias,
      small_0_multiplier,
      small_0_shift,
      (int8_t *)(arena + 0));
  /* 2: pool */
  max_pool_6x6x4((const int8_t *)(arena + 0), (int8_t *)(arena + 144));
  /* 3: dense */
  fully_connected_36_3(
      (const int8_t *)(arena + 144),
      small_3_weights,
      small_3_bias,
      small_3_multiplier,
      small_3_shift,
      (int8_t *)(arena + 0));
  /* 4: softmax */
  softmax_1x3((const int8_t *)(arena + 0), small_4_exponentials, (int8_t *)(arena + 0));
  return 0;
}
