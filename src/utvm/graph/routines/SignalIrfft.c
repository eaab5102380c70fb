/* Real values of the first half of their spectrum. */
static void @NAME@(const utvm_input *inputs, const utvm_output *outputs, const uint8_t *options,
                   int32_t options_bytes) {
  const int32_t *shape = inputs[4].data;
  const int32_t rows = shape[0], count = shape[2];
  const int16_t *order = inputs[1].data;
  const @NAME@_complex *turns = inputs[2].data, *super = inputs[3].data, *x = inputs[0].data;
  const @SCALAR@ half = (@SCALAR@)(@MOST@ / 2);
  @NAME@_complex *y = outputs[0].data, *work = outputs[1].data;
  (void)options, (void)options_bytes;
  for (int32_t row = 0; row < rows; row++, x += count + 1, y += count) {
    work[0].r = (@SCALAR@)(x[0].r + x[count].r);
    work[0].i = (@SCALAR@)(x[0].r - x[count].r);
    work[0] = @NAME@_over(work[0], half);
    for (int32_t k = 1; k <= count / 2; k++) {
      @NAME@_complex mirrored = x[count - k];
      mirrored.i = (@SCALAR@)-mirrored.i;
      const @NAME@_complex a = @NAME@_over(x[k], half), b = @NAME@_over(mirrored, half);
      const @NAME@_complex even = @NAME@_sum(a, b);
      const @NAME@_complex odd = @NAME@_times(@NAME@_less(a, b), super[k - 1]);
      work[k] = @NAME@_sum(even, odd);
      work[count - k] = @NAME@_less(even, odd);
      work[count - k].i = (@SCALAR@)-work[count - k].i;
    }
    for (int32_t i = 0; i < count; i++) {
      y[i] = work[order[i]];
    }
    @NAME@_transform(y, turns, count, 1);
    @SCALED@
  }
}
