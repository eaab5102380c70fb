typedef struct {
  @SCALAR@ r, i;
} @NAME@_complex;

static @NAME@_complex @NAME@_times(@NAME@_complex a, @NAME@_complex b) {
  @NAME@_complex y;
  y.r = @NAME@_rounded((@PRODUCT@)a.r * b.r - (@PRODUCT@)a.i * b.i);
  y.i = @NAME@_rounded((@PRODUCT@)a.r * b.i + (@PRODUCT@)a.i * b.r);
  return y;
}

static @NAME@_complex @NAME@_over(@NAME@_complex x, @SCALAR@ by) {
  @NAME@_complex y = {@NAME@_divided(x.r, by), @NAME@_divided(x.i, by)};
  return y;
}

static @NAME@_complex @NAME@_sum(@NAME@_complex a, @NAME@_complex b) {
  @NAME@_complex y = {(@SCALAR@)((@PRODUCT@)a.r + b.r), (@SCALAR@)((@PRODUCT@)a.i + b.i)};
  return y;
}

static @NAME@_complex @NAME@_less(@NAME@_complex a, @NAME@_complex b) {
  @NAME@_complex y = {(@SCALAR@)((@PRODUCT@)a.r - b.r), (@SCALAR@)((@PRODUCT@)a.i - b.i)};
  return y;
}

/* One stage of four: the parts of a block are `apart` elements apart. */
static void @NAME@_four(@NAME@_complex *x, const @NAME@_complex *turns, int32_t stride, int32_t apart, int32_t back) {
  const @SCALAR@ quarter = (@SCALAR@)(@MOST@ / 4);
  for (int32_t k = 0; k < apart; k++) {
    const @NAME@_complex first = @NAME@_over(x[k], quarter);
    const @NAME@_complex a = @NAME@_times(@NAME@_over(x[k + apart], quarter), turns[k * stride]);
    const @NAME@_complex b = @NAME@_times(@NAME@_over(x[k + 2 * apart], quarter), turns[2 * k * stride]);
    const @NAME@_complex c = @NAME@_times(@NAME@_over(x[k + 3 * apart], quarter), turns[3 * k * stride]);
    const @NAME@_complex even = @NAME@_less(first, b), both = @NAME@_sum(first, b);
    const @NAME@_complex sides = @NAME@_sum(a, c);
    @NAME@_complex across = @NAME@_less(a, c);
    if (back) {
      across.r = (@SCALAR@)-across.r;
      across.i = (@SCALAR@)-across.i;
    }
    x[k + 2 * apart] = @NAME@_less(both, sides);
    x[k] = @NAME@_sum(both, sides);
    x[k + apart].r = (@SCALAR@)((@PRODUCT@)even.r + across.i);
    x[k + apart].i = (@SCALAR@)((@PRODUCT@)even.i - across.r);
    x[k + 3 * apart].r = (@SCALAR@)((@PRODUCT@)even.r - across.i);
    x[k + 3 * apart].i = (@SCALAR@)((@PRODUCT@)even.i + across.r);
  }
}

/* One stage of two. */
static void @NAME@_two(@NAME@_complex *x, const @NAME@_complex *turns, int32_t stride, int32_t apart) {
  const @SCALAR@ half = (@SCALAR@)(@MOST@ / 2);
  for (int32_t k = 0; k < apart; k++) {
    const @NAME@_complex first = @NAME@_over(x[k], half);
    const @NAME@_complex t = @NAME@_times(@NAME@_over(x[k + apart], half), turns[k * stride]);
    x[k + apart] = @NAME@_less(first, t);
    x[k] = @NAME@_sum(first, t);
  }
}

/* A transform of `count` complex values, a power of two, which lie in the order that stages read. */
static void @NAME@_transform(@NAME@_complex *x, const @NAME@_complex *turns, int32_t count, int32_t back) {
  int32_t apart = 1;
  /* Stages of four come first in the recursion, so that one of two, if there is one, is the innermost. */
  int32_t fours = 0;
  while ((int32_t)4 << (2 * fours) <= count) {
    fours++;
  }
  if ((int32_t)1 << (2 * fours) != count) {
    for (int32_t first = 0; first < count; first += 2) {
      @NAME@_two(x + first, turns, count / 2, 1);
    }
    apart = 2;
  }
  for (; apart < count; apart *= 4) {
    for (int32_t first = 0; first < count; first += 4 * apart) {
      @NAME@_four(x + first, turns, count / (4 * apart), apart, back);
    }
  }
}

