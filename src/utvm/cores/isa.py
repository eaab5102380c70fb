"""An instruction set, as everybody outside `cores` needs to know it: calls, traps, start-up, compiler, ELF.

A core points to its `Isa`. The rest of the compiler asks the fields and never tests for a name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class CallingConvention:
    """How a function is called. Registers have the names that debug links use.

    Attributes:
        arguments: registers of the first arguments, in order.
        result: register of the result.
        stack_pointer: grows down.
        link_register: where a function returns to.
        program_counter: where the core goes on.
        state: registers that are written before every call, and their values.
        code_bit: set in addresses of code where registers hold them, for example the Thumb bit.
        breakpoints: instructions that stop the core, as mask and value of the word at their address.
    """

    arguments: tuple[str, ...]
    result: str
    stack_pointer: str
    link_register: str
    program_counter: str
    state: Mapping[str, int] = field(default_factory=dict)
    code_bit: int = 0
    breakpoints: tuple[tuple[int, int], ...] = ()

    def code_address(self, address: int) -> int:
        """Return an address as a link register must hold it."""
        return address | self.code_bit

    def is_breakpoint(self, word: int) -> bool:
        """Return whether the word at an address begins with an instruction that stops the core."""
        return any(word & mask == value for mask, value in self.breakpoints)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrapRegisters:
    """Registers that tell of the last exception.

    Attributes:
        cause: the register of its number.
        pc: the register of the instruction's address.
        address: the register of the address that was accessed.
        causes: what the numbers mean.
        addressed: the numbers for which `address` holds one.
    """

    cause: str
    pc: str
    address: str
    causes: Mapping[int, str]
    addressed: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Isa:
    """An instruction set and its ABI.

    Attributes:
        name: also the name of its start-up code, `device/runtime/NAME.c`.
        elf_machine: `e_machine` of its programs, as pyelftools names it.
        tool_prefix: before `gcc` and `objdump`.
        specs: GCC's options that find the C library's headers.
        macro: what its compilers define for all of its architectures.
        convention: how functions are called.
        traps: the registers of exceptions; None where the core stacks a frame, as Arm's M profile does.
        vector_table: whether exceptions look up their handlers in a table of addresses, at address 0 after a reset.
        cycle_counter: what counts cycles on most of its cores; None where nothing is known to.
        directives: lines before assembler text within C.
        helpers: further start-up sources, for what libgcc lacks.
        registers: registers by their place in the answer to GDB's `g`, for servers that describe none.
        inner_loop: a typical inner loop of compiled C, three loads and two products a turn; empty if none is timed.
    """

    name: str
    elf_machine: str
    tool_prefix: str
    specs: tuple[str, ...] = ()
    macro: str
    convention: CallingConvention
    traps: TrapRegisters | None = None
    vector_table: bool = False
    cycle_counter: Literal["dwt", "mcycle"] | None = None
    directives: tuple[str, ...] = ()
    registers: tuple[str, ...] = ()
    helpers: tuple[str, ...] = ()
    inner_loop: tuple[str, ...] = ()


ARM_M = Isa(
    name="arm",
    elf_machine="EM_ARM",
    tool_prefix="arm-none-eabi-",
    macro="__ARM_ARCH_PROFILE",
    # Arm IHI 0042 (AAPCS), section 6; the Thumb bit of xPSR must be set before anything runs.
    convention=CallingConvention(
        arguments=("r0", "r1", "r2", "r3"),
        result="r0",
        stack_pointer="sp",
        link_register="lr",
        program_counter="pc",
        state={"xpsr": 0x01000000},
        code_bit=1,
        breakpoints=((0xFF00, 0xBE00),),
    ),
    vector_table=True,
    cycle_counter="dwt",
    directives=(".syntax unified", ".thumb"),
    inner_loop=("ldrsb r4, [r0, r6]", "ldrsb r5, [r1, r6]", "ldrsb r8, [r2, r6]", "muls r5, r4, r5",
                "muls r8, r4, r8", "adds r3, r3, r5", "adds r9, r9, r8", "adds r6, r6, #1", "cmp r6, r7",
                "bne 1b"),
)  # fmt: skip
"""Arm's M profile."""

