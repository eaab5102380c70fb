/* Frames added where they overlap; what a later frame still adds to is kept. */
static void SignalOverlapAddReal(const utvm_input *inputs, const utvm_output *outputs, const uint8_t *options,
                             int32_t options_bytes) {
  const int32_t *shape = inputs[2].data;
  const int32_t outer = shape[0], frames = shape[1], size = shape[2], step = shape[3];
  const float *x = inputs[0].data;
  float *y = outputs[0].data, *kept = outputs[1].data;
  (void)options, (void)options_bytes;
  memcpy(kept, inputs[1].data, (size_t)(outer * size) * sizeof *kept);
  for (int32_t i = 0; i < outer * frames; i++) {
    float *sums = kept + i / frames * size;
    for (int32_t k = 0; k < size; k++) {
      const float sum = x[i * size + k] + sums[k];
      sums[k] = sum;
    }
    for (int32_t k = 0; k < size; k++) {
      if (k < step) {
        y[i * step + k] = sums[k];
      }
      sums[k] = k + step < size ? sums[k + step] : 0.0f;
    }
  }
}
