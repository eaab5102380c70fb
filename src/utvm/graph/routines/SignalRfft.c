static @SCALAR@ @NAME@_half(@PRODUCT@ value) { return (@SCALAR@)(@HALF@); }

/* The first half of the spectrum of real values, zeros behind them. */
static void @NAME@(const utvm_input *inputs, const utvm_output *outputs, const uint8_t *options,
                   int32_t options_bytes) {
  const int32_t *shape = inputs[4].data;
  const int32_t rows = shape[0], length = shape[1], count = shape[2];
  const int16_t *order = inputs[1].data;
  const @NAME@_complex *turns = inputs[2].data, *super = inputs[3].data;
  const @SCALAR@ half = (@SCALAR@)(@MOST@ / 2);
  const @SCALAR@ *x = inputs[0].data;
  @NAME@_complex *y = outputs[0].data, *work = outputs[1].data;
  (void)options, (void)options_bytes;
  for (int32_t row = 0; row < rows; row++, x += length, y += count + 1) {
    for (int32_t i = 0; i < count; i++) {
      const int32_t at = 2 * order[i];
      work[i].r = at < length ? x[at] : 0;
      work[i].i = at + 1 < length ? x[at + 1] : 0;
    }
    @NAME@_transform(work, turns, count, 0);
    const @NAME@_complex first = @NAME@_over(work[0], half);
    y[0].r = (@SCALAR@)(first.r + first.i);
    y[count].r = (@SCALAR@)(first.r - first.i);
    y[0].i = y[count].i = 0;
    for (int32_t k = 1; k <= count / 2; k++) {
      @NAME@_complex mirrored = work[count - k];
      mirrored.i = (@SCALAR@)-mirrored.i;
      const @NAME@_complex a = @NAME@_over(work[k], half), b = @NAME@_over(mirrored, half);
      const @NAME@_complex sum = @NAME@_sum(a, b);
      const @NAME@_complex turned = @NAME@_times(@NAME@_less(a, b), super[k - 1]);
      y[k].r = @NAME@_half((@PRODUCT@)sum.r + turned.r);
      y[k].i = @NAME@_half((@PRODUCT@)sum.i + turned.i);
      y[count - k].r = @NAME@_half((@PRODUCT@)sum.r - turned.r);
      y[count - k].i = @NAME@_half((@PRODUCT@)turned.i - sum.i);
    }
  }
}
