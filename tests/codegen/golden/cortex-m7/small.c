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

/* The larger of each of four signed bytes. */
static inline uint32_t utvm_max4(uint32_t a, uint32_t b) {
  uint32_t difference, most;
  __asm__("ssub8 %0, %2, %3\n sel %1, %2, %3" : "=&r"(difference), "=r"(most) : "r"(a), "r"(b) : "cc");
  return most;
}

/* Four bytes at a multiple of four. */
static inline uint32_t utvm_load4(const int8_t *from) {
  typedef uint32_t __attribute__((may_alias)) word;
  return *(const word *)(const void *)from;
}

static inline void utvm_store4(int8_t *to, uint32_t four) {
  typedef uint32_t __attribute__((may_alias)) word;
  *(word *)(void *)to = four;
}

/* 24 bytes a turn to int16 lanes, each four in the order 0, 2, 1, 3 */
void utvm_expand_6(const int8_t *x, int16_t *lanes, int32_t turns);
__asm__(
    ".pushsection .text.utvm_expand_6, \"ax\", %progbits\n"
    ".syntax unified\n"
    ".thumb\n"
    ".balign 8\n"
    ".type utvm_expand_6, %function\n"
    "utvm_expand_6:\n"
    "push {r4-r11, lr}\n"
    ".balign 8\n"
    "1:\n"
    "ldr r4, [r0, #0]\n"
    "ldr r5, [r0, #4]\n"
    "ldr r6, [r0, #8]\n"
    "ldr r7, [r0, #12]\n"
    "ldr r8, [r0, #16]\n"
    "ldr r9, [r0, #20]\n"
    "sxtb16 r10, r4\n"
    "str r10, [r1, #0]\n"
    "sxtb16 r4, r4, ror #8\n"
    "str r4, [r1, #4]\n"
    "sxtb16 r4, r5\n"
    "str r4, [r1, #8]\n"
    "sxtb16 r5, r5, ror #8\n"
    "str r5, [r1, #12]\n"
    "sxtb16 r5, r6\n"
    "str r5, [r1, #16]\n"
    "sxtb16 r6, r6, ror #8\n"
    "str r6, [r1, #20]\n"
    "sxtb16 r6, r7\n"
    "str r6, [r1, #24]\n"
    "sxtb16 r7, r7, ror #8\n"
    "str r7, [r1, #28]\n"
    "sxtb16 r7, r8\n"
    "str r7, [r1, #32]\n"
    "sxtb16 r8, r8, ror #8\n"
    "str r8, [r1, #36]\n"
    "sxtb16 r8, r9\n"
    "str r8, [r1, #40]\n"
    "sxtb16 r9, r9, ror #8\n"
    "str r9, [r1, #44]\n"
    "add r0, r0, #24\n"
    "add r1, r1, #48\n"
    "subs r2, r2, #1\n"
    "bne.w 1b\n"
    "pop {r4-r11, pc}\n"
    ".size utvm_expand_6, . - utvm_expand_6\n"
    ".popsection\n");

