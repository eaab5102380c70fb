/* MLPerf Tiny's protocol between a device and the benchmark's runner: commands end with '%', answers begin with m- or
   e-, m-ready says that the next command may come. UTVM_TASK is how inputs arrive and results leave: see the cases. */
#include "utvm_console.h"
#include "utvm_models.h"

#define COMMAND_BYTES 1100
#define INPUT_BYTES (UTVM_INPUT_ELEMENTS * (UTVM_TASK == TASK_ANOMALY ? 4 : 1))
#define TASK_RAW 0     /* int8 as the model takes them: keyword spotting, streaming wake word */
#define TASK_IMAGE 1   /* uint8 pixels: image classification, visual wake words */
#define TASK_ANOMALY 2 /* float features; the result is the mean squared error of their reconstruction */

static char command[COMMAND_BYTES];
static uint8_t buffer[INPUT_BYTES];
static uint32_t expected, held;

int main(void);

static void ready(void) { console_text("m-ready\r\n"); }

static float feature(uint32_t index) {
  union {
    uint32_t bits;
    float value;
  } word = {0};
  for (int32_t b = 3; b >= 0; b--) {
    word.bits = word.bits << 8 | buffer[4 * index + (uint32_t)b];
  }
  return word.value;
}

static void load_tensor(void) {
  const utvm_port *const port = utvm_models[0].inputs;
  int8_t *const to = port->place(utvm_models[0].arena);
  for (uint32_t i = 0; i < port->elements; i++) {
    if (UTVM_TASK == TASK_ANOMALY) {
      to[i] = UTVM_QUANTIZE(feature(i));
    } else {
      to[i] = (int8_t)(UTVM_TASK == TASK_IMAGE ? buffer[i] - 128 : (int8_t)buffer[i]);
    }
  }
}

/* Inputs lie in the arena, where a run overwrites them. Each inference is a sequence of its own. */
static void infer_once(void) {
  if (utvm_models[0].reset) {
    utvm_models[0].reset(utvm_models[0].arena);
  }
  load_tensor();
  utvm_models[0].run(utvm_models[0].arena);
}

/* Six decimals; values beyond +-2000 are cut off there. */
static void print_real(float value) {
  const float limited = value < -2000.0f ? -2000.0f : (value > 2000.0f ? 2000.0f : value);
  if (limited < 0.0f) {
    console_put('-');
  }
  const uint32_t millionths = (uint32_t)((limited < 0.0f ? -limited : limited) * 1000000.0f + 0.5f);
  console_unsigned(millionths / 1000000u);
  console_put('.');
  for (uint32_t unit = 100000u; unit; unit /= 10u) {
    console_put((char)('0' + millionths / unit % 10u));
  }
}

static float output_real(uint32_t index) {
  const utvm_port *const port = utvm_models[0].outputs;
  const int8_t *const values = port->place(utvm_models[0].arena);
  return port->scale * (float)(values[index] - port->zero_point);
}

static void results(void) {
  const uint32_t count = utvm_models[0].outputs->elements;
  console_text("m-results-[");
  if (UTVM_TASK == TASK_ANOMALY) {
    float sum = 0.0f;
    for (uint32_t i = 0; i < count; i++) {
      const float error = feature(i) - output_real(i);
      sum += error * error;
    }
    print_real(sum / (float)count);
  } else {
    for (uint32_t i = 0; i < count; i++) {
      if (i) {
        console_put(',');
      }
      print_real(output_real(i));
    }
  }
  console_text("]\r\n");
}

static void timestamp(void) {
  const uint64_t ticks = console_ticks();
  console_text("m-lap-us-");
  console_unsigned(ticks / UTVM_TICKS_HZ * 1000000u + ticks % UTVM_TICKS_HZ * 1000000u / UTVM_TICKS_HZ);
  console_text("\r\n");
}

static void infer(const char *text) {
  const int32_t runs = *text ? console_number(&text) : 1;
  while (*text == ' ') {
    text++;
  }
  const int32_t warmups = *text ? console_number(&text) : 10;
  if (runs < 1 || warmups < 0) {
    console_text(runs < 1 ? "e-[Inference iterations must be >0]\r\n" : "e-[Inference warmup must be >=0]\r\n");
    return;
  }
  console_text("m-warmup-start-");
  console_signed(warmups);
  console_text("\r\n");
  for (int32_t i = 0; i < warmups; i++) {
    infer_once();
  }
  console_text("m-warmup-done\r\nm-infer-start-");
  console_signed(runs);
  console_text("\r\n");
  timestamp();
  for (int32_t i = 0; i < runs; i++) {
    infer_once();
  }
  timestamp();
  console_text("m-infer-done\r\n");
  results();
}

static void load_start(const char *text) {
  const int32_t bytes = console_number(&text);
  if (bytes <= 0 || bytes > (int32_t)sizeof buffer) {
    console_text("e-[Command 'db load' takes 1 to ");
    console_unsigned(sizeof buffer);
    console_text(" bytes]\r\n");
    return;
  }
  expected = (uint32_t)bytes;
  held = 0;
  console_text("m-[Expecting ");
  console_signed(bytes);
  console_text(" bytes]\r\n");
}

static void print_buffer(void) {
  for (uint32_t i = 0; i < expected; i++) {
    console_text(i % 8 ? "-" : "m-buffer-");
    console_hex(buffer[i]);
    if (i % 8 == 7 || i + 1 == expected) {
      console_text("\r\n");
    }
  }
}

static void load_more(const char *text) {
  while (*text) {
    const int32_t high = console_digit(text[0]);
    const int32_t low = high < 0 ? -1 : console_digit(text[1]);
    if (low < 0) {
      console_text("e-[Invalid hex digits]\r\n");
      return;
    }
    if (held >= expected) {
      console_text("e-[More bytes than expected]\r\n");
      return;
    }
    buffer[held++] = (uint8_t)(high * 16 + low);
    text += 2;
    if (held == expected) {
      console_text("m-load-done\r\n");
      return;
    }
  }
}

static void answer(const char *text) {
  if (console_word(&text, "name")) {
    console_text("m-name-dut-[" UTVM_DEVICE_NAME "]\r\n");
  } else if (console_word(&text, "timestamp")) {
    timestamp();
  } else if (console_word(&text, "profile")) {
    console_text("m-profile-[ULPMark for tinyML Firmware V0.0.1]\r\nm-model-[" UTVM_MODEL_VERSION "]\r\n");
  } else if (console_word(&text, "help")) {
    console_text("name, timestamp, profile, db load N, db HEX, db print, infer N [WARMUPS], results\r\n");
  } else if (console_word(&text, "db")) {
    if (console_word(&text, "load")) {
      load_start(text);
    } else if (console_word(&text, "print")) {
      print_buffer();
    } else {
      load_more(text);
    }
  } else if (console_word(&text, "infer")) {
    infer(text);
  } else if (console_word(&text, "results")) {
    results();
  } else {
    console_text("e-[Unknown command: ");
    console_text(text);
    console_text("]\r\n");
  }
  ready();
}

int main(void) {
  uint32_t length = 0;
  console_text("m-init-done\r\n");
  ready();
  for (;;) {
    const char c = console_get();
    if (c == '%') {
      command[length < COMMAND_BYTES ? length : 0] = 0;
      length = 0;
      answer(command);
    } else if (c != '\r' && c != '\n') {
      if (length < COMMAND_BYTES - 1) {
        command[length] = c;
      }
      length += length < COMMAND_BYTES;
    }
  }
}
