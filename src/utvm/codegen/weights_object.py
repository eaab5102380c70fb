"""The constants of a model for an assembler: one binary file, and text that says where which of them is.

A compiler takes a second for a megabyte of integers in C; an assembler takes no time for a file that it includes.
Bytes, names, alignments and order are what GCC makes of the C file of the constants: it begins with the last.
"""

from __future__ import annotations

from utvm.codegen.model import CModel, array_names


def weights_assembly(model: CModel, binary: str) -> tuple[str, bytes]:
    """Return the assembler text of a model's constants, and what the file that it includes holds.

    Args:
        model: whose constants; little-endian.
        binary: the name of the file.
    """
    lines: list[str] = []
    held = bytearray()
    for array, symbol in reversed(array_names(model).items()):
        lines += [
            f'.section .rodata.{symbol},"a",%progbits',
            ".balign 16",
            f".globl {symbol}",
            f".type {symbol}, %object",
            f".size {symbol}, {array.nbytes}",
            f"{symbol}:",
        ]
        if array.nbytes:
            lines.append(f'.incbin "{binary}", {len(held)}, {array.nbytes}')
            held += array.stored()
    return "\n".join([*lines, ""]), bytes(held)
