/* What GCC calls for division, long products and floats, and Debian's libgcc for the LX106 leaves to a ROM. */
#include <stdint.h>

uint32_t __udivsi3(uint32_t dividend, uint32_t divisor);
uint32_t __umodsi3(uint32_t dividend, uint32_t divisor);
int32_t __divsi3(int32_t dividend, int32_t divisor);
uint64_t __umulsidi3(uint32_t left, uint32_t right);
int64_t __muldi3(int64_t left, int64_t right);
uint64_t __udivdi3(uint64_t dividend, uint64_t divisor);
int64_t __divdi3(int64_t dividend, int64_t divisor);
float __floatsisf(int32_t value);
float __floatunsisf(uint32_t value);
float __mulsf3(float left, float right);
float __addsf3(float left, float right);
float __subsf3(float left, float right);
uint64_t __udivmoddi4(uint64_t dividend, uint64_t divisor, uint64_t *remainder); /* libgcc's */

/* Shift and subtract: of the dividend, leading zeros are passed over. */
static uint32_t divide(uint32_t dividend, uint32_t divisor, uint32_t *remainder) {
  uint32_t quotient = 0, bit = 1;
  if (divisor == 0) {
    __builtin_trap();
  }
  while (divisor < dividend && !(divisor >> 31)) {
    divisor <<= 1;
    bit <<= 1;
  }
  for (; bit; bit >>= 1, divisor >>= 1) {
    if (dividend >= divisor) {
      dividend -= divisor;
      quotient |= bit;
    }
  }
  *remainder = dividend;
  return quotient;
}

static uint32_t magnitude(int32_t value) { return value < 0 ? 0u - (uint32_t)value : (uint32_t)value; }

uint32_t __udivsi3(uint32_t dividend, uint32_t divisor) {
  uint32_t remainder;
  return divide(dividend, divisor, &remainder);
}

uint32_t __umodsi3(uint32_t dividend, uint32_t divisor) {
  uint32_t remainder;
  (void)divide(dividend, divisor, &remainder);
  return remainder;
}

int32_t __divsi3(int32_t dividend, int32_t divisor) {
  const uint32_t quotient = __udivsi3(magnitude(dividend), magnitude(divisor));
  return (int32_t)((dividend < 0) != (divisor < 0) ? 0u - quotient : quotient);
}

/* Halves of 16 bits; the middle is two of them and a carry, which fits. */
uint64_t __umulsidi3(uint32_t left, uint32_t right) {
  const uint32_t a = left & 0xFFFFu, b = left >> 16, c = right & 0xFFFFu, d = right >> 16;
  const uint32_t low = a * c, one = a * d, two = b * c;
  const uint32_t middle = (low >> 16) + (one & 0xFFFFu) + (two & 0xFFFFu);
  const uint32_t high = b * d + (one >> 16) + (two >> 16) + (middle >> 16);
  return (uint64_t)high << 32 | (middle << 16 | (low & 0xFFFFu));
}

int64_t __muldi3(int64_t left, int64_t right) {
  const uint32_t a = (uint32_t)left, b = (uint32_t)right;
  const uint32_t a_high = (uint32_t)((uint64_t)left >> 32), b_high = (uint32_t)((uint64_t)right >> 32);
  return (int64_t)(__umulsidi3(a, b) + ((uint64_t)(a_high * b + a * b_high) << 32));
}

uint64_t __udivdi3(uint64_t dividend, uint64_t divisor) { return __udivmoddi4(dividend, divisor, 0); }

static uint64_t long_magnitude(int64_t value) { return value < 0 ? 0u - (uint64_t)value : (uint64_t)value; }

int64_t __divdi3(int64_t dividend, int64_t divisor) {
  const uint64_t quotient = __udivdi3(long_magnitude(dividend), long_magnitude(divisor));
  return (int64_t)((dividend < 0) != (divisor < 0) ? 0u - quotient : quotient);
}

