static int32_t SignalPCAN_gain(uint32_t x, const int16_t *table) {
  if (x <= 2) {
    return table[x];
  }
  int32_t interval = 0;
  for (uint32_t left = x; left != 0; left >>= 1) {
    interval++;
  }
  const int16_t *at = table + 4 * interval - 6;
  const int32_t part = (int32_t)((interval < 11 ? x << (11 - interval) : x >> (interval - 11)) & 0x3FFu);
  int32_t result = (at[2] * part) >> 5;
  result = (int32_t)((uint32_t)result + ((uint32_t)(int32_t)at[1] << 5));
  result = (int32_t)((uint32_t)result * (uint32_t)part);
  result = (int32_t)((uint32_t)result + (1u << 14)) >> 15;
  return (int16_t)(result + at[0]);
}

/* Energies times a gain that follows from their noise, squeezed: x^2 / 4 below 2, x - 1 above. */
static void SignalPCAN(const utvm_input *inputs, const utvm_output *outputs, const uint8_t *options,
                       int32_t options_bytes) {
  const uint32_t *x = inputs[0].data, *noise = inputs[1].data;
  const int32_t shift = *(const int32_t *)inputs[3].data;
  uint32_t *y = outputs[0].data;
  (void)options, (void)options_bytes;
  for (int32_t i = 0; i < outputs[0].elements; i++) {
    const uint32_t gain = (uint32_t)SignalPCAN_gain(noise[i], inputs[2].data);
    const uint32_t ratio = (uint32_t)(((uint64_t)x[i] * gain) >> shift);
    y[i] = ratio < (2u << 12) ? (ratio * ratio) >> 20 : (ratio >> 6) - 64;
  }
}