/* 3 pixels x 2 channels, 3 rows of 6 lane pairs, int16 weights */
void utvm_multiply_m3n2_3x6_f0b46d0e(const void *const *rows, const int32_t *stream, int8_t *out, int32_t blocks);
__asm__(
    ".pushsection .text.utvm_multiply_m3n2_3x6_f0b46d0e, \"ax\", %progbits\n"
    ".syntax unified\n"
    ".thumb\n"
    ".balign 8\n"
    ".type utvm_multiply_m3n2_3x6_f0b46d0e, %function\n"
    "utvm_multiply_m3n2_3x6_f0b46d0e:\n"
    "push {r4-r11, lr}\n"
    "sub sp, sp, #28\n"
    "mov r4, #2\n"
    "mla r3, r3, r4, r2\n"
    "strd r2, r3, [sp]\n"
    "ldr r4, [r0, #0]\n"
    "ldr r5, [r0, #4]\n"
    "ldr r6, [r0, #8]\n"
    "str r4, [sp, #8]\n"
    "str r5, [sp, #12]\n"
    "str r6, [sp, #16]\n"
    ".balign 8\n"
    "1:\n"
    "ldr r0, [sp, #8]\n"
    "ldr r2, [r1, #0]\n"
    "ldr r3, [r1, #4]\n"
    "ldr r4, [r1, #8]\n"
    "ldr r5, [r0, #0]\n"
    "ldr r6, [r1, #12]\n"
    "ldr r7, [r0, #8]\n"
    "ldr r8, [r0, #4]\n"
    "smlad r9, r5, r4, r2\n"
    "ldr r10, [r0, #16]\n"
    "smlad r5, r5, r6, r3\n"
    "ldr r11, [r1, #16]\n"
    "smlad r12, r7, r4, r2\n"
    "smlad r7, r7, r6, r3\n"
    "smlad r2, r10, r4, r2\n"
    "ldr r4, [r1, #20]\n"
    "smlad r3, r10, r6, r3\n"
    "ldr r6, [r0, #12]\n"
    "ldr r10, [r0, #20]\n"
    "smlad r9, r8, r11, r9\n"
    "smlad r5, r8, r4, r5\n"
    "ldr r8, [r0, #8]\n"
    "smlad r12, r6, r11, r12\n"
    "smlad r7, r6, r4, r7\n"
    "ldr r6, [r1, #24]\n"
    "smlad r2, r10, r11, r2\n"
    "ldr r11, [r1, #28]\n"
    "smlad r3, r10, r4, r3\n"
    "ldr r4, [r0, #16]\n"
    "ldr r10, [r0, #24]\n"
    "smlad r9, r8, r6, r9\n"
    "smlad r5, r8, r11, r5\n"
    "ldr r8, [r0, #12]\n"
    "smlad r12, r4, r6, r12\n"
    "smlad r7, r4, r11, r7\n"
    "ldr r4, [r1, #32]\n"
    "smlad r2, r10, r6, r2\n"
    "ldr r6, [r1, #36]\n"
    "smlad r3, r10, r11, r3\n"
    "ldr r11, [r0, #20]\n"
    "ldr r10, [r0, #28]\n"
    "smlad r9, r8, r4, r9\n"
    "smlad r5, r8, r6, r5\n"
    "ldr r8, [r0, #16]\n"
    "smlad r12, r11, r4, r12\n"
    "smlad r7, r11, r6, r7\n"
    "ldr r11, [r1, #40]\n"
    "smlad r2, r10, r4, r2\n"
    "ldr r4, [r1, #44]\n"
    "smlad r3, r10, r6, r3\n"
    "ldr r6, [r0, #24]\n"
    "ldr r10, [r0, #32]\n"
    "smlad r9, r8, r11, r9\n"
    "smlad r5, r8, r4, r5\n"
    "ldr r8, [r0, #20]\n"
    "smlad r12, r6, r11, r12\n"
    "smlad r7, r6, r4, r7\n"
    "ldr r6, [r0, #28]\n"
    "smlad r2, r10, r11, r2\n"
    "ldr r11, [r0, #36]\n"
    "smlad r3, r10, r4, r3\n"
    "ldr r4, [r1, #48]\n"
    "ldr r10, [r1, #52]\n"
    "ldr r0, [sp, #12]\n"
    "smlad r9, r8, r4, r9\n"
    "smlad r5, r8, r10, r5\n"
    "ldr r8, [r0, #0]\n"
    "smlad r12, r6, r4, r12\n"
    "smlad r7, r6, r10, r7\n"
    "ldr r6, [r1, #56]\n"
    "smlad r2, r11, r4, r2\n"
    "ldr r4, [r1, #60]\n"
    "smlad r3, r11, r10, r3\n"
    "ldr r10, [r0, #8]\n"
    "ldr r11, [r0, #16]\n"
    "smlad r9, r8, r6, r9\n"
    "smlad r5, r8, r4, r5\n"
    "ldr r8, [r0, #4]\n"
    "smlad r12, r10, r6, r12\n"
    "smlad r7, r10, r4, r7\n"
    "ldr r10, [r1, #64]\n"
    "smlad r2, r11, r6, r2\n"
    "ldr r6, [r1, #68]\n"
    "smlad r3, r11, r4, r3\n"
    "ldr r4, [r0, #12]\n"
    "ldr r11, [r0, #20]\n"
    "smlad r9, r8, r10, r9\n"
    "smlad r5, r8, r6, r5\n"
    "ldr r8, [r0, #8]\n"
    "smlad r12, r4, r10, r12\n"
    "smlad r7, r4, r6, r7\n"
    "ldr r4, [r1, #72]\n"
    "smlad r2, r11, r10, r2\n"
    "ldr r10, [r1, #76]\n"
    "smlad r3, r11, r6, r3\n"
    "ldr r6, [r0, #16]\n"
    "ldr r11, [r0, #24]\n"
    "smlad r9, r8, r4, r9\n"
    "smlad r5, r8, r10, r5\n"
    "ldr r8, [r0, #12]\n"
    "smlad r12, r6, r4, r12\n"
    "smlad r7, r6, r10, r7\n"
    "ldr r6, [r1, #80]\n"
    "smlad r2, r11, r4, r2\n"
    "ldr r4, [r1, #84]\n"
    "smlad r3, r11, r10, r3\n"
    "ldr r10, [r0, #20]\n"
    "ldr r11, [r0, #28]\n"
    "smlad r9, r8, r6, r9\n"
    "smlad r5, r8, r4, r5\n"
    "ldr r8, [r0, #16]\n"
    "smlad r12, r10, r6, r12\n"
    "smlad r7, r10, r4, r7\n"
    "ldr r10, [r1, #88]\n"
    "smlad r2, r11, r6, r2\n"
    "ldr r6, [r1, #92]\n"
    "smlad r3, r11, r4, r3\n"
    "ldr r4, [r0, #24]\n"
    "ldr r11, [r0, #32]\n"
    "smlad r9, r8, r10, r9\n"
    "smlad r5, r8, r6, r5\n"
    "ldr r8, [r0, #20]\n"
    "smlad r12, r4, r10, r12\n"
    "smlad r7, r4, r6, r7\n"
    "ldr r4, [r0, #28]\n"
    "smlad r2, r11, r10, r2\n"
    "ldr r10, [r0, #36]\n"
    "smlad r3, r11, r6, r3\n"
    "ldr r6, [r1, #96]\n"
    "ldr r11, [r1, #100]\n"
    "ldr r0, [sp, #16]\n"
    "smlad r9, r8, r6, r9\n"
    "smlad r5, r8, r11, r5\n"
    "ldr r8, [r0, #0]\n"
    "smlad r12, r4, r6, r12\n"
    "smlad r7, r4, r11, r7\n"
    "ldr r4, [r1, #104]\n"
    "smlad r2, r10, r6, r2\n"
    "ldr r6, [r1, #108]\n"
    "smlad r3, r10, r11, r3\n"
    "ldr r11, [r0, #8]\n"
    "ldr r10, [r0, #16]\n"
    "smlad r9, r8, r4, r9\n"
    "smlad r5, r8, r6, r5\n"
    "ldr r8, [r0, #4]\n"
    "smlad r12, r11, r4, r12\n"
    "smlad r7, r11, r6, r7\n"
    "ldr r11, [r1, #112]\n"
    "smlad r2, r10, r4, r2\n"
    "ldr r4, [r1, #116]\n"
    "smlad r3, r10, r6, r3\n"
    "ldr r6, [r0, #12]\n"
    "ldr r10, [r0, #20]\n"
    "smlad r9, r8, r11, r9\n"
    "smlad r5, r8, r4, r5\n"
    "ldr r8, [r0, #8]\n"
    "smlad r12, r6, r11, r12\n"
    "smlad r7, r6, r4, r7\n"
    "ldr r6, [r1, #120]\n"
    "smlad r2, r10, r11, r2\n"
    "ldr r11, [r1, #124]\n"
    "smlad r3, r10, r4, r3\n"
    "ldr r4, [r0, #16]\n"
    "ldr r10, [r0, #24]\n"
    "smlad r9, r8, r6, r9\n"
    "smlad r5, r8, r11, r5\n"
    "ldr r8, [r0, #12]\n"
    "smlad r12, r4, r6, r12\n"
    "smlad r7, r4, r11, r7\n"
    "ldr r4, [r1, #128]\n"
    "smlad r2, r10, r6, r2\n"
    "ldr r6, [r1, #132]\n"
    "smlad r3, r10, r11, r3\n"
    "ldr r11, [r0, #20]\n"
    "ldr r10, [r0, #28]\n"
    "smlad r9, r8, r4, r9\n"
    "smlad r5, r8, r6, r5\n"
    "ldr r8, [r0, #16]\n"
    "smlad r12, r11, r4, r12\n"
    "smlad r7, r11, r6, r7\n"
    "ldr r11, [r1, #136]\n"
    "smlad r2, r10, r4, r2\n"
    "ldr r4, [r1, #140]\n"
    "smlad r3, r10, r6, r3\n"
    "ldr r6, [r0, #24]\n"
    "ldr r10, [r0, #32]\n"
    "smlad r9, r8, r11, r9\n"
    "smlad r5, r8, r4, r5\n"
    "ldr r8, [r0, #20]\n"
    "smlad r12, r6, r11, r12\n"
    "smlad r7, r6, r4, r7\n"
    "ldr r6, [r1, #144]\n"
    "smlad r2, r10, r11, r2\n"
    "ldr r11, [r1, #148]\n"
    "smlad r3, r10, r4, r3\n"
    "ldr r4, [r0, #28]\n"
    "ldr r10, [r0, #36]\n"
    "smlad r9, r8, r6, r9\n"
    "smlad r5, r8, r11, r5\n"
    "ldr r8, [r1, #156]\n"
    "smlad r12, r4, r6, r12\n"
    "smlad r7, r4, r11, r7\n"
    "ldr r4, [r1, #164]\n"
    "smlad r2, r10, r6, r2\n"
    "ldr r6, [r1, #152]\n"
    "smlad r3, r10, r11, r3\n"
    "ldr r11, [r1, #160]\n"
    "smmlar r9, r9, r8, r9\n"
    "ldr r10, [r1, #168]\n"
    "smmlar r12, r12, r8, r12\n"
    "ldr lr, [sp, #0]\n"
    "smmlar r2, r2, r8, r2\n"
    "add r1, r1, #172\n"
    "smmlar r5, r5, r4, r5\n"
    "add r9, r9, r9, asr #31\n"
    "smmlar r7, r7, r4, r7\n"
    "add r12, r12, r12, asr #31\n"
    "smmlar r3, r3, r4, r3\n"
    "add r2, r2, r2, asr #31\n"
    "add r5, r5, r5, asr #31\n"
    "smmlar r9, r9, r11, r6\n"
    "add r7, r7, r7, asr #31\n"
    "smmlar r12, r12, r11, r6\n"
    "add r3, r3, r3, asr #31\n"
    "smmlar r2, r2, r11, r6\n"
    "smmlar r5, r5, r10, r6\n"
    "ldr r11, [sp, #4]\n"
    "smmlar r7, r7, r10, r6\n"
    "smmlar r3, r3, r10, r6\n"
    "ssat r9, #8, r9\n"
    "strb r9, [lr, #0]\n"
    "ssat r12, #8, r12\n"
    "strb r12, [lr, #4]\n"
    "ssat r2, #8, r2\n"
    "strb r2, [lr, #8]\n"
    "ssat r5, #8, r5\n"
    "strb r5, [lr, #1]\n"
    "ssat r7, #8, r7\n"
    "strb r7, [lr, #5]\n"
    "ssat r3, #8, r3\n"
    "strb r3, [lr, #9]\n"
    "add lr, lr, #2\n"
    "str lr, [sp, #0]\n"
    "cmp lr, r11\n"
    "bne.w 1b\n"
    "add sp, sp, #28\n"
    "pop {r4-r11, pc}\n"
    ".size utvm_multiply_m3n2_3x6_f0b46d0e, . - utvm_multiply_m3n2_3x6_f0b46d0e\n"
    ".popsection\n");