/* Floats (IEEE 754, binary32): |value| = mantissa * 2^exponent. */
#define INFINITE 0x7F800000u
#define NOT_A_NUMBER 0x7FC00000u

union word {
  uint32_t bits;
  float value;
};

static float of_bits(uint32_t bits) { return (union word){.bits = bits}.value; }

static uint32_t bits_of(float value) { return (union word){.value = value}.bits; }

static uint32_t mantissa_of(uint32_t bits) { return (bits & 0x7FFFFFu) | ((bits & INFINITE) ? 0x800000u : 0u); }

static int32_t exponent_of(uint32_t bits) {
  const int32_t field = (int32_t)(bits >> 23 & 255u);
  return (field ? field : 1) - 150;
}

/* Rounds to the nearest, ties to even. */
static float rounded(uint32_t sign, int32_t exponent, uint64_t magnitude) {
  if (magnitude == 0) {
    return of_bits(sign);
  }
  const int32_t top = 63 - __builtin_clzll(magnitude);
  const int32_t leading = exponent + top;
  const int32_t shift = leading < -126 ? -149 - exponent : top - 23;
  if (shift > 63) {
    return of_bits(sign);
  }
  if (leading > 127) {
    return of_bits(sign | INFINITE);
  }
  if (shift > 0) {
    const uint64_t rest = magnitude << (64 - shift), half = (uint64_t)1 << 63;
    magnitude >>= shift;
    magnitude += rest > half || (rest == half && (magnitude & 1u));
  } else {
    magnitude <<= -shift;
  }
  const uint32_t biased = leading < -126 ? 0u : (uint32_t)(leading + 126) << 23;
  return of_bits(sign | (biased + (uint32_t)magnitude));
}

float __floatunsisf(uint32_t value) { return rounded(0, 0, value); }

float __floatsisf(int32_t value) { return rounded((uint32_t)value & 0x80000000u, 0, magnitude(value)); }

float __mulsf3(float left, float right) {
  const uint32_t a = bits_of(left), b = bits_of(right), sign = (a ^ b) & 0x80000000u;
  const uint32_t a_size = a & ~0x80000000u, b_size = b & ~0x80000000u;
  if (a_size >= INFINITE || b_size >= INFINITE) {
    const int unknown = a_size > INFINITE || b_size > INFINITE || a_size == 0 || b_size == 0;
    return of_bits(unknown ? NOT_A_NUMBER : sign | INFINITE);
  }
  return rounded(sign, exponent_of(a) + exponent_of(b), __umulsidi3(mantissa_of(a), mantissa_of(b)));
}

float __addsf3(float left, float right) {
  uint32_t a = bits_of(left), b = bits_of(right);
  if ((a & ~0x80000000u) < (b & ~0x80000000u)) {
    const uint32_t smaller = a;
    a = b;
    b = smaller;
  }
  if ((a & ~0x80000000u) >= INFINITE) {
    const int unknown = (a & ~0x80000000u) > INFINITE || (a ^ b) == 0x80000000u;
    return of_bits(unknown ? NOT_A_NUMBER : a);
  }
  /* 32 bits below the last place: what is shifted out of them only says on which side of a tie the sum is. */
  const int32_t apart = exponent_of(a) - exponent_of(b);
  const uint64_t larger = (uint64_t)mantissa_of(a) << 32, whole = (uint64_t)mantissa_of(b) << 32;
  uint64_t smaller = apart < 64 ? whole >> apart : 0;
  smaller |= whole && (apart >= 64 || smaller << apart != whole);
  const uint64_t sum = ((a ^ b) >> 31) ? larger - smaller : larger + smaller;
  const uint32_t sign = sum || !((a ^ b) >> 31) ? a & 0x80000000u : 0u;
  return rounded(sign, exponent_of(a) - 32, sum);
}

float __subsf3(float left, float right) { return __addsf3(left, of_bits(bits_of(right) ^ 0x80000000u)); }
