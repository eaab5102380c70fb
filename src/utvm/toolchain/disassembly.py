"""The stack and the calls of a function that has no description by the compiler, from its instructions.

Assembler and the compiler's own library are read this way. All that a function pushes is summed up, on whichever path,
so the size is an upper bound.
"""

from __future__ import annotations

import re
import subprocess
from collections import deque
from collections.abc import Collection
from pathlib import Path

from utvm.toolchain.source import ToolchainError
from utvm.toolchain.stack import INDIRECT_CALL, Frame

_SECONDS = 20
_LINE = re.compile(r"^ *[0-9a-f]+:\t(?P<name>\S+)(?:[ \t]+(?P<operands>[^;@\n]*))?", re.MULTILINE)
_REGISTERS = re.compile(r"\{(?P<list>[^}]*)\}")
_TARGET = re.compile(r"<(?P<symbol>[^+>]+)(?P<offset>\+0x[0-9a-f]+)?>")
_SUBTRACT = re.compile(r"^sp,\s*(?:sp,\s*)?#(?P<bytes>\d+)\s*$")
_PREDECREMENT = re.compile(r"\[sp, #-(?P<bytes>\d+)\]!")
_ADD = re.compile(r"^sp,\s*(?:sp,\s*)?#?(?P<bytes>-?\d+)\s*$")
_MOVED = re.compile(r"^sp,")
_SCALED = re.compile(r"^(?:(?:sll|slli) .*,(?:0x)?2|(?:sh2add|addx4) .*)$")
_SWITCH = 12
"""Instructions from the bound of a switch to its jump."""


def disassembled_frame(
    elf: Path, tool_prefix: str, name: str, start: int, end: int, *, stack_pointer: str = "sp"
) -> Frame:
    """Return the frame of the function at addresses `start` to `end` of an ELF file.

    `stack_pointer` is what the disassembler calls it.

    Raises:
        ToolchainError: it can't be disassembled.
    """
    command = [
        f"{tool_prefix}objdump", "-d", "--no-show-raw-insn", f"--start-address=0x{start:x}",
        f"--stop-address=0x{end:x}", str(elf),
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise ToolchainError(f"the stack of {name} is not known: it can't be disassembled ({error})") from error
    return parse_frame(name, done.stdout.replace(f"{stack_pointer},", "sp,"))


def parse_frame(name: str, text: str) -> Frame:
    """Return the frame of the one function in objdump's text: Arm, RISC-V, or Xtensa with its a1 as sp."""
    size, bounded = 0, True
    callees: dict[str, None] = {}
    before: deque[str] = deque(maxlen=_SWITCH)
    for line in _LINE.finditer(text):
        operation, operands = line["name"].partition(".")[0], (line["operands"] or "").strip()
        pushed = _pushed(operation, operands)
        if pushed is None:
            bounded = False
        else:
            size += pushed
        callee = _callee(line["name"], operands)
        if callee == INDIRECT_CALL and operation in ("jr", "jx") and _is_switch(before):
            callee = None
        if callee is not None and callee != name:
            callees[callee] = None
        before.append(f"{operation} {operands}")
    return Frame(size=size, callees=tuple(callees), bounded=bounded)


def _pushed(operation: str, operands: str) -> int | None:
    """Return by how many bytes an instruction lowers the stack pointer, None if that can't be told."""
    if operation in ("push", "vpush") or (operation in ("stmdb", "vstmdb") and operands.startswith("sp!")):
        registers = _REGISTERS.search(operands)
        return None if registers is None else sum(map(_width, registers["list"].split(",")))
    if (moved := _PREDECREMENT.search(operands)) is not None:
        return int(moved["bytes"])
    if operation in ("sub", "subw"):
        moved = _SUBTRACT.match(operands)
        return int(moved["bytes"]) if moved else None if _MOVED.match(operands) else 0
    if operation in ("add", "addi", "addmi", "addw") and (moved := _ADD.match(operands)) is not None:
        return max(0, -int(moved["bytes"]))
    if operation in (
        "add",
        "addi",
        "addmi",
        "addw",
        "mov",
        "mv",
        "bic",
        "and",
        "msr",
        "neg",
        "lw",
        "ldr",
    ) and _MOVED.match(operands):
        return None
    return 0


def _is_switch(before: Collection[str]) -> bool:
    """Whether a jump to a register is that of a switch: its table is read at four times a number within a bound.

    The library's division of floats jumps so.
    """
    bounded = any(each.startswith(("bltu", "bgtu", "bgeu", "bleu")) for each in before)
    scaled = any(_SCALED.match(each) for each in before)
    return bounded and scaled and any(each.startswith(("lw ", "l32i")) for each in before)


def _width(registers: str) -> int:
    """Return the bytes of a register or range of registers, as `d8-d15`."""
    first, _, last = registers.strip().partition("-")
    count = int(last[1:]) - int(first[1:]) + 1 if last else 1
    return count * (8 if first.startswith("d") and first[1:].isdigit() else 4)


def _callee(operation: str, operands: str) -> str | None:
    target = _TARGET.search(operands)
    if target is not None:
        branches = operation.startswith(("b", "cb", "j", "tail", "call", "le", "wls", "dls"))
        return target["symbol"] if branches and target["offset"] is None else None
    if operation == "blx" or (operation == "bx" and operands != "lr"):
        return INDIRECT_CALL
    if operation.startswith("callx") or operation == "jx":
        return INDIRECT_CALL
    if operation in ("jalr", "jr") and operands not in ("ra", "t0"):
        return INDIRECT_CALL
    return None