/* 6 pixels a row of one of 4 channels as int16 */
void utvm_extract_6_of_6x4_20_odd(const int8_t *x, int16_t *plane, int32_t rows);
__asm__(
    ".pushsection .text.utvm_extract_6_of_6x4_20_odd, \"ax\", %progbits\n"
    ".syntax unified\n"
    ".thumb\n"
    ".balign 8\n"
    ".type utvm_extract_6_of_6x4_20_odd, %function\n"
    "utvm_extract_6_of_6x4_20_odd:\n"
    "push {r4-r11, lr}\n"
    ".balign 8\n"
    "1:\n"
    "subs r2, r2, #1\n"
    "ldrsb r3, [r0, #0]\n"
    "strh r3, [r1, #0]\n"
    "ldrsb r3, [r0, #4]\n"
    "ldrsb r4, [r0, #8]\n"
    "ldrsb r5, [r0, #12]\n"
    "ldrsb r6, [r0, #16]\n"
    "ldrsb r7, [r0, #20]\n"
    "strh r7, [r1, #10]\n"
    "pkhbt r3, r3, r4, lsl #16\n"
    "str r3, [r1, #2]\n"
    "pkhbt r5, r5, r6, lsl #16\n"
    "str r5, [r1, #6]\n"
    "add r0, r0, #24\n"
    "add r1, r1, #20\n"
    "bne.w 1b\n"
    "pop {r4-r11, pc}\n"
    ".size utvm_extract_6_of_6x4_20_odd, . - utvm_extract_6_of_6x4_20_odd\n"
    ".popsection\n");

