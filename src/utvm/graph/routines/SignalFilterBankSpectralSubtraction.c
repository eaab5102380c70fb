/* Energies less an estimate of their noise, which is smoothed over runs. */
static void SignalFilterBankSpectralSubtraction(const utvm_input *inputs, const utvm_output *outputs,
                                                const uint8_t *options, int32_t options_bytes) {
  const uint32_t *x = inputs[0].data, *before = inputs[1].data;
  const int32_t *parameters = inputs[2].data;
  uint32_t *y = outputs[0].data, *shown = outputs[1].data, *after = outputs[2].data;
  const int32_t clamps = parameters[4], smoothing_bits = parameters[5], bits = parameters[6];
  const uint32_t least = (uint32_t)parameters[7];
  (void)options, (void)options_bytes;
  for (int32_t i = 0; i < outputs[0].elements; i++) {
    const uint32_t smoothing = (uint32_t)parameters[i % 2], rest = (uint32_t)parameters[2 + i % 2];
    const uint32_t scaled = x[i] << smoothing_bits;
    uint32_t noise = (uint32_t)(((uint64_t)scaled * smoothing + (uint64_t)before[i] * rest) >> bits);
    after[i] = noise;
    if (noise > scaled) {
      noise = scaled;
      if (clamps) {
        after[i] = scaled;
      }
    }
    shown[i] = after[i];
    const uint32_t floor = (uint32_t)(((uint64_t)x[i] * least) >> bits);
    const uint32_t left = (scaled - noise) >> smoothing_bits;
    y[i] = left > floor ? left : floor;
  }
}
