static uint32_t SignalFilterBankSquareRoot_root(uint64_t x, uint32_t bits, uint32_t limit) {
  uint64_t root = 0;
  uint64_t bit = (uint64_t)1 << (bits - 2);
  while (bit > x) {
    bit >>= 2;
  }
  for (; bit != 0; bit >>= 2) {
    if (x >= root + bit) {
      x -= root + bit;
      root = (root >> 1) + bit;
    } else {
      root >>= 1;
    }
  }
  return (uint32_t)(x > root && root != limit ? root + 1 : root);
}

/* Square roots to the nearest integer, shifted to the right. */
static void SignalFilterBankSquareRoot(const utvm_input *inputs, const utvm_output *outputs, const uint8_t *options,
                                       int32_t options_bytes) {
  const uint8_t *x = inputs[0].data;
  const uint32_t shift = (uint32_t)*(const int32_t *)inputs[1].data & 31u;
  uint32_t *y = outputs[0].data;
  (void)options, (void)options_bytes;
  for (int32_t i = 0; i < outputs[0].elements; i++) {
    uint64_t value;
    memcpy(&value, x + 8 * i, 8);
    const uint32_t root = value >> 32 != 0 ? SignalFilterBankSquareRoot_root(value, 64, 0xFFFFFFFFu)
                                           : SignalFilterBankSquareRoot_root(value, 32, 0xFFFFu);
    y[i] = root >> shift;
  }
}