/* 2 rows of 6 outputs of one channel, 2 at a time, kernel 3x3, stride 1x1 */
void utvm_plane_2x2_k3x3_9ac2a48a(const int16_t *plane, const int32_t *stream, int8_t *out, int32_t blocks);
__asm__(
    ".pushsection .text.utvm_plane_2x2_k3x3_9ac2a48a, \"ax\", %progbits\n"
    ".syntax unified\n"
    ".thumb\n"
    ".balign 8\n"
    ".type utvm_plane_2x2_k3x3_9ac2a48a, %function\n"
    "utvm_plane_2x2_k3x3_9ac2a48a:\n"
    "push {r4-r11, lr}\n"
    "sub sp, sp, #12\n"
    "str r3, [sp, #0]\n"
    "2:\n"
    "mov r3, #3\n"
    ".balign 8\n"
    "1:\n"
    "ldr r4, [r1, #0]\n"
    "ldr r5, [r0, #0]\n"
    "ldr r6, [r1, #16]\n"
    "ldr r7, [r0, #20]\n"
    "ldr r8, [r1, #24]\n"
    "ldr r9, [r0, #40]\n"
    "smlad r10, r5, r6, r4\n"
    "ldr r11, [r1, #32]\n"
    "smlatb r5, r5, r6, r4\n"
    "ldr r12, [r0, #60]\n"
    "smlad r10, r7, r8, r10\n"
    "smlatb r5, r7, r8, r5\n"
    "smlad lr, r7, r6, r4\n"
    "smlatb r4, r7, r6, r4\n"
    "ldr r7, [r0, #4]\n"
    "smlad lr, r9, r8, lr\n"
    "smlatb r4, r9, r8, r4\n"
    "ldr r8, [r1, #20]\n"
    "smlad r10, r9, r11, r10\n"
    "smlatb r5, r9, r11, r5\n"
    "ldr r9, [r0, #24]\n"
    "smlad lr, r12, r11, lr\n"
    "smlatb r4, r12, r11, r4\n"
    "ldr r12, [r1, #28]\n"
    "smlabt r10, r7, r8, r10\n"
    "ldr r11, [r0, #44]\n"
    "smlad r5, r7, r8, r5\n"
    "ldr r7, [r1, #36]\n"
    "smlabt lr, r9, r8, lr\n"
    "subs r3, r3, #1\n"
    "smlad r4, r9, r8, r4\n"
    "ldr r8, [r0, #64]\n"
    "smlabt r10, r9, r12, r10\n"
    "add r0, r0, #4\n"
    "smlad r5, r9, r12, r5\n"
    "ldr r9, [r1, #4]\n"
    "smlabt lr, r11, r12, lr\n"
    "smlad r4, r11, r12, r4\n"
    "ldr r12, [r1, #8]\n"
    "smlabt r10, r11, r7, r10\n"
    "smlad r5, r11, r7, r5\n"
    "ldr r11, [r1, #12]\n"
    "smlabt lr, r8, r7, lr\n"
    "smlad r4, r8, r7, r4\n"
    "smmlar r10, r10, r9, r10\n"
    "smmlar r5, r5, r9, r5\n"
    "smmlar lr, lr, r9, lr\n"
    "smmlar r4, r4, r9, r4\n"
    "add r10, r10, r10, asr #31\n"
    "add r5, r5, r5, asr #31\n"
    "smmlar r10, r10, r12, r11\n"
    "add lr, lr, lr, asr #31\n"
    "smmlar r5, r5, r12, r11\n"
    "add r4, r4, r4, asr #31\n"
    "smmlar lr, lr, r12, r11\n"
    "smmlar r4, r4, r12, r11\n"
    "ssat r10, #8, r10\n"
    "strb r10, [r2, #0]\n"
    "ssat r5, #8, r5\n"
    "strb r5, [r2, #4]\n"
    "ssat lr, #8, lr\n"
    "strb lr, [r2, #24]\n"
    "ssat r4, #8, r4\n"
    "strb r4, [r2, #28]\n"
    "add r2, r2, #8\n"
    "bne.w 1b\n"
    "ldr r3, [sp, #0]\n"
    "add r0, r0, #28\n"
    "add r2, r2, #24\n"
    "subs r3, r3, #1\n"
    "str r3, [sp, #0]\n"
    "bne.w 2b\n"
    "add sp, sp, #12\n"
    "pop {r4-r11, pc}\n"
    ".size utvm_plane_2x2_k3x3_9ac2a48a, . - utvm_plane_2x2_k3x3_9ac2a48a\n"
    ".popsection\n");

