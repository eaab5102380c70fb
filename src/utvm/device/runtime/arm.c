/* On-target start-up of Arm M-profile cores. The host sets sp, lr and pc and runs utvm_start once after each load. */
#include "utvm_board.h"

/* The first vector, made by the linker script; as a function, so that the table needs no cast. */
void utvm_stack_top(void);

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define DWT_CTRL REGISTER(0xE0001000u)
#define DWT_CYCCNT REGISTER(0xE0001004u)
#define DWT_LAR REGISTER(0xE0001FB0u)
#define SYST_CSR REGISTER(0xE000E010u)
#define SYST_RVR REGISTER(0xE000E014u)
#define SYST_CVR REGISTER(0xE000E018u)
#define VTOR REGISTER(0xE000ED08u)
#define CCR REGISTER(0xE000ED14u)
#define SHCSR REGISTER(0xE000ED24u)
#define CCSIDR REGISTER(0xE000ED80u)
#define CSSELR REGISTER(0xE000ED84u)
#define CPACR REGISTER(0xE000ED88u)
#define DEMCR REGISTER(0xE000EDFCu)
#define ICIALLU REGISTER(0xE000EF50u)
#define DCISW REGISTER(0xE000EF60u)

uint32_t utvm_start(void);
void utvm_return(void);
void utvm_trap(void);
void utvm_systick(void);

/* Calls return here; the host has a breakpoint on it. */
__attribute__((naked, used, section(".traps"))) void utvm_return(void) {
  __asm__ volatile("1: b 1b\n nop");
}

/* Every fault and unexpected exception ends here; the host has a breakpoint on it. */
__attribute__((naked, used, section(".traps"))) void utvm_trap(void) {
  __asm__ volatile("1: b 1b\n nop");
}

#if UTVM_SYSTICK || defined(UTVM_BOOTS)
/* SysTick counts 24 bits: these are its turns. */
volatile uint32_t utvm_systick_turns;

void utvm_systick(void) { utvm_systick_turns++; }
#define ON_SYSTICK utvm_systick
#else
#define ON_SYSTICK utvm_trap
#endif

#ifdef UTVM_BOOTS
void utvm_reset(void);
#define ON_RESET utvm_reset
#else
#define ON_RESET utvm_trap
#endif

__attribute__((used, section(".vectors"))) void (*const utvm_vectors[16])(void) = {
    utvm_stack_top, ON_RESET, utvm_trap, utvm_trap, utvm_trap, utvm_trap, utvm_trap, utvm_trap,
    utvm_trap, utvm_trap, utvm_trap, utvm_trap, utvm_trap, utvm_trap, utvm_trap, ON_SYSTICK,
};

#if UTVM_INSTRUCTION_CACHE
/* A load wrote code past the cache (Armv7-M, DDI 0403, B2.2.7). */
static void enable_instruction_cache(void) {
  __asm__ volatile("dsb\n isb");
  ICIALLU = 0;
  __asm__ volatile("dsb\n isb");
  CCR |= 1u << 17;
  __asm__ volatile("dsb\n isb");
}
#endif

#if UTVM_DATA_CACHE
/* After a reset the cache is off and holds anything: invalidate every set of every way before it is turned on. */
static void enable_data_cache(void) {
  CSSELR = 0;
  __asm__ volatile("dsb");
  const uint32_t geometry = CCSIDR;
  const uint32_t sets = (geometry >> 13) & 0x7FFFu, ways = (geometry >> 3) & 0x3FFu, line = (geometry & 7u) + 4u;
  for (uint32_t set = 0; set <= sets; set++) {
    for (uint32_t way = 0; way <= ways; way++) {
      DCISW = (set << line) | (ways ? way << __builtin_clz(ways) : 0u);
    }
  }
  __asm__ volatile("dsb");
  CCR |= 1u << 16;
  __asm__ volatile("dsb\n isb");
}
#endif

/* Faults of their own, the trap on division by zero, the FPU (and MVE), the clock, the caches, the cycle counter.
   Returns 0, or the number of the wait of the clock's set-up that did not end. */
__attribute__((used)) uint32_t utvm_start(void) {
#if UTVM_VECTOR_TABLE_REGISTER
  VTOR = (uint32_t)utvm_vectors;
#endif
#if __ARM_ARCH >= 7
  CCR |= 1u << 4;
#if defined(__ARM_FEATURE_MVE)
  CCR |= 3u << 18; /* branch prediction and loops without overhead (Armv8.1-M, DDI 0553, CCR) */
#endif
  SHCSR |= 7u << 16;
#if defined(__ARM_FP)
  CPACR |= 0xFu << 20;
#endif
#endif
  const uint32_t failed = utvm_board_clock();
  if (failed) return failed;
#if UTVM_INSTRUCTION_CACHE
  enable_instruction_cache();
#endif
#if UTVM_DATA_CACHE
  enable_data_cache();
#endif
#if __ARM_ARCH >= 7
  DEMCR |= 1u << 24;
#if __ARM_ARCH == 7
  DWT_LAR = 0xC5ACCE55u; /* the Cortex-M7 locks its counter */
#endif
  DWT_CYCCNT = 0;
  DWT_CTRL |= 1u;
  __asm__ volatile("dsb\n isb");
#endif
#if UTVM_SYSTICK || defined(UTVM_BOOTS)
  SYST_RVR = 0xFFFFFFu;
  SYST_CVR = 0;
  SYST_CSR = 7;
#endif
  return 0;
}
