/* A command loop for people and scripts. A line ends with a line feed or a carriage return; every answer ends with a
   line "ok" or "error: ...". */
#include "utvm_console.h"
#include "utvm_models.h"

#define LINE_BYTES 1100

static char line[LINE_BYTES];
static const utvm_model *model;

int main(void);

static void read_line(void) {
  int32_t length = 0;
  for (;;) {
    const char c = console_get();
    if (c == '\n' || c == '\r') {
      if (length == 0) {
        continue;
      }
      line[length < LINE_BYTES ? length : 0] = 0; /* a line that is too long is none */
      return;
    }
    if (length < LINE_BYTES) {
      line[length < LINE_BYTES - 1 ? length : LINE_BYTES - 1] = c;
      length++;
    }
  }
}

static void field(const char *name, uint64_t value) {
  console_text(name);
  console_put(' ');
  console_unsigned(value);
  console_text("\r\n");
}

static void ports(const char *kind, const utvm_port *port, int32_t count) {
  for (; count > 0; count--, port++) {
    console_text(kind);
    console_put(' ');
    console_text(port->name);
    console_put(' ');
    console_unsigned(port->elements * port->element_bytes);
    console_text(" bytes\r\n");
  }
}

static const char *info(void) {
  console_text("model ");
  console_text(model->name);
  console_text("\r\n");
  console_text(model->summary);
  console_text("\r\n");
  field("arena", model->arena_bytes);
  field("flash", model->flash_bytes);
  field("stack", model->stack_bytes);
  field("clock", UTVM_TICKS_HZ);
  ports("input", model->inputs, model->input_count);
  ports("output", model->outputs, model->output_count);
  return 0;
}

/* Bytes in hexadecimal digits to `to`, which has room for `room`. */
static const char *load(const char *text, uint8_t *to, uint32_t room) {
  while (*text) {
    const int32_t high = console_digit(text[0]);
    const int32_t low = high < 0 ? -1 : console_digit(text[1]);
    if (low < 0) {
      return "not an even number of hexadecimal digits";
    }
    if (room == 0) {
      return "more bytes than the input has";
    }
    *to++ = (uint8_t)(high * 16 + low);
    room--;
    text += 2;
  }
  return 0;
}

static const char *input(const char *text) {
  const int32_t number = console_number(&text), offset = console_number(&text);
  if (number < 0 || number >= model->input_count || offset < 0) {
    return "say: input NUMBER OFFSET HEX";
  }
  const utvm_port *port = model->inputs + number;
  const uint32_t size = port->elements * port->element_bytes;
  while (*text == ' ') {
    text++;
  }
  if ((uint32_t)offset > size) {
    return "the offset is beyond the input";
  }
  return load(text, (uint8_t *)port->place(model->arena) + offset, size - (uint32_t)offset);
}

static const char *infer(const char *text) {
  const utvm_port *port = model->inputs;
  const char *problem = load(text, port->place(model->arena), port->elements * port->element_bytes);
  if (problem) {
    return problem;
  }
  if (model->run(model->arena)) {
    return "the run failed";
  }
  port = model->outputs;
  for (int32_t i = 0; i < model->output_count; i++, port++) {
    const uint8_t *bytes = port->place(model->arena);
    console_text("output ");
    console_text(port->name);
    for (uint32_t k = 0; k < port->elements; k++) {
      console_put(' ');
      if (port->element_bytes == 1) {
        console_signed(port->is_unsigned ? bytes[k] : (int8_t)bytes[k]);
        continue;
      }
      for (uint32_t b = port->element_bytes; b > 0; b--) {
        console_hex(bytes[k * port->element_bytes + b - 1]);
      }
    }
    console_text("\r\n");
  }
  return 0;
}

static const char *bench(const char *text) {
  const int32_t runs = console_number(&text);
  if (runs < 1) {
    return "say: bench RUNS";
  }
  const uint64_t start = console_ticks();
  for (int32_t i = 0; i < runs; i++) {
    if (model->run(model->arena)) {
      return "the run failed";
    }
  }
  const uint64_t ticks = console_ticks() - start;
  field("runs", (uint64_t)runs);
  field("ticks", ticks);
  field("microseconds a run", ticks / (uint32_t)runs * 1000000u / UTVM_TICKS_HZ);
  return 0;
}

static const char *reset(void) {
  if (model->reset && model->reset(model->arena)) {
    return "the reset failed";
  }
  return 0;
}

static const char *use(const char *text) {
  for (int32_t i = 0; i < utvm_model_count; i++) {
    const char *at = text;
    if (console_word(&at, utvm_models[i].name)) {
      model = utvm_models + i;
      return 0;
    }
  }
  return "no such model: see models";
}

static const char *answer(const char *text) {
  if (console_word(&text, "info")) {
    return info();
  }
  if (console_word(&text, "models")) {
    for (int32_t i = 0; i < utvm_model_count; i++) {
      console_text(utvm_models[i].name);
      console_text("\r\n");
    }
    return 0;
  }
  if (console_word(&text, "use")) {
    return use(text);
  }
  if (console_word(&text, "input")) {
    return input(text);
  }
  if (console_word(&text, "infer")) {
    return infer(text);
  }
  if (console_word(&text, "reset")) {
    return reset();
  }
  if (console_word(&text, "bench")) {
    return bench(text);
  }
  return "commands: info, models, use NAME, input NUMBER OFFSET HEX, infer [HEX], reset, bench RUNS";
}

int main(void) {
  for (int32_t i = utvm_model_count - 1; i >= 0; i--) {
    model = utvm_models + i;
    reset();
  }
  console_text("utvm ");
  console_text(model->name);
  console_text(" ready\r\n");
  for (;;) {
    read_line();
    const char *problem = answer(line);
    if (problem) {
      console_text("error: ");
      console_text(problem);
    } else {
      console_text("ok");
    }
    console_text("\r\n");
  }
}
