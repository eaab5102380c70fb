/* Frames that overlap, of samples that come in steps; memory is the samples left, and how many. */
static void SignalFramer(const utvm_input *inputs, const utvm_output *outputs, const uint8_t *options,
                         int32_t options_bytes) {
  const int32_t *shape = inputs[3].data;
  const int32_t outer = shape[0], frames = shape[1], size = shape[2], step = shape[3], room = shape[4];
  const int16_t *x = inputs[0].data;
  int16_t *y = outputs[0].data, *kept = outputs[2].data;
  const int32_t count = *(const int32_t *)inputs[2].data;
  int32_t left = count;
  uint8_t *valid = outputs[1].data;
  (void)options, (void)options_bytes;
  *valid = 1;
  memcpy(kept, inputs[1].data, (size_t)(outer * room) * sizeof *kept);
  for (int32_t i = 0; i < outer; i++) {
    int16_t *samples = kept + i * room;
    left = count;
    for (int32_t frame = 0; frame < frames; frame++, x += step, y += size) {
      memcpy(samples + left, x, (size_t)step * sizeof *x);
      left += step;
      if (left >= size) {
        memcpy(y, samples, (size_t)size * sizeof *y);
        left -= step;
        memmove(samples, samples + step, (size_t)left * sizeof *samples);
      } else {
        memset(y, 0, (size_t)size * sizeof *y);
        *valid = 0;
      }
    }
  }
  *(int32_t *)outputs[3].data = left;
}
