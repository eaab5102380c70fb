/* Sums of energies, weighted by triangles that overlap: what a channel does not get, the next one does. */
static void SignalFilterBank(const utvm_input *inputs, const utvm_output *outputs, const uint8_t *options,
                             int32_t options_bytes) {
  const uint32_t *x = inputs[0].data;
  const int16_t *weights = inputs[1].data, *unweights = inputs[2].data;
  const int16_t *starts = inputs[3].data, *places = inputs[4].data, *widths = inputs[5].data;
  uint8_t *y = outputs[0].data;
  (void)options, (void)options_bytes;
  uint64_t mine = 0, next = 0;
  for (int32_t channel = 0; channel <= outputs[0].elements; channel++) {
    for (int32_t i = 0; i < widths[channel]; i++) {
      const uint64_t energy = x[starts[channel] + i];
      mine += (uint64_t)(int64_t)weights[places[channel] + i] * energy;
      next += (uint64_t)(int64_t)unweights[places[channel] + i] * energy;
    }
    if (channel > 0) {
      memcpy(y + 8 * (channel - 1), &mine, 8);
    }
    mine = next;
    next = 0;
  }
}
