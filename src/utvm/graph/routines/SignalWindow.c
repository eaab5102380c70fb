/* y = (x * weights) >> shift, saturated; weights repeat. */
static void SignalWindow(const utvm_input *inputs, const utvm_output *outputs, const uint8_t *options,
                         int32_t options_bytes) {
  const int16_t *x = inputs[0].data, *weights = inputs[1].data;
  const int32_t shift = *(const int32_t *)inputs[2].data;
  int16_t *y = outputs[0].data;
  (void)options, (void)options_bytes;
  for (int32_t i = 0; i < inputs[0].elements; i++) {
    const int32_t raw = ((int32_t)x[i] * weights[i % inputs[1].elements]) >> shift;
    y[i] = (int16_t)(raw < -32768 ? -32768 : raw > 32767 ? 32767 : raw);
  }
}
