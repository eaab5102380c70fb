/* UART of the nRF51 and nRF52 series (nRF51 Reference Manual, chapter 29; nRF52840 Product Specification, chapter UART);
   115200 baud. Its pins have been chosen before. */
#include "utvm_console.h"

#define REGISTER(offset) (*(volatile uint32_t *)(UTVM_CONSOLE_BASE + (offset)))
#define STARTRX REGISTER(0x000u)
#define STARTTX REGISTER(0x008u)
#define RXDRDY REGISTER(0x108u)
#define TXDRDY REGISTER(0x11Cu)
#define ENABLE REGISTER(0x500u)
#define RXD REGISTER(0x518u)
#define TXD REGISTER(0x51Cu)
#define BAUDRATE REGISTER(0x524u)

void console_open(void) {
  BAUDRATE = 0x01D7E000u;
  ENABLE = 4u;
  STARTTX = 1u;
  STARTRX = 1u;
}

void console_put(char c) {
  TXDRDY = 0u;
  TXD = (uint8_t)c;
  while (!TXDRDY) {
  }
}

char console_get(void) {
  while (!RXDRDY) {
    console_pause();
  }
  RXDRDY = 0u;
  return (char)RXD;
}
