static int32_t LogSoftmax_limited(int64_t x) {
  return (int32_t)(x > INT32_MAX ? INT32_MAX : x < INT32_MIN ? INT32_MIN : x);
}

/* a * b * 2^-31, rounded to nearest. */
static int32_t LogSoftmax_times(int32_t a, int32_t b) {
  const int64_t product = (int64_t)a * b;
  const int64_t rounded = product + (product >= 0 ? (int64_t)1 << 30 : 1 - ((int64_t)1 << 30));
  return LogSoftmax_limited(rounded / ((int64_t)1 << 31));
}

static int32_t LogSoftmax_left(int32_t x, int32_t shift) { return LogSoftmax_limited((int64_t)x * ((int64_t)1 << shift)); }

/* x * 2^-shift, halves away from zero. */
static int32_t LogSoftmax_right(int32_t x, int32_t shift) {
  if (shift == 0) {
    return x;
  }
  const int64_t half = (int64_t)1 << (shift - 1);
  return (int32_t)(x >= 0 ? (x + half) >> shift : -((half - x) >> shift));
}

static int32_t LogSoftmax_half_sum(int32_t a, int32_t b) {
  const int64_t sum = (int64_t)a + b;
  return (int32_t)((sum + (sum >= 0 ? 1 : -1)) / 2);
}

static int32_t LogSoftmax_zeros(int32_t x) {
  int32_t zeros = 0;
  for (uint32_t bit = 1u << 31; bit != 0 && ((uint32_t)x & bit) == 0; bit >>= 1) {
    zeros++;
  }
  return zeros;
}

/* 1 / (1 + x) for x from 0 to 1, without bits before the point, by three steps of Newton's. */
static int32_t LogSoftmax_inverse(int32_t x) {
  const int32_t half = LogSoftmax_half_sum(x, INT32_MAX);
  int32_t y = 1515870810 + LogSoftmax_times(half, -1010580540);
  for (int32_t step = 0; step < 3; step++) {
    const int32_t error = (1 << 29) - LogSoftmax_times(half, y);
    y += LogSoftmax_left(LogSoftmax_times(y, error), 2);
  }
  return LogSoftmax_left(y, 1);
}

/* The logarithm, with 5 bits before the point, of a number from 1 on with 12. */
static int32_t LogSoftmax_log(int32_t x) {
  const int32_t root = 1518500250, fourth = 1805811301, quarter = 8388608;
  const int32_t zeros = LogSoftmax_zeros(x);
  const int32_t first = LogSoftmax_left(LogSoftmax_times(LogSoftmax_left(x, zeros - 1), root), 1);
  const int32_t room = LogSoftmax_zeros(LogSoftmax_times(x, root)) - 1;
  const int32_t second = LogSoftmax_left(x, room);
  const int32_t power = LogSoftmax_limited((int64_t)LogSoftmax_left(12 - zeros, 25) + quarter);
  const int32_t other = LogSoftmax_limited((int64_t)LogSoftmax_left(12 - room, 25) - quarter);
  const int32_t r = first < second ? first : second, whole = power > other ? power : other;
  const int32_t p = LogSoftmax_half_sum(r, fourth), q = 2 * (r - fourth);
  const int32_t square = LogSoftmax_times(q, q);
  const int32_t above = LogSoftmax_times(q, r) + LogSoftmax_times(LogSoftmax_times(q, square), 117049297);
  const int32_t slope = 1057819769 + q + LogSoftmax_times(127690142, square);
  const int32_t below = LogSoftmax_inverse(LogSoftmax_times(p, slope) + LogSoftmax_times(638450708, q));
  const int32_t part = LogSoftmax_times(LogSoftmax_right(above, 6), below);
  return LogSoftmax_left(LogSoftmax_times(whole, 1488522236) + part, 1);
}

/* Rows less the logarithm of the sum of their exponentials: tables have what each distance to the largest is. */
static void LogSoftmax(const utvm_input *inputs, const utvm_output *outputs, const uint8_t *options,
                       int32_t options_bytes) {
  const int8_t *x = inputs[0].data;
  const int32_t *powers = inputs[1].data, *scaled = inputs[2].data, *parameters = inputs[3].data;
  const int32_t depth = parameters[0];
  int8_t *y = outputs[0].data;
  (void)options, (void)options_bytes;
  for (int32_t row = 0; row < inputs[0].elements; row += depth) {
    int32_t most = -128, sum = 0;
    for (int32_t i = row; i < row + depth; i++) {
      most = x[i] > most ? x[i] : most;
    }
    for (int32_t i = row; i < row + depth; i++) {
      sum = (int32_t)((uint32_t)sum + (uint32_t)powers[most - x[i]]);
    }
    const int32_t log = LogSoftmax_log(sum);
    int32_t least = LogSoftmax_right(LogSoftmax_times(log + INT32_MIN, parameters[2]), parameters[3]);
    least = least > parameters[1] ? least : parameters[1];
    for (int32_t i = row; i < row + depth; i++) {
      y[i] = -128;
      if (x[i] - most > least) {
        const int32_t value = LogSoftmax_right(scaled[most - x[i]] - log, 22) + 127;
        y[i] = (int8_t)(value < -128 ? -128 : value > 127 ? 127 : value);
      }
    }
  }
}