/* a row of 36 inputs, 1 channels at once, int16 weights */
void utvm_row_n1_36_ee8675cb(const int8_t *x, const int32_t *stream, int8_t *out, const int8_t *end);
__asm__(
    ".pushsection .text.utvm_row_n1_36_ee8675cb, \"ax\", %progbits\n"
    ".syntax unified\n"
    ".thumb\n"
    ".balign 8\n"
    ".type utvm_row_n1_36_ee8675cb, %function\n"
    "utvm_row_n1_36_ee8675cb:\n"
    "push {r4-r11, lr}\n"
    "sub sp, sp, #12\n"
    "strd r2, r3, [sp]\n"
    ".balign 8\n"
    "1:\n"
    "ldr r2, [r1, #0]\n"
    "ldr r3, [r0, #0]\n"
    "sxtb16 r4, r3\n"
    "ldr r5, [r1, #4]\n"
    "sxtb16 r3, r3, ror #8\n"
    "ldr r6, [r1, #8]\n"
    "ldr r7, [r0, #4]\n"
    "smlad r2, r4, r5, r2\n"
    "sxtb16 r5, r7\n"
    "smlad r2, r3, r6, r2\n"
    "ldr r6, [r1, #12]\n"
    "ldr r3, [r1, #16]\n"
    "sxtb16 r7, r7, ror #8\n"
    "ldr r4, [r0, #8]\n"
    "sxtb16 r8, r4\n"
    "smlad r2, r5, r6, r2\n"
    "ldr r6, [r1, #20]\n"
    "smlad r2, r7, r3, r2\n"
    "sxtb16 r4, r4, ror #8\n"
    "ldr r3, [r1, #24]\n"
    "ldr r7, [r0, #12]\n"
    "smlad r2, r8, r6, r2\n"
    "sxtb16 r6, r7\n"
    "smlad r2, r4, r3, r2\n"
    "ldr r3, [r1, #28]\n"
    "ldr r4, [r1, #32]\n"
    "sxtb16 r7, r7, ror #8\n"
    "ldr r8, [r0, #16]\n"
    "sxtb16 r5, r8\n"
    "smlad r2, r6, r3, r2\n"
    "ldr r3, [r1, #36]\n"
    "smlad r2, r7, r4, r2\n"
    "sxtb16 r8, r8, ror #8\n"
    "ldr r4, [r1, #40]\n"
    "ldr r7, [r0, #20]\n"
    "smlad r2, r5, r3, r2\n"
    "sxtb16 r3, r7\n"
    "smlad r2, r8, r4, r2\n"
    "ldr r4, [r1, #44]\n"
    "ldr r8, [r1, #48]\n"
    "sxtb16 r7, r7, ror #8\n"
    "ldr r5, [r0, #24]\n"
    "sxtb16 r6, r5\n"
    "smlad r2, r3, r4, r2\n"
    "ldr r4, [r1, #52]\n"
    "smlad r2, r7, r8, r2\n"
    "sxtb16 r5, r5, ror #8\n"
    "ldr r8, [r1, #56]\n"
    "ldr r7, [r0, #28]\n"
    "smlad r2, r6, r4, r2\n"
    "sxtb16 r4, r7\n"
    "smlad r2, r5, r8, r2\n"
    "ldr r8, [r1, #60]\n"
    "ldr r5, [r1, #64]\n"
    "sxtb16 r7, r7, ror #8\n"
    "ldr r6, [r0, #32]\n"
    "sxtb16 r3, r6\n"
    "smlad r2, r4, r8, r2\n"
    "ldr r8, [r1, #68]\n"
    "smlad r2, r7, r5, r2\n"
    "sxtb16 r6, r6, ror #8\n"
    "ldr r5, [r1, #72]\n"
    "ldr r7, [sp, #0]\n"
    "smlad r2, r3, r8, r2\n"
    "ldr r8, [r1, #76]\n"
    "smlad r2, r6, r5, r2\n"
    "ldr r5, [r1, #80]\n"
    "ldr r6, [r1, #84]\n"
    "add r1, r1, #88\n"
    "ldr r3, [sp, #4]\n"
    "smmlar r2, r2, r5, r2\n"
    "add r2, r2, r2, asr #31\n"
    "smmlar r2, r2, r6, r8\n"
    "ssat r2, #8, r2\n"
    "strb r2, [r7, #0]\n"
    "add r7, r7, #1\n"
    "str r7, [sp, #0]\n"
    "cmp r7, r3\n"
    "bne.w 1b\n"
    "add sp, sp, #12\n"
    "pop {r4-r11, pc}\n"
    ".size utvm_row_n1_36_ee8675cb, . - utvm_row_n1_36_ee8675cb\n"
    ".popsection\n");

