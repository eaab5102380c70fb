/* Frames put together with those before and behind; memory is what waits, and how many elements, -1 at first. */
static void SignalStacker(const utvm_input *inputs, const utvm_output *outputs, const uint8_t *options,
                          int32_t options_bytes) {
  const int32_t *shape = inputs[3].data;
  const int32_t channels = shape[0], ahead = shape[1], size = shape[2], step = shape[3];
  int16_t *y = outputs[0].data, *kept = outputs[2].data;
  uint8_t *valid = outputs[1].data;
  int32_t left = *(const int32_t *)inputs[2].data;
  int32_t times = 1;
  (void)options, (void)options_bytes;
  memcpy(kept, inputs[1].data, (size_t)size * sizeof *kept);
  if (left < 0) {
    left = 0;
    times += ahead;
  }
  for (; times > 0; times--, left += channels) {
    memcpy(kept + left, inputs[0].data, (size_t)channels * sizeof *kept);
  }
  *valid = (uint8_t)(left >= size);
  memset(y, 0, (size_t)size * sizeof *y);
  if (*valid) {
    memcpy(y, kept, (size_t)size * sizeof *y);
    left -= step;
    memmove(kept, kept + step, (size_t)left * sizeof *kept);
  }
  *(int32_t *)outputs[3].data = left;
}
