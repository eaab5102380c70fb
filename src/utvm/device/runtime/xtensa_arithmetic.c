/* What GCC calls for division and long products, which the LX106 has no instructions for. Weak: a ROM or a libgcc that
   has them takes their place. */
#include <stdint.h>

#define WEAK __attribute__((weak, used))

uint32_t __udivsi3(uint32_t dividend, uint32_t divisor);
uint32_t __umodsi3(uint32_t dividend, uint32_t divisor);
int32_t __divsi3(int32_t dividend, int32_t divisor);
int32_t __modsi3(int32_t dividend, int32_t divisor);
uint64_t __umulsidi3(uint32_t left, uint32_t right);
int64_t __muldi3(int64_t left, int64_t right);

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

static int32_t with_sign(uint32_t value, int negative) { return (int32_t)(negative ? 0u - value : value); }

WEAK uint32_t __udivsi3(uint32_t dividend, uint32_t divisor) {
  uint32_t remainder;
  return divide(dividend, divisor, &remainder);
}

WEAK uint32_t __umodsi3(uint32_t dividend, uint32_t divisor) {
  uint32_t remainder;
  (void)divide(dividend, divisor, &remainder);
  return remainder;
}

WEAK int32_t __divsi3(int32_t dividend, int32_t divisor) {
  return with_sign(__udivsi3(magnitude(dividend), magnitude(divisor)), (dividend < 0) != (divisor < 0));
}

WEAK int32_t __modsi3(int32_t dividend, int32_t divisor) {
  return with_sign(__umodsi3(magnitude(dividend), magnitude(divisor)), dividend < 0);
}

/* Halves of 16 bits; the middle is two of them and a carry, which fits. */
WEAK uint64_t __umulsidi3(uint32_t left, uint32_t right) {
  const uint32_t a = left & 0xFFFFu, b = left >> 16, c = right & 0xFFFFu, d = right >> 16;
  const uint32_t low = a * c, one = a * d, two = b * c;
  const uint32_t middle = (low >> 16) + (one & 0xFFFFu) + (two & 0xFFFFu);
  const uint32_t high = b * d + (one >> 16) + (two >> 16) + (middle >> 16);
  return (uint64_t)high << 32 | (middle << 16 | (low & 0xFFFFu));
}

WEAK int64_t __muldi3(int64_t left, int64_t right) {
  const uint32_t a = (uint32_t)left, b = (uint32_t)right;
  const uint32_t a_high = (uint32_t)((uint64_t)left >> 32), b_high = (uint32_t)((uint64_t)right >> 32);
  return (int64_t)(__umulsidi3(a, b) + ((uint64_t)(a_high * b + a * b_high) << 32));
}
