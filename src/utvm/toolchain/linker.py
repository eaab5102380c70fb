"""The linker script of a layout."""

from __future__ import annotations

from utvm.toolchain.source import LinkLayout

STACK_SYMBOL = "utvm_stack_top"
STACK_LIMIT_SYMBOL = "utvm_stack_limit"
RESET_SYMBOL = "utvm_reset"


def linker_script(layout: LinkLayout) -> str:
    """Return a GNU ld script: vectors and code, constants, data, zero-filled data, stack.

    Section `.traps` (code on which breakpoints are set) gets 4 KB aligned room of its own where the code region is
    large enough for it, since emulators single-step whatever shares a page with a breakpoint. What boots has its
    vectors first, or behind the second stage of a boot ROM (256 bytes), and with them what a boot ROM looks for.
    """
    memories = "\n".join(
        f"  {region.name} (rwx) : ORIGIN = 0x{region.origin:08x}, LENGTH = {region.length}" for region in layout.regions
    )
    entry = RESET_SYMBOL if layout.boots else "utvm_start"
    load = f" AT > {layout.constants.name}" if layout.boots else ""
    first = f"  .second_stage : {{ KEEP(*(.second_stage)) }} > {layout.code.name}\n" if layout.boots else ""
    table = 256 if layout.boots else 1024
    page = 4096 if layout.code.length >= 256 * 1024 and not layout.boots else 16
    return f"""\
MEMORY {{
{memories}
}}

ENTRY({entry})

SECTIONS {{
{first}  .vectors : ALIGN({table}) {{ KEEP(*(.vectors)) KEEP(*(.image_definition)) }} > {layout.code.name}
  .text : {{ *(.literal .literal.* .text .text.*) . = ALIGN(16); }} > {layout.code.name}
  .traps : ALIGN({page}) {{ KEEP(*(.traps)) . = ALIGN({page}); }} > {layout.code.name}
  .ARM.exidx : {{ *(.ARM.exidx*) *(.ARM.extab*) }} > {layout.code.name}
  .rodata : ALIGN(16) {{ *(.rodata .rodata.* .srodata .srodata.*) . = ALIGN(16); }} > {layout.constants.name}
  .data : ALIGN(16) {{ *(.data .data.* .sdata .sdata.*) . = ALIGN(16); }} > {layout.data.name}{load}
  .bss (NOLOAD) : ALIGN(16) {{ *(.bss .bss.* .sbss .sbss.*) *(COMMON) . = ALIGN(16); }} > {layout.data.name}
  utvm_data_load = LOADADDR(.data);
  utvm_data_start = ADDR(.data);
  utvm_data_end = ADDR(.data) + SIZEOF(.data);
  utvm_bss_start = ADDR(.bss);
  utvm_bss_end = ADDR(.bss) + SIZEOF(.bss);
  .stack (NOLOAD) : ALIGN(16) {{
    {STACK_LIMIT_SYMBOL} = .;
    . += {layout.stack_bytes};
    . = ALIGN(16);
    {STACK_SYMBOL} = .;
  }} > {layout.data.name}
  /DISCARD/ : {{ *(.comment) *(.note*) *(.riscv.attributes) *(.eh_frame*) }}
}}
"""