RISCV32 = Isa(
    name="riscv",
    elf_machine="EM_RISCV",
    tool_prefix="riscv64-unknown-elf-",
    specs=("--specs=picolibc.specs",),
    macro="__riscv",
    # RISC-V ELF psABI, integer calling convention.
    convention=CallingConvention(
        arguments=("a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7"),
        result="a0",
        stack_pointer="sp",
        link_register="ra",
        program_counter="pc",
        breakpoints=((0xFFFF, 0x9002), (0xFFFFFFFF, 0x00100073)),
    ),
    # RISC-V Privileged Architecture, mcause. Interrupt 31 is how the RTL boards tell bus errors: the core has no
    # exception for them.
    traps=TrapRegisters(
        cause="mcause",
        pc="mepc",
        address="mtval",
        causes={
            0: "instruction address misaligned",
            1: "instruction access fault",
            2: "illegal instruction",
            3: "breakpoint",
            4: "load address misaligned",
            5: "load access fault",
            6: "store address misaligned",
            7: "store access fault",
            8: "environment call from user mode",
            11: "environment call from machine mode",
            0x8000001F: "bus error on a data access just before this instruction",
        },
        addressed=(0, 1, 4, 5, 6, 7),
    ),
    cycle_counter="mcycle",
    inner_loop=("lb a4, 0(a0)", "lb a5, 0(a1)", "lb a6, 0(a7)", "mul a5, a4, a5", "mul a6, a4, a6",
                "add a3, a3, a5", "add t1, t1, a6", "addi a0, a0, 1", "addi a1, a1, 1", "addi a7, a7, 1",
                "bne a0, a2, 1b"),
)  # fmt: skip
"""RISC-V of 32 bits in machine mode."""

XTENSA_CALL0 = Isa(
    name="xtensa",
    elf_machine="EM_XTENSA",
    tool_prefix="xtensa-lx106-elf-",
    # Where Debian puts them; other distributions of this compiler find their own first.
    specs=("-idirafter", "/usr/lib/xtensa-lx106-elf/include"),
    macro="__XTENSA__",
    # Xtensa ISA Reference Manual, section 8.1.2 (CALL0 register usage and stack layout). PS: no interrupt is masked,
    # no exception is being handled.
    convention=CallingConvention(
        arguments=("a2", "a3", "a4", "a5", "a6", "a7"),
        result="a2",
        stack_pointer="a1",
        link_register="a0",
        program_counter="pc",
        state={"ps": 0},
        breakpoints=((0xFFF00F, 0x004000), (0xF0FF, 0xF02D)),
    ),
    # Section 4.4.1.5 (the exception cause register).
    traps=TrapRegisters(
        cause="exccause",
        pc="epc1",
        address="excvaddr",
        causes={
            0: "illegal instruction",
            1: "system call",
            2: "instruction fetch error",
            3: "load or store error",
            6: "division by zero",
            8: "privileged instruction",
            9: "unaligned load or store",
            12: "data bus error on an instruction fetch",
            13: "data bus error on a load or store",
            14: "address error on an instruction fetch",
            15: "address error on a load or store",
            20: "instruction fetch not allowed",
            28: "load not allowed",
            29: "store not allowed",
        },
        addressed=(2, 3, 9, 12, 13, 14, 15, 20, 28, 29),
    ),
    # Debian's libgcc leaves out what the ROM of the ESP8266 has.
    helpers=("xtensa_arithmetic.c",),
    # The register numbers of GDB for the LX106: its servers have them from the core's configuration.
    registers=(*(f"a{number}" for number in range(16)), "pc", "sar", "litbase", "sr176", "sr208", "ps", "mmid",
               "ibreakenable", "ddr", "ibreaka0", "dbreaka0", "dbreakc0", "epc1", "epc2", "epc3", "depc", "eps2",
               "eps3", "excsave1", "excsave2", "excsave3", "interrupt", "intset", "intclear", "intenable", "vecbase",
               "exccause", "debugcause", "ccount", "prid", "icount", "icountlevel", "excvaddr"),
)  # fmt: skip
"""Xtensa without register windows, as the LX106 of the ESP8266."""