/*
 * Conv2D(x=int8[1x6x6x4]zp-3, weights=int8[4x3x3x4], bias=int32[4], y=int8[1x6x6x4]zp-3,
 * clamp=-128/127, rounding=double, stride=1/1, dilation=1/1, padding=1/1/1/1)
 * family direct, m 3, n 2, form int16, unroll 1
 */
static __attribute__((noinline)) void conv2d_6x6x4_4_k3x3_direct(
    const int8_t *x,
    const int32_t *stream,
    int16_t *scratch,
    int8_t *y) {
  for (int32_t i = 0; i < 72; i++) {
    ((uint32_t *)(void *)scratch)[i] = 0xfffdfffdu;
  }
  const int16_t *const padding = scratch + 108;
  {
    const int32_t n = 0;
    (void)n;
    const int8_t *image = x + n * 144;
    int32_t next = 0;
    for (int32_t oy = 0; oy < 6; oy++) {
      const int32_t top = oy * 1 - 1;
      int32_t last = top + 3;
      last = last < 6 ? last : 6;
      next = next > top ? next : top;
      for (; next < last; next++) {
        const int8_t *from_row = image + next * 24;
        int16_t *to_row = scratch + (next % 3) * 36;
        {
          utvm_expand_6(from_row, to_row + 4, 1);
        }
      }
      const void *rows[3];
      for (int32_t k = 0; k < 3; k++) {
        const int32_t iy = top + k * 1;
        const int16_t *row = iy >= 0 && iy < 6 ? scratch + (iy % 3) * 36 : padding;
        rows[k] = row;
      }
      int8_t *out = y + n * 144 + oy * 24;
      for (int32_t block = 0; block < 2; block++) {
        utvm_multiply_m3n2_3x6_f0b46d0e((const void *const *)rows, stream, out, 2);
        out += 12;
        for (int32_t k = 0; k < 3; k++) {
          rows[k] = (const int8_t *)rows[k] + 24;
        }
      }
    }
  }
}

