"""Which of two banks of words a load reads, as far as its base register tells.

A bank holds the even words, another the odd ones. Two addresses that come from one register are compared; those of
different registers are not known.
"""

from __future__ import annotations

import re
from functools import lru_cache

from utvm.cores.instruction import Instruction, Kind

_OFFSET = re.compile(r"#(-?(?:0x[0-9a-fA-F]+|\d+))")


class Banks:
    """Where each register points, as (origin, offset in bytes), followed through code in order."""

    def __init__(self) -> None:
        self._places: dict[str, tuple[object, int]] = {}
        self._fresh = 0

    def of(self, access: Instruction) -> tuple[object, int] | None:
        """Return (origin, bank) of what a load reads; two banks of one origin are different words."""
        found = self.address(access)
        return None if found is None else (found[0], bank_of(found[1]))

    def address(self, access: Instruction) -> tuple[object, int] | None:
        """Return (origin, bytes from there) of what is read or written; None where the text does not tell."""
        if access.register_offset or not access.address:
            return None
        origin, place = self._place(access.address[0])
        return origin, place + _access(access.text)[0]

    def follow(self, instruction: Instruction) -> None:
        """Take note of what an instruction does to registers."""
        moved: tuple[str, tuple[object, int]] | None = None
        if instruction.updates_base and instruction.address and not instruction.register_offset:
            base = instruction.address[0]
            origin, place = self._place(base)
            moved = base, (origin, place + _access(instruction.text)[1])
        elif instruction.kind is Kind.ALU and len(instruction.reads) == 1 and not instruction.conditional:
            step = _step(instruction.text)
            if step is not None and instruction.writes:
                origin, place = self._place(instruction.reads[0])
                moved = instruction.writes[0], (origin, place + step)
        for name in instruction.writes:
            self._fresh += 1
            self._places[name] = (self._fresh, 0)
        if moved is not None:
            self._places[moved[0]] = moved[1]

    def _place(self, register: str) -> tuple[object, int]:
        return self._places.get(register, (register, 0))


def bank_of(address: int) -> int:
    """Return the bank of an address, 0 or 1."""
    return (address >> 2) & 1


@lru_cache(maxsize=65536)
def _access(text: str) -> tuple[int, int]:
    """Return the offset at which an access reads, and what it adds to its base."""
    inside, _, after = text.partition("[")[2].partition("]")
    offset, later = _number(inside), _number(after)
    return offset, offset if after.strip().startswith("!") else later


@lru_cache(maxsize=65536)
def _step(text: str) -> int | None:
    """Return what an addition or subtraction of a constant adds, None for everything else."""
    name = text.partition(" ")[0]
    if not name.startswith(("add", "sub")) or "#" not in text:
        return None
    return _number(text) if name.startswith("add") else -_number(text)


def _number(text: str) -> int:
    found = _OFFSET.search(text)
    return 0 if found is None else int(found.group(1), 0)
