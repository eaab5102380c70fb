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

#if defined(__XTENSA__)
/* As below; the compiler has no functions without a frame of their own. */
__asm__(
    ".section .text.utvm_invoke, \"ax\"\n"
    ".literal_position\n"
    ".align 4\n"
    ".global utvm_invoke\n"
    ".type utvm_invoke, @function\n"
    "utvm_invoke:\n"
    "movi a12, utvm_frame\n"
    "l32i a13, a12, 0\n"
    "movi a1, utvm_stack_top\n"
    "addi a1, a1, -32\n"
    "l32i a8, a12, 40\n"
    "s32i a8, a1, 0\n"
    "l32i a8, a12, 44\n"
    "s32i a8, a1, 4\n"
    "l32i a8, a12, 48\n"
    "s32i a8, a1, 8\n"
    "l32i a8, a12, 52\n"
    "s32i a8, a1, 12\n"
    "l32i a8, a12, 56\n"
    "s32i a8, a1, 16\n"
    "l32i a8, a12, 60\n"
    "s32i a8, a1, 20\n"
    "l32i a2, a12, 16\n"
    "l32i a3, a12, 20\n"
    "l32i a4, a12, 24\n"
    "l32i a5, a12, 28\n"
    "l32i a6, a12, 32\n"
    "l32i a7, a12, 36\n"
    "l32i a8, a12, 4\n"
    "callx0 a8\n"
    "s32i a2, a12, 12\n"
    "s32i a13, a12, 8\n"
    "addi a1, a1, 32\n"
    "movi a8, utvm_return\n"
    "jx a8\n"
    ".size utvm_invoke, . - utvm_invoke\n"
    ".text\n");
#else
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
#endif
