/* Frames added where they overlap; what a later frame still adds to is kept. */
static void SignalOverlapAdd(const utvm_input *inputs, const utvm_output *outputs, const uint8_t *options,
                             int32_t options_bytes) {
  const int32_t *shape = inputs[2].data;
  const int32_t outer = shape[0], frames = shape[1], size = shape[2], step = shape[3];
  const int16_t *x = inputs[0].data;
  int16_t *y = outputs[0].data, *kept = outputs[1].data;
  (void)options, (void)options_bytes;
  memcpy(kept, inputs[1].data, (size_t)(outer * size) * sizeof *kept);
  for (int32_t i = 0; i < outer * frames; i++) {
    int16_t *sums = kept + i / frames * size;
    for (int32_t k = 0; k < size; k++) {
      const int32_t sum = x[i * size + k] + sums[k];
      sums[k] = (int16_t)(sum < -32768 ? -32768 : sum > 32767 ? 32767 : sum);
    }
    for (int32_t k = 0; k < size; k++) {
      if (k < step) {
        y[i * step + k] = sums[k];
      }
      sums[k] = (int16_t)(k + step < size ? sums[k + step] : 0);
    }
  }
}
