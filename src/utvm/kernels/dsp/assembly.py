"""Assembler functions as C definitions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache

from utvm.codegen import CSupport
from utvm.cores import Core
from utvm.cores.microkernel import code_cycles
from utvm.cores.thumb import parse
from utvm.cores.timing import Timing

MAX_OFFSET = 4095
"""The largest offset of a Thumb-2 load or store, and the largest constant of an addition, in bytes."""
LOOP_REGISTERS = ("r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "lr")
"""What a function that keeps its arguments in r0 to r3 has left for its values."""


def assembler_function(
    name: str,
    prototype: str,
    lines: Iterable[str],
    comment: str,
    directives: Sequence[str] = (".syntax unified", ".thumb", ".balign 8"),
) -> CSupport:
    """Return a local function in a section of its own.

    Args:
        name: its symbol, which also says everything that its code depends on.
        prototype: its C declaration, without the semicolon.
        lines: labels and instructions, return included.
        comment: what it does.
        directives: what comes before its label.
    """
    opening = [
        f'.pushsection .text.{name}, "ax", %progbits',
        *directives,
        f".type {name}, %function",
        f"{name}:",
    ]
    body = tuple(lines)
    text = [*opening, *body, f".size {name}, . - {name}", ".popsection"]
    quoted = "\n".join(f'    "{_quote(line)}\\n"' for line in text)
    return CSupport(name=name, text=f"/* {comment} */\n{prototype};\n__asm__(\n{quoted});\n", assembly=body)


def assembler_loop(
    name: str,
    arguments: str,
    turn: Sequence[str],
    comment: str,
    *,
    entry: Sequence[str] = (),
    after: Sequence[str] = (),
    frame: int = 0,
) -> CSupport:
    """Return a void function that is one loop: `turn` leaves Z clear as long as another one follows.

    Args:
        name: its symbol, as for `assembler_function`.
        arguments: its parameters in C.
        turn: the instructions of one turn.
        comment: what it does.
        entry: what comes before the loop; all registers are saved and the frame is made already.
        after: what comes behind the loop, the frame still there; it may go back to a label of `entry`.
        frame: bytes of its stack frame, a multiple of 8 and 4 more, so that sp stays aligned to 8 bytes; 0 is none.
    """
    assert frame == 0 or frame % 8 == 4, "nine registers are saved"
    lines = [
        "push {r4-r11, lr}",
        *([f"sub sp, sp, #{frame}"] if frame else []),
        *entry,
        ".balign 8",
        "1:",
        *turn,
        "bne.w 1b",
        *after,
        *([f"add sp, sp, #{frame}"] if frame else []),
        "pop {r4-r11, pc}",
    ]
    return assembler_function(name, f"void {name}({arguments})", lines, comment)


def with_aligned_form(function: CSupport, aligned: CSupport, *, unaligned: bool) -> CSupport:
    """Return a function with a form for compilers that may not access words at any address (-mno-unaligned-access).

    Args:
        function: what reads or writes words at any address.
        aligned: the same function by accesses at multiples of their size.
        unaligned: which of the two is estimated: whether the core accesses words at any address.
    """
    text = f"#ifdef __ARM_FEATURE_UNALIGNED\n{function.text}#else /* -mno-unaligned-access */\n{aligned.text}#endif\n"
    return replace(function, text=text, assembly=(function if unaligned else aligned).assembly)


def no_scheduled_code(core: Core) -> str | None:
    """Return why micro-kernels can't be scheduled for a core; None where they can."""
    if not core.dsp:
        return f"{core.name} has no DSP extension"
    return None if core.timing is not None else f"nothing is known of the pipeline of {core.name}"


def short_digest(*parts: object) -> str:
    """Return eight hexadecimal digits that stand for values in the name of a function that depends on them."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:8]


@lru_cache(maxsize=4096)
def loop_cycles(function: CSupport, timing: Timing) -> float:
    """Return the modelled cycles of one turn of the innermost loop, from label 1 to the branch back, of a function."""
    lines = function.assembly
    first = lines.index("1:") + 1
    last = next(index for index in range(first, len(lines)) if lines[index].startswith("bne"))
    turn = tuple(lines[first : last + 1])
    return code_cycles(turn, timing, context=turn, jumped=True)


@lru_cache(maxsize=16)
def frame_cycles(timing: Timing) -> float:
    """Return the modelled cycles of saving and restoring all registers around a function.

    A caller moves its arguments just before, by instructions of 16 bits, in which fetching catches up.
    """
    arguments = [parse(f"mov r{number}, r{number + 4}") for number in range(4)]
    return timing.cost(arguments, [parse("push {r4-r11, lr}"), parse("pop {r4-r11, pc}")])


def _quote(line: str) -> str:
    return line.replace('"', '\\"')
