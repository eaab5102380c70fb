/* UART of the Cortex-M System Design Kit (Arm DDI 0479, section 4.3). */
#include "utvm_console.h"

#define REGISTER(offset) (*(volatile uint32_t *)(UTVM_CONSOLE_BASE + (offset)))
#define DATA REGISTER(0x00u)
#define STATE REGISTER(0x04u)
#define CTRL REGISTER(0x08u)
#define BAUDDIV REGISTER(0x10u)

void console_open(void) {
  BAUDDIV = UTVM_CONSOLE_CLOCK_HZ / UTVM_CONSOLE_BAUD;
  CTRL = 3u;
}

void console_put(char c) {
  while (STATE & 1u) {
  }
  DATA = (uint8_t)c;
}

char console_get(void) {
  while (!(STATE & 2u)) {
    console_pause();
  }
  return (char)DATA;
}