/*
 * DepthwiseConv2D(x=int8[1x6x6x4]zp-3, weights=int8[1x3x3x4], bias=none, y=int8[1x6x6x4]zp-3,
 * clamp=-128/127, rounding=double, stride=1/1, dilation=1/1, padding=1/1/1/1)
 * family plane, rows 2, columns 2
 */
static __attribute__((noinline)) void depthwise_6x6x4_4_k3x3(
    const int8_t *x,
    const int32_t *stream,
    int16_t *plane,
    int8_t *y) {
  for (int32_t i = 0; i < 40; i++) {
    ((uint32_t *)(void *)plane)[i] = 0xfffdfffdu;
  }
  {
    const int32_t n = 0;
    (void)n;
    for (int32_t c = 0; c < 4; c++) {
      utvm_extract_6_of_6x4_20_odd(x + n * 144 + c + 0, plane + 11, 6);
      {
        const int32_t j = 0;
        (void)j;
        const int32_t oc = c * 1 + j;
        const int32_t *weights = stream + oc * 10;
        int8_t *out = y + n * 144 + oc;
        utvm_plane_2x2_k3x3_9ac2a48a(plane + 0, weights, out + 0, 3);
      }
    }
  }
}

/*
 * MaxPool2D(x=int8[1x6x6x4]zp-3, y=int8[1x3x3x4]zp-3, filter=2/2, stride=2/2, padding=0/0/0/0,
 * clamp=-128/127)
 * family words
 */
