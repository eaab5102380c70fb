/* Calls whose arguments and result go through memory, where the host can verify them: wires garble registers too. */
#include <stdint.h>

/* The host writes all of it; `done` becomes `nonce` when `function` has returned. */
struct utvm_frame {
  uint32_t nonce;
  uint32_t function;
  uint32_t done;
  uint32_t result;
  uint32_t arguments[12];
};

struct utvm_frame utvm_frame __attribute__((used));

void utvm_invoke(void);

/* The nonce is fetched first and kept in a register that functions preserve: whoever gets in behind that is found out. */
__attribute__((naked, used)) void utvm_invoke(void) {
#if defined(__riscv)
  __asm__ volatile(
      "la s0, utvm_frame\n"
      "lw s1, 0(s0)\n"
      "la sp, utvm_stack_top\n"
      "addi sp, sp, -16\n"
      "lw t0, 48(s0)\n"
      "sw t0, 0(sp)\n"
      "lw t0, 52(s0)\n"
      "sw t0, 4(sp)\n"
      "lw t0, 56(s0)\n"
      "sw t0, 8(sp)\n"
      "lw t0, 60(s0)\n"
      "sw t0, 12(sp)\n"
      "lw a0, 16(s0)\n"
      "lw a1, 20(s0)\n"
      "lw a2, 24(s0)\n"
      "lw a3, 28(s0)\n"
      "lw a4, 32(s0)\n"
      "lw a5, 36(s0)\n"
      "lw a6, 40(s0)\n"
      "lw a7, 44(s0)\n"
      "lw t0, 4(s0)\n"
      "jalr t0\n"
      "sw a0, 12(s0)\n"
      "sw s1, 8(s0)\n"
      "addi sp, sp, 16\n"
      "j utvm_return\n");
#else
  __asm__ volatile(
      ".syntax unified\n"
      "ldr r4, =utvm_frame\n"
      "ldr r7, [r4, #0]\n"
      "ldr r0, =utvm_stack_top\n"
      "mov sp, r0\n"
      "sub sp, #32\n"
      "mov r6, sp\n"
      "movs r5, r4\n"
      "adds r5, #32\n"
      "ldmia r5!, {r0, r1, r2, r3}\n"
      "stmia r6!, {r0, r1, r2, r3}\n"
      "ldmia r5!, {r0, r1, r2, r3}\n"
      "stmia r6!, {r0, r1, r2, r3}\n"
      "ldr r6, [r4, #4]\n"
      "movs r5, r4\n"
      "adds r5, #16\n"
      "ldmia r5!, {r0, r1, r2, r3}\n"
      "blx r6\n"
      "str r0, [r4, #12]\n"
      "str r7, [r4, #8]\n"
      "add sp, #32\n"
      "ldr r5, =utvm_return\n"
      "bx r5\n"
      ".ltorg\n");
#endif
}
