"""A layout, a program of three files, and a toolchain with a cache of its own."""

import shutil

import pytest

from utvm.toolchain import LinkLayout, Region, Source, Toolchain

ARM = ("-mcpu=cortex-m7", "-mthumb", "-mfloat-abi=hard", "-mfpu=auto")

PROGRAM = (
    Source(
        name="table.h",
        text="#include <stdint.h>\n#include <string.h>\nextern const int8_t table[300];\nint32_t sum(int32_t n);\n",
    ),
    Source(
        name="main.c",
        text='#include "table.h"\n'
        "int32_t counter = 5;\n"
        "uint8_t arena[1000];\n"
        "void utvm_start(void);\n"
        "void utvm_start(void) {\n"
        "  memset(arena, counter, sizeof arena);\n"
        "  counter = sum(arena[3]);\n"
        "}\n"
        "void *memset(void *at, int value, size_t n) {\n"
        "  for (uint8_t *p = at; n--;) *p++ = (uint8_t)value;\n"
        "  return at;\n"
        "}\n"
        "int32_t unused(void);\n"
        "int32_t unused(void) { return 1; }\n",
    ),
    Source(
        name="sum.c",
        text='#include "table.h"\n'
        "const int8_t table[300] = {1, 2, 3};\n"
        "int32_t sum(int32_t n) {\n"
        "  int32_t total = 0;\n"
        "  for (int32_t i = 0; i < n; ++i) total += table[i];\n"
        "  return total;\n"
        "}\n",
    ),
    Source(
        name="asm.S",
        text='.syntax unified\n.section .text.nothing, "ax"\n.global nothing\n.type nothing, %function\n'
        "nothing: nop\n.size nothing, . - nothing\n",
    ),
)


@pytest.fixture
def layout():
    code, data = Region(name="code", origin=0, length=0x8000), Region(name="data", origin=0x20000000, length=0x8000)
    return LinkLayout(code=code, constants=code, data=data, stack_bytes=1024)


@pytest.fixture
def arm(tmp_path):
    if shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed")
    return Toolchain(prefix="arm-none-eabi-", machine_flags=ARM, cache_directory=tmp_path / "cache")
