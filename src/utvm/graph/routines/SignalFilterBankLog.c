/* Natural logarithms of energies in fixed point: the segments of a table are how far log2(1 + x) is above x. */
static void SignalFilterBankLog(const utvm_input *inputs, const utvm_output *outputs, const uint8_t *options,
                                int32_t options_bytes) {
  const uint32_t *x = inputs[0].data;
  const int16_t *table = inputs[1].data;
  const int32_t *parameters = inputs[2].data;
  const uint32_t scale = (uint32_t)parameters[0];
  int16_t *y = outputs[0].data;
  (void)options, (void)options_bytes;
  for (int32_t i = 0; i < outputs[0].elements; i++) {
    const uint32_t value = x[i] << parameters[1];
    y[i] = 0;
    if (value > 1) {
      uint32_t whole = 31;
      while (value >> whole == 0) {
        whole--;
      }
      const uint32_t rest = value - ((uint32_t)1 << whole);
      const int32_t part = (int32_t)(whole < 16 ? rest << (16 - whole) : rest >> (whole - 16));
      const int32_t segment = part >> 9;
      const int32_t bent = ((table[segment + 1] - table[segment]) * (part - segment * 512)) >> 16;
      const uint32_t log2 = (whole << 16) + (uint32_t)(part + table[segment] + bent);
      const uint32_t natural = (uint32_t)(((uint64_t)45426 * log2 + 32768) >> 16);
      const uint32_t scaled = (scale * natural + 32768) >> 16;
      y[i] = (int16_t)(scaled < 32767 ? scaled : 32767);
    }
  }
}
