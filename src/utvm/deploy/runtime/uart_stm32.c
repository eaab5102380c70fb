/* USART and LPUART of STM32F7, H7, L4+ and U5 (RM0385, 31.8; RM0432, 50.7 for the LPUART, whose divider counts 256ths of a
   bit), 8 bits, no parity. Clocks and pins have been set up before. */
#include "utvm_console.h"

#define REGISTER(offset) (*(volatile uint32_t *)(UTVM_CONSOLE_BASE + (offset)))
#define CR1 REGISTER(0x00u)
#define CR3 REGISTER(0x08u)
#define BRR REGISTER(0x0Cu)
#define ISR REGISTER(0x1Cu)
#define RDR REGISTER(0x24u)
#define TDR REGISTER(0x28u)
#define ENABLED 1u
#define RECEIVES (1u << 2)
#define SENDS (1u << 3)
#define OVERRUN_IGNORED (1u << 12)
#define RECEIVED (1u << 5)
#define CAN_SEND (1u << 7)

void console_open(void) {
  const uint64_t divided = (uint64_t)UTVM_CONSOLE_STEPS * UTVM_CONSOLE_CLOCK_HZ;
  CR1 = 0u;
  CR3 = OVERRUN_IGNORED;
  BRR = (uint32_t)((divided + UTVM_CONSOLE_BAUD / 2u) / UTVM_CONSOLE_BAUD);
  CR1 = ENABLED | RECEIVES | SENDS;
}

void console_put(char c) {
  while (!(ISR & CAN_SEND)) {
  }
  TDR = (uint8_t)c;
}

char console_get(void) {
  while (!(ISR & RECEIVED)) {
    console_pause();
  }
  return (char)RDR;
}
