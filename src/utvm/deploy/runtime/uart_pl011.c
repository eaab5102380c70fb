/* Arm PrimeCell UART PL011 (Arm DDI 0183, chapter 3), 8 bits, no parity, FIFOs on. Clocks and pins have been set up before. */
#include "utvm_console.h"

#define REGISTER(offset) (*(volatile uint32_t *)(UTVM_CONSOLE_BASE + (offset)))
#define DATA REGISTER(0x00u)
#define FLAGS REGISTER(0x18u)
#define DIVIDER REGISTER(0x24u)
#define DIVIDER_64THS REGISTER(0x28u)
#define LINE_CONTROL REGISTER(0x2Cu)
#define CONTROL REGISTER(0x30u)
#define NOTHING_RECEIVED (1u << 4)
#define SENDER_FULL (1u << 5)

void console_open(void) {
  /* 64ths of clock / (16 * baud), rounded. */
  const uint32_t divider = (4u * UTVM_CONSOLE_CLOCK_HZ + UTVM_CONSOLE_BAUD / 2u) / UTVM_CONSOLE_BAUD;
  CONTROL = 0u;
  DIVIDER = divider >> 6;
  DIVIDER_64THS = divider & 63u;
  LINE_CONTROL = 0x70u; /* takes the divider over */
  CONTROL = 0x301u;
}

void console_put(char c) {
  while (FLAGS & SENDER_FULL) {
  }
  DATA = (uint8_t)c;
}

char console_get(void) {
  while (FLAGS & NOTHING_RECEIVED) {
    console_pause();
  }
  return (char)DATA;
}
