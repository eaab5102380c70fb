/* On-target start-up of RISC-V cores in machine mode. The host sets sp, ra and pc and runs utvm_start after each load. */
#include "utvm_board.h"

uint32_t utvm_start(void);
void utvm_return(void);
void utvm_trap(void);
void utvm_measured(void);

/* Calls return here; the host has a breakpoint on it. A core in debug control halts at its ebreak even if the breakpoint
   was an instruction that a later load has overwritten. */
__attribute__((naked, used, section(".traps"))) void utvm_return(void) {
  __asm__ volatile("1: ebreak\n j 1b\n nop");
}

/* Every exception ends here with its cause in mcause, mepc and mtval; the host has a breakpoint on it. */
__attribute__((naked, used, aligned(4), section(".traps"))) void utvm_trap(void) {
  __asm__ volatile("1: ebreak\n j 1b\n nop");
}

/* Calls the function at t0 with mcycle and minstret running from 0, stopped on its return: a debugger may read them when
   it likes, also where they run in debug mode. What they hold is the function, the jump to it and its return. */
__attribute__((naked, used, section(".traps"))) void utvm_measured(void) {
  __asm__ volatile(
      "csrwi mcountinhibit, 5\n"
      "csrwi mcycle, 0\n"
      "csrwi mcycleh, 0\n"
      "csrwi minstret, 0\n"
      "csrwi minstreth, 0\n"
      "csrwi mcountinhibit, 0\n"
      "jalr t0\n"
      "csrwi mcountinhibit, 5\n"
      "j utvm_return");
}

/* Set the trap vector, let the counters run, let vector instructions work (bits 9 and 10 of mstatus read 0 on a core
   that has none), set up the clock. Returns as utvm_board_clock does. */
__attribute__((used)) uint32_t utvm_start(void) {
  __asm__ volatile("csrw mtvec, %0" : : "r"(utvm_trap));
  __asm__ volatile("csrw mcountinhibit, zero");
  __asm__ volatile("csrs mstatus, %0" : : "r"(1u << 9));
  return utvm_board_clock();
}
