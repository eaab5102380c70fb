/* 16550 UART, registers of one byte (National Semiconductor PC16550D). The rate is left as it is. */
#include "utvm_console.h"

#define REGISTER(offset) (*(volatile uint8_t *)(UTVM_CONSOLE_BASE + (offset)))
#define DATA REGISTER(0)
#define FIFO_CONTROL REGISTER(2)
#define LINE_CONTROL REGISTER(3)
#define LINE_STATUS REGISTER(5)

void console_open(void) {
  LINE_CONTROL = 3u;
  FIFO_CONTROL = 1u;
}

void console_put(char c) {
  while (!(LINE_STATUS & 0x20u)) {
  }
  DATA = (uint8_t)c;
}

char console_get(void) {
  while (!(LINE_STATUS & 1u)) {
    console_pause();
  }
  return (char)DATA;
}
