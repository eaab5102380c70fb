"""Pieces of assembler that all micro-kernels of the vector extension have."""

from __future__ import annotations

from collections.abc import Sequence

from utvm.kernels.dsp.assembly import MAX_OFFSET


def framed(frame: int, lines: Sequence[str]) -> list[str]:
    """Return the lines of a function that saves all registers, with a stack frame of `frame` bytes around `lines`."""
    assert frame % 8 == 4, "nine registers are saved, and sp stays aligned to 8 bytes"
    return [
        "push {r4-r11, lr}",
        "vpush {d8-d15}",
        f"sub sp, sp, #{frame}",
        *lines,
        f"add sp, sp, #{frame}",
        "vpop {d8-d15}",
        "pop {r4-r11, pc}",
    ]


def constant(register: str, value: int) -> list[str]:
    """Return the moves of 32 bits into a register."""
    bits = value & 0xFFFFFFFF
    return [f"movw {register}, #{bits & 0xFFFF}", *([f"movt {register}, #{bits >> 16}"] if bits >> 16 else [])]


def move(register: str, by: int) -> list[str]:
    """Return the additions that move an address by any number of bytes."""
    lines, name, left = [], "add" if by > 0 else "sub", abs(by)
    while left > MAX_OFFSET:
        # A constant of eight bits at any place.
        place = max(left.bit_length() - 8, 0)
        part = left >> place << place
        lines.append(f"{name}.w {register}, {register}, #{part}")
        left -= part
    return [*lines, f"{name}w {register}, {register}, #{left}"] if left else lines
