/* Texts and numbers over any character device. */
#include "utvm_console.h"

void console_pause(void) {
  for (int32_t i = 0; i < 200; i++) {
    __asm__ volatile("");
  }
}

void console_text(const char *text) {
  while (*text) {
    console_put(*text++);
  }
}

void console_unsigned(uint64_t value) {
  char digits[20];
  int32_t count = 0;
  do {
    digits[count++] = (char)('0' + value % 10u);
    value /= 10u;
  } while (value);
  while (count) {
    console_put(digits[--count]);
  }
}

void console_signed(int32_t value) {
  if (value < 0) {
    console_put('-');
  }
  console_unsigned(value < 0 ? 0u - (uint32_t)value : (uint32_t)value);
}

void console_hex(uint8_t byte) {
  const char *const digits = "0123456789abcdef";
  console_put(digits[byte >> 4]);
  console_put(digits[byte & 15u]);
}

int32_t console_digit(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  if (c >= 'a' && c <= 'f') {
    return c - 'a' + 10;
  }
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int32_t console_number(const char **text) {
  int32_t value = 0;
  const char *at = *text;
  while (*at == ' ') {
    at++;
  }
  if (*at < '0' || *at > '9') {
    return -1;
  }
  while (*at >= '0' && *at <= '9') {
    if (value > 99999999) {
      return -1;
    }
    value = value * 10 + (*at++ - '0');
  }
  *text = at;
  return value;
}

int32_t console_word(const char **text, const char *word) {
  const char *at = *text;
  while (*word && *at == *word) {
    at++;
    word++;
  }
  if (*word || (*at && *at != ' ')) {
    return 0;
  }
  while (*at == ' ') {
    at++;
  }
  *text = at;
  return 1;
}
