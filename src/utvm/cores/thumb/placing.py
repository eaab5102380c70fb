"""Where instructions lie: 32-bit loads kept at multiples of 4, by longer encodings of instructions before them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from utvm.cores.instruction import Instruction, Kind
from utvm.cores.thumb.instruction import parse

_WORD = 4
_LOADS = frozenset({Kind.LOAD, Kind.LOAD_NARROW})
_KEPT = frozenset({Kind.IT, Kind.NOP, Kind.BRANCH, Kind.CALL, Kind.RETURN, Kind.LOAD_MULTIPLE, Kind.STORE_MULTIPLE})


def with_loads_at_words(lines: Sequence[str]) -> list[str]:
    """Return code that begins at a multiple of 4 with each 32-bit load at one too, where `.w` can bring that about.

    A 16-bit instruction is written long only where a load behind it would lie off a word otherwise.
    """
    placed, address, short = list(lines), 0, -1
    for index, line in enumerate(lines):
        instruction = parse(line)
        if instruction.kind in _LOADS and instruction.size == _WORD and address % _WORD and short >= 0:
            name, _, operands = placed[short].partition(" ")
            placed[short] = f"{name}.w {operands}"
            address += _WORD // 2
        if instruction.size < _WORD:
            short = index if instruction.kind not in _KEPT else -1
        address += instruction.size
    return placed


def to_word(before: Sequence[str]) -> tuple[str, ...]:
    """Return the directive that brings code to a word behind code that begins at one, if that does not end there."""
    return (f".balign {_WORD}",) if sum(parse(line).size for line in before) % _WORD else ()


def placed(lines: Sequence[str]) -> list[Instruction]:
    """Return code that begins at a multiple of 4, parsed; each instruction knows whether it lies off a word."""
    found, address = [], 0
    for line in lines:
        instruction = parse(line)
        found.append(replace(instruction, off_word=instruction.size == _WORD and bool(address % _WORD)))
        address += instruction.size
    return found
