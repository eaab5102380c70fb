/* On-target start-up of Xtensa cores without register windows. The host sets a1, a0 and pc and runs utvm_start once
   after each load. */
#include "utvm_board.h"

uint32_t utvm_start(void);
void utvm_vectors(void);

/* Calls return to utvm_return, every exception and unexpected interrupt ends in utvm_trap: the host has breakpoints on
   both. The offsets of the vectors are those of the LX106: debug, NMI, kernel, user and double exceptions. */
__asm__(
    ".section .traps, \"ax\"\n"
    ".balign 256\n"
    ".global utvm_vectors\n"
    ".type utvm_vectors, @function\n"
    "utvm_vectors:\n"
    ".org 0x10\n j utvm_trap\n"
    ".org 0x20\n j utvm_trap\n"
    ".org 0x30\n j utvm_trap\n"
    ".org 0x50\n j utvm_trap\n"
    ".org 0x70\n j utvm_trap\n"
    ".size utvm_vectors, . - utvm_vectors\n"
    ".balign 16\n"
    ".global utvm_return\n"
    ".type utvm_return, @function\n"
    "utvm_return:\n j utvm_return\n nop\n"
    ".size utvm_return, . - utvm_return\n"
    ".balign 16\n"
    ".global utvm_trap\n"
    ".type utvm_trap, @function\n"
    "utvm_trap:\n j utvm_trap\n nop\n"
    ".size utvm_trap, . - utvm_trap\n"
    ".text\n");

/* Set the vectors, mask every interrupt, set up the clock. Returns as utvm_board_clock does. */
__attribute__((used)) uint32_t utvm_start(void) {
  __asm__ volatile("wsr.vecbase %0\n wsr.intenable %1\n isync" : : "r"(utvm_vectors), "r"(0) : "memory");
  return utvm_board_clock();
}
