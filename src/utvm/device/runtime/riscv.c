/* On-target start-up of RISC-V cores in machine mode. The host sets sp, ra and pc and runs utvm_start after each load. */
#include "utvm_board.h"

uint32_t utvm_start(void);
void utvm_return(void);
void utvm_trap(void);

/* Calls return here; the host has a breakpoint on it. */
__attribute__((naked, used, section(".traps"))) void utvm_return(void) {
  __asm__ volatile("1: j 1b\n nop");
}

/* Every exception ends here with its cause in mcause, mepc and mtval; the host has a breakpoint on it. */
__attribute__((naked, used, aligned(4), section(".traps"))) void utvm_trap(void) {
  __asm__ volatile("1: j 1b\n nop");
}

/* Set the trap vector, let the counters run, set up the clock. Returns as utvm_board_clock does. */
__attribute__((used)) uint32_t utvm_start(void) {
  __asm__ volatile("csrw mtvec, %0" : : "r"(utvm_trap));
  __asm__ volatile("csrw mcountinhibit, zero");
  return utvm_board_clock();
}
