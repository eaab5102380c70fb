/* x shifted to the left as far as its largest value allows, and by how much. */
static void SignalFftAutoScale(const utvm_input *inputs, const utvm_output *outputs, const uint8_t *options,
                               int32_t options_bytes) {
  const int16_t *x = inputs[0].data;
  int16_t *y = outputs[0].data;
  (void)options, (void)options_bytes;
  int32_t most = 0;
  for (int32_t i = 0; i < outputs[0].elements; i++) {
    if (x[i] > most) {
      most = x[i];
    } else if (-x[i] > most) {
      /* In 16 bits the largest magnitude has no positive value. */
      most = x[i] == -32768 ? -32768 : -x[i];
    }
  }
  int32_t bits = 0;
  if (most > 0) {
    bits = 15;
    for (int32_t left = most; left != 0; left >>= 1) {
      bits--;
    }
  }
  for (int32_t i = 0; i < outputs[0].elements; i++) {
    y[i] = (int16_t)(x[i] * (1 << bits));
  }
  *(int32_t *)outputs[1].data = bits;
}