static __attribute__((noinline)) void max_pool_6x6x4_words(const int8_t *x, int8_t *line, int8_t *y) {
  {
    const int32_t n = 0;
    (void)n;
    for (int32_t oy = 0; oy < 3; oy++) {
      const int32_t first_y = oy * 2;
      const int32_t count_y = 2;
      (void)count_y;
      const int8_t *rows = x + (n * 6 + first_y) * 24;
      for (int32_t i = 0; i < 24; i += 4) {
        uint32_t most = utvm_load4(rows + i);
        most = utvm_max4(most, utvm_load4(rows + i + 24));
        utvm_store4(line + i, most);
      }
      for (int32_t ox = 0; ox < 3; ox++) {
        const int32_t first_x = ox * 2;
        const int32_t count_x = 2;
        (void)count_x;
        const int8_t *at = line + first_x * 4;
        int8_t *out = y + ((n * 3 + oy) * 3 + ox) * 4;
        {
          const int32_t i = 0;
          (void)i;
          uint32_t most = utvm_load4(at + i);
          most = utvm_max4(most, utvm_load4(at + i + 4));
          utvm_store4(out + i, most);
        }
      }
    }
  }
}

/*
 * FullyConnected(x=int8[1x3x3x4]zp-3, weights=int8[3x36], bias=int32[3], y=int8[1x3]zp-3,
 * clamp=-128/127, rounding=double)
 * family row, n 1, form int16, row bytes
 */
static __attribute__((noinline)) void fully_connected_36_3_row(
    const int8_t *x,
    const int32_t *stream,
    int8_t *y) {
  {
    const int32_t row = 0;
    (void)row;
    utvm_row_n1_36_ee8675cb(x + row * 36, stream, y + row * 3, y + (row + 1) * 3);
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
  conv2d_6x6x4_4_k3x3_direct(
      (const int8_t *)(arena + 288),
      small_0_stream,
      (int16_t *)(void *)(arena + 0),
      (int8_t *)(arena + 288));
  /* 1: depthwise */
  depthwise_6x6x4_4_k3x3(
      (const int8_t *)(arena + 288),
      small_1_stream,
      (int16_t *)(void *)(arena + 0),
      (int8_t *)(arena + 288));
  /* 2: pool */
  max_pool_6x6x4_words(
      (const int8_t *)(arena + 288),
      (int8_t *)(arena + 36),
      (int8_t *)(arena + 0));
  /* 3: dense */
  fully_connected_36_3_row((const int8_t *)(arena + 0), small_3_stream, (int8_t *)(arena + 36));
  /* 4: softmax */
  softmax_1x3((const int8_t *)(arena + 36), small_4_exponentials, (int8_t *)(arena + 36));
  return 0;
}
