"""RV32IMC instructions: kind and registers, parsed from the text that GNU objdump prints, aliases included."""

from __future__ import annotations

import re
from functools import lru_cache

from utvm.cores.instruction import Instruction, Kind, UnknownInstructionError


def _table() -> dict[str, Kind]:
    kinds = {
        Kind.ALU: (
            "add addi sub and andi or ori xor xori sll slli srl srli sra srai slt slti sltu sltiu lui auipc "
            "li la mv neg not seqz snez sltz sgtz zext.b"
        ),
        Kind.MULTIPLY: "mul",
        Kind.MULTIPLY_LONG: "mulh mulhu mulhsu",
        Kind.DIVIDE: "div divu rem remu",
        Kind.LOAD: "lb lbu lh lhu lw",
        Kind.STORE: "sb sh sw",
        Kind.BRANCH: (
            "j beq bne blt bge bltu bgeu beqz bnez blez bgez bltz bgtz ble bgt bleu bgtu"  # the first is a jump
        ),
        Kind.CALL: "jal jalr",
        Kind.RETURN: "jr ret",
        Kind.NOP: "nop",
        Kind.SYSTEM: (
            "csrr csrw csrs csrc csrwi csrsi csrci csrrw csrrs csrrc csrrwi csrrsi csrrci "
            "fence fence.i ecall ebreak mret wfi"
        ),
    }
    return {name: kind for kind, names in kinds.items() for name in names.split()}


_KINDS = _table()
_REGISTER = re.compile(r"\b(?:zero|ra|sp|gp|tp|fp|t[0-6]|s1[01]|s[0-9]|a[0-7]|x[0-9]+)\b")


@lru_cache(maxsize=65536)
def parse(text: str) -> Instruction:
    """Parse one line of assembler: mnemonic and operands, no label, no comment.

    Raises:
        UnknownInstructionError: the mnemonic is not known.
    """
    name, _, operands = text.strip().partition(" ")
    if name not in _KINDS:
        raise UnknownInstructionError(f"no timing is known for the instruction '{name}'")
    kind = _KINDS[name]
    found = tuple(register for register in _REGISTER.findall(operands) if register != "zero")
    match kind:
        case Kind.LOAD:
            return Instruction(text=text, kind=kind, writes=found[:1], address=found[1:])
        case Kind.STORE:
            base = tuple(_REGISTER.findall(operands.partition("(")[2]))
            return Instruction(text=text, kind=kind, reads=found[: len(found) - len(base)], address=base)
        case Kind.BRANCH:
            return Instruction(text=text, kind=kind, reads=found, conditional=name != "j")
        case Kind.CALL:
            return Instruction(text=text, kind=kind, writes=("ra",), reads=found[-1:] if name == "jalr" else ())
        case Kind.RETURN:
            return Instruction(text=text, kind=kind, reads=found or ("ra",))
        case _:
            return Instruction(text=text, kind=kind, writes=found[:1], reads=found[1:])
