/* From reset to main: the clock and what the core needs, variables from flash to RAM, the console. */
#include <stdint.h>

#include "utvm_console.h"

extern uint8_t utvm_data_start[], utvm_data_end[], utvm_bss_start[], utvm_bss_end[];
extern const uint8_t utvm_data_load[];
extern uint32_t utvm_stack_top[];

uint32_t utvm_start(void);
void utvm_reset(void);
void utvm_boot(void);
int main(void);

__attribute__((used)) void utvm_boot(void) {
  const uint32_t failed = utvm_start(); /* before anything that the compiler may vectorise */
  const uint8_t *from = utvm_data_load;
  for (uint8_t *to = utvm_data_start; to < utvm_data_end; to++) {
    *to = *from++;
  }
  for (uint8_t *to = utvm_bss_start; to < utvm_bss_end; to++) {
    *to = 0;
  }
  console_setup();
  console_open();
  if (failed) {
    console_text("e-[clock]\r\n");
  }
  main();
  for (;;) {
  }
}

#if defined(__riscv)
__attribute__((naked, used, section(".vectors"))) void utvm_reset(void) {
  __asm__ volatile("la sp, utvm_stack_top\n j utvm_boot");
}

uint64_t console_ticks(void) {
  uint32_t high, low, again;
  do {
    __asm__ volatile("csrr %0, mcycleh\n csrr %1, mcycle\n csrr %2, mcycleh" : "=r"(high), "=r"(low), "=r"(again));
  } while (high != again);
  return (uint64_t)high << 32 | low;
}
#else
/* The core loads the stack pointer from the vector table. */
__attribute__((used)) void utvm_reset(void) {
  utvm_boot();
}

extern volatile uint32_t utvm_systick_turns;

/* SysTick counts 24 bits down; its interrupt counts the turns. */
uint64_t console_ticks(void) {
  const volatile uint32_t *const current = (const volatile uint32_t *)0xE000E018u;
  uint32_t turns, value;
  do {
    turns = utvm_systick_turns;
    value = *current;
  } while (turns != utvm_systick_turns);
  return (uint64_t)turns * 0x1000000u + (0xFFFFFFu - value);
}
#endif
