"""Programs for the device tests, and sessions that run them."""

from collections.abc import Iterator
from functools import cache

import pytest

import utvm
from utvm.boards import load_board
from utvm.device import Session, build_image
from utvm.toolchain import Image, Source

PROGRAM = """\
#include <stdint.h>
#define ENTRY(type, name, ...) type name(__VA_ARGS__); __attribute__((noinline)) type name(__VA_ARGS__)

ENTRY(int32_t, add9, int32_t a, int32_t b, int32_t c, int32_t d, int32_t e, int32_t f, int32_t g, int32_t h,
      int32_t i) {
  return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h + 9 * i;
}
ENTRY(int32_t, answer, void) { return 42; }
ENTRY(int32_t, halves, int32_t n) {
  volatile float f = 0;
  for (int32_t i = 0; i < n; i++) f += 0.5f;
  return (int32_t)f;
}
ENTRY(uint32_t, peek, uint32_t address) { return *(volatile uint32_t *)address; }
ENTRY(int32_t, divide, int32_t a, int32_t b) { return a / b; }
ENTRY(int32_t, deep, int32_t n) { volatile int32_t a[16]; a[0] = n; return n ? deep(n - 1) + a[0] : 0; }
#if defined(__riscv)
ENTRY(void, undefined, void) { __asm__ volatile(".4byte 0xffffffff"); }
ENTRY(void, breakpoint, void) { __asm__ volatile("ebreak"); }
ENTRY(void, counted, int32_t n) { __asm__ volatile("1: addi %0, %0, -1\\n bnez %0, 1b" : "+r"(n)); }
#elif defined(__XTENSA__)
ENTRY(void, undefined, void) { __asm__ volatile("ill"); }
ENTRY(void, breakpoint, void) { __asm__ volatile("break 1, 15"); }
ENTRY(void, counted, int32_t n) { __asm__ volatile("1: addi %0, %0, -1\\n bnez %0, 1b" : "+r"(n)); }
#else
ENTRY(void, undefined, void) { __asm__ volatile("udf #0"); }
ENTRY(void, breakpoint, void) { __asm__ volatile("bkpt #0"); }
ENTRY(void, counted, int32_t n) {
  __asm__ volatile(".syntax unified\\n1: subs %0, %0, #1\\n bne 1b" : "+l"(n) : : "cc");
}
#endif
ENTRY(void, forever, void) { for (;;) { __asm__ volatile(""); } }
uint8_t buffer[64];
ENTRY(uint8_t *, place, void) { return buffer; }
"""
ENTRIES = (
    *("add9", "answer", "halves", "peek", "divide", "deep"),
    *("undefined", "breakpoint", "counted", "forever", "place"),
)


@cache
def test_image(board: str) -> Image:
    return build_image(load_board(board), [Source(name="program.c", text=PROGRAM)], entries=ENTRIES, optimize="-O1")


@pytest.fixture
def session(board: str) -> Iterator[Session]:
    """A session with the test program loaded; the test's class or module names the board."""
    with utvm.connect(board) as opened:
        opened.load(test_image(board))
        yield opened
