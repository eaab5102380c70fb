/* UART with EasyDMA of the nRF52 and nRF53 series (nRF5340 Product Specification, chapter UARTE), 115200 baud. It reads and
   writes RAM, a byte at a time here: what arrives meanwhile waits in its FIFO. Its pins have been chosen before. */
#include "utvm_console.h"

#define REGISTER(offset) (*(volatile uint32_t *)(UTVM_CONSOLE_BASE + (offset)))
#define STARTRX REGISTER(0x000u)
#define STARTTX REGISTER(0x008u)
#define ENDRX REGISTER(0x110u)
#define ENDTX REGISTER(0x120u)
#define ENABLE REGISTER(0x500u)
#define BAUDRATE REGISTER(0x524u)
#define RXD_PTR REGISTER(0x534u)
#define RXD_MAXCNT REGISTER(0x538u)
#define TXD_PTR REGISTER(0x544u)
#define TXD_MAXCNT REGISTER(0x548u)

static volatile uint8_t sent, received;

static void receive(void) {
  ENDRX = 0u;
  STARTRX = 1u;
}

void console_open(void) {
  BAUDRATE = 0x01D60000u;
  ENABLE = 8u;
  TXD_PTR = (uint32_t)&sent;
  TXD_MAXCNT = 1u;
  RXD_PTR = (uint32_t)&received;
  RXD_MAXCNT = 1u;
  receive();
}

void console_put(char c) {
  sent = (uint8_t)c;
  ENDTX = 0u;
  __asm__ volatile("dsb" ::: "memory"); /* the byte is in RAM before it is fetched */
  STARTTX = 1u;
  while (!ENDTX) {
  }
}

char console_get(void) {
  while (!ENDRX) {
    console_pause();
  }
  const char c = (char)received;
  receive();
  return c;
}
