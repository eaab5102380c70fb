/* exp(x) within 2 parts in a million. */
static float DetectionPostProcess_exp(float x) {
  union {
    uint32_t bits;
    float value;
  } power;
  if (!(x > -87.0f)) {
    return 0.0f;
  }
  if (x > 88.7f) {
    power.bits = 0x7F800000u;
    return power.value;
  }
  const int32_t whole = (int32_t)(x * 1.44269504f + (x < 0.0f ? -0.5f : 0.5f));
  const float r = (x - (float)whole * 0.693145752f) - (float)whole * 1.42860677e-6f;
  float sum = 1.0f / 5040.0f;
  sum = sum * r + 1.0f / 720.0f;
  sum = sum * r + 1.0f / 120.0f;
  sum = sum * r + 1.0f / 24.0f;
  sum = sum * r + 1.0f / 6.0f;
  sum = sum * r + 0.5f;
  sum = sum * r + 1.0f;
  sum = sum * r + 1.0f;
  /* In two steps, since 2^128 is no float. */
  power.bits = (uint32_t)(126 + whole) << 23;
  return sum * power.value * 2.0f;
}

/* Corners of boxes (top, left, bottom, right) from their centers and sizes, as distances from anchors.
   Returns whether all have an area. */
static int32_t DetectionPostProcess_boxes(const float *x, int32_t step, const float *anchors, const float *scales,
                                          float *boxes, int32_t count) {
  int32_t valid = 1;
  for (int32_t i = 0; i < count; i++) {
    const float *from = x + i * step, *anchor = anchors + 4 * i;
    float *box = boxes + 4 * i;
    for (int32_t d = 0; d < 2; d++) {
      const float center = from[d] / scales[d] * anchor[2 + d] + anchor[d];
      const float half = 0.5f * DetectionPostProcess_exp(from[2 + d] / scales[2 + d]) * anchor[2 + d];
      box[d] = center - half;
      box[2 + d] = center + half;
      valid = valid && box[d] < box[2 + d];
    }
  }
  return valid;
}

static float DetectionPostProcess_overlap(const float *a, const float *b) {
  const float area_a = (a[2] - a[0]) * (a[3] - a[1]), area_b = (b[2] - b[0]) * (b[3] - b[1]);
  if (area_a <= 0.0f || area_b <= 0.0f) {
    return 0.0f;
  }
  const float top = a[0] > b[0] ? a[0] : b[0], left = a[1] > b[1] ? a[1] : b[1];
  const float bottom = a[2] < b[2] ? a[2] : b[2], right = a[3] < b[3] ? a[3] : b[3];
  const float height = bottom - top > 0.0f ? bottom - top : 0.0f, width = right - left > 0.0f ? right - left : 0.0f;
  const float both = height * width;
  return both / (area_a + area_b - both);
}

/* Sorts places by falling scores; equal ones keep their order. */
static void DetectionPostProcess_sort(const float *scores, int32_t *places, int32_t *other, int32_t count) {
  for (int32_t run = 1; run < count; run *= 2) {
    for (int32_t start = 0; start < count; start += 2 * run) {
      const int32_t middle = start + run < count ? start + run : count;
      const int32_t end = middle + run < count ? middle + run : count;
      int32_t a = start, b = middle;
      for (int32_t i = start; i < end; i++) {
        const int32_t second = a == middle || (b < end && scores[places[b]] > scores[places[a]]);
        other[i] = places[second ? b++ : a++];
      }
    }
    memcpy(places, other, (size_t)count * sizeof *places);
  }
}

/* Leaves the best of overlapping boxes, at most so many, at the start of `places`; returns how many these are. */
static int32_t DetectionPostProcess_select(const float *boxes, const float *scores, int32_t count, const float *limits,
                                           int32_t most, int32_t *places, int32_t *other) {
  int32_t kept = 0, selected = 0;
  for (int32_t i = 0; i < count; i++) {
    if (scores[i] >= limits[0]) {
      places[kept++] = i;
    }
  }
  DetectionPostProcess_sort(scores, places, other, kept);
  while (kept > 0 && selected < most) {
    /* What is left lies behind those that are selected. */
    const float *best = boxes + 4 * places[selected];
    int32_t left = selected + 1;
    for (int32_t i = selected + 1; i < kept; i++) {
      if (!(DetectionPostProcess_overlap(best, boxes + 4 * places[i]) > limits[1])) {
        places[left++] = places[i];
      }
    }
    selected++;
    kept = left;
    if (selected == kept) {
      break;
    }
  }
  return selected;
}

