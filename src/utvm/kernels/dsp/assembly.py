"""Assembler functions as C definitions."""

from __future__ import annotations

from collections.abc import Iterable

from utvm.codegen import CSupport
from utvm.cores.thumb import parse
from utvm.cores.timing import Timing


def assembler_function(name: str, prototype: str, lines: Iterable[str], comment: str) -> CSupport:
    """Return a local function in a section of its own.

    Args:
        name: its symbol, which also says everything that its code depends on.
        prototype: its C declaration, without the semicolon.
        lines: labels and instructions, return included.
        comment: what it does.
    """
    directives = [
        f'.pushsection .text.{name}, "ax", %progbits',
        ".syntax unified",
        ".thumb",
        ".balign 8",
        f".type {name}, %function",
        f"{name}:",
    ]
    body = tuple(lines)
    text = [*directives, *body, f".size {name}, . - {name}", ".popsection"]
    quoted = "\n".join(f'    "{_quote(line)}\\n"' for line in text)
    return CSupport(name=name, text=f"/* {comment} */\n{prototype};\n__asm__(\n{quoted});\n", assembly=body)


def loop_cycles(function: CSupport, timing: Timing) -> float:
    """Return the modelled cycles of one turn of the innermost loop, from label 1 to the branch back, of a function."""
    lines = function.assembly
    first = lines.index("1:") + 1
    last = next(index for index in range(first, len(lines)) if lines[index].startswith("bne"))
    turn = [parse(line) for line in lines[first : last + 1]]
    return timing.cost(turn, turn, jumped=True)


def _quote(line: str) -> str:
    return line.replace('"', '\\"')
