/* Squares of the magnitudes of complex values, from a first to a last one; zero outside. */
static void SignalEnergy(const utvm_input *inputs, const utvm_output *outputs, const uint8_t *options,
                         int32_t options_bytes) {
  const int16_t *x = inputs[0].data;
  const int32_t *range = inputs[1].data;
  uint32_t *y = outputs[0].data;
  (void)options, (void)options_bytes;
  for (int32_t i = 0; i < outputs[0].elements; i++) {
    y[i] = 0;
    if (i >= range[0] && i < range[1]) {
      const int32_t real = x[2 * i], imaginary = x[2 * i + 1];
      y[i] = (uint32_t)(real * real) + (uint32_t)(imaginary * imaginary);
    }
  }
}