/* Brings the `most` largest scores and what stands beside them to the front; of equal ones the first is larger. */
static int32_t DetectionPostProcess_best(float *scores, int32_t *places, int32_t count, int32_t most) {
  const int32_t wanted = count < most ? count : most;
  for (int32_t i = 0; i < wanted; i++) {
    int32_t best = i;
    for (int32_t j = i + 1; j < count; j++) {
      best = scores[j] > scores[best] ? j : best;
    }
    const float score = scores[best];
    const int32_t place = places[best];
    for (; best > i; best--) {
      scores[best] = scores[best - 1];
      places[best] = places[best - 1];
    }
    scores[i] = score;
    places[i] = place;
  }
  return wanted;
}

/* Boxes, classes and scores of detections, and their number, of a network that says how far boxes are from anchors.
   Parameters: detections at most, in a class at most, classes, whether classes are looked at one by one; real ones:
   four scales, the least score, the largest overlap. */
static void DetectionPostProcess(const utvm_input *inputs, const utvm_output *outputs, const uint8_t *options,
                                 int32_t options_bytes) {
  const float *classes = inputs[1].data, *real = inputs[4].data;
  const int32_t *parameters = inputs[3].data;
  const int32_t boxes = inputs[0].shape[1], columns = inputs[1].shape[2];
  const int32_t most = parameters[0], most_of_class = parameters[1], count = parameters[2];
  float *const corners = outputs[4].data, *const scores = corners + 4 * boxes, *const values = scores + boxes;
  int32_t *const places = outputs[5].data, *const other = places + boxes, *const found = other + boxes;
  float *const best = outputs[2].data;
  int32_t number = 0;
  (void)options, (void)options_bytes;
  const int32_t valid = DetectionPostProcess_boxes(inputs[0].data, inputs[0].shape[2], inputs[2].data, real, corners, boxes);
  classes += columns - count;
  if (valid && parameters[3]) {
    for (int32_t c = 0; c < count; c++) {
      for (int32_t i = 0; i < boxes; i++) {
        scores[i] = classes[i * columns + c];
      }
      const int32_t more =
          DetectionPostProcess_select(corners, scores, boxes, real + 4, most_of_class, places, other);
      for (int32_t i = 0; i < more; i++) {
        values[number + i] = scores[places[i]];
        found[number + i] = places[i] * count + c;
      }
      number = DetectionPostProcess_best(values, found, number + more, most);
    }
  } else if (valid) {
    for (int32_t i = 0; i < boxes; i++) {
      scores[i] = classes[i * columns];
      for (int32_t c = 1; c < count; c++) {
        scores[i] = classes[i * columns + c] > scores[i] ? classes[i * columns + c] : scores[i];
      }
    }
    number = DetectionPostProcess_select(corners, scores, boxes, real + 4, most, places, other);
    for (int32_t i = 0; i < number; i++) {
      int32_t c = 0;
      while (c + 1 < count && !(classes[places[i] * columns + c] >= scores[places[i]])) {
        c++;
      }
      values[i] = scores[places[i]];
      found[i] = places[i] * count + c;
    }
  }
  for (int32_t i = 0; i < most; i++) {
    for (int32_t d = 0; d < 4; d++) {
      ((float *)outputs[0].data)[4 * i + d] = i < number ? corners[4 * (found[i] / count) + d] : 0.0f;
    }
    ((float *)outputs[1].data)[i] = i < number ? (float)(found[i] % count) : 0.0f;
    best[i] = i < number ? values[i] : 0.0f;
  }
  ((float *)outputs[3].data)[0] = (float)number;
}
