/* On-target start-up of Arm M-profile cores. The host sets sp, lr and pc and runs utvm_start once after each load. */
#include <stdint.h>

extern uint32_t utvm_stack_top[];

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define VTOR REGISTER(0xE000ED08u)
#define CCR REGISTER(0xE000ED14u)
#define SHCSR REGISTER(0xE000ED24u)
#define CPACR REGISTER(0xE000ED88u)
#define DEMCR REGISTER(0xE000EDFCu)
#define DWT_CTRL REGISTER(0xE0001000u)
#define DWT_CYCCNT REGISTER(0xE0001004u)

void utvm_start(void);
void utvm_return(void);
void utvm_trap(void);

/* Calls return here; the host has a breakpoint on it. */
__attribute__((naked, used, section(".traps"))) void utvm_return(void) {
  __asm__ volatile("1: b 1b\n nop");
}

/* Every fault and unexpected exception ends here; the host has a breakpoint on it. */
__attribute__((naked, used, section(".traps"))) void utvm_trap(void) {
  __asm__ volatile("1: b 1b\n nop");
}

__attribute__((used, section(".vectors"))) void (*const utvm_vectors[16])(void) = {
    (void (*)(void))utvm_stack_top, utvm_trap, utvm_trap, utvm_trap, utvm_trap, utvm_trap, utvm_trap, utvm_trap,
    utvm_trap, utvm_trap, utvm_trap, utvm_trap, utvm_trap, utvm_trap, utvm_trap, utvm_trap,
};

/* Enable the FPU (and MVE), faults of their own, the trap on division by zero, and the cycle counter. */
__attribute__((used)) void utvm_start(void) {
#if __ARM_ARCH >= 7
  VTOR = (uint32_t)utvm_vectors;
  CCR |= 1u << 4;
  SHCSR |= 7u << 16;
#if defined(__ARM_FP)
  CPACR |= 0xFu << 20;
#endif
  DEMCR |= 1u << 24;
  DWT_CYCCNT = 0;
  DWT_CTRL |= 1u;
  __asm__ volatile("dsb\n isb");
#endif
}
