"""A straight-line block of instructions over virtual registers, and what must come before what."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from utvm.cores.thumb import Instruction, Kind, parse

_VIRTUAL = re.compile(r"%(\w+)")
_MEMORY = frozenset(
    {
        Kind.LOAD,
        Kind.LOAD_NARROW,
        Kind.LOAD_DOUBLE,
        Kind.LOAD_MULTIPLE,
        Kind.STORE,
        Kind.STORE_DOUBLE,
        Kind.STORE_MULTIPLE,
        Kind.VECTOR_LOAD,
        Kind.VECTOR_STORE,
        Kind.GATHER,
        Kind.GATHER_HALVES,
        Kind.GATHER_BYTES,
        Kind.SCATTER,
    }
)
_STORES = frozenset({Kind.STORE, Kind.STORE_DOUBLE, Kind.STORE_MULTIPLE, Kind.VECTOR_STORE, Kind.SCATTER})


class Block:
    """Instructions in a legal order. Registers written `%name` are virtual; all others are physical.

    Memory accesses through different base registers are taken to be of different objects; through one base they keep
    their order if one is a store and the offsets are equal or unknown.
    """

    def __init__(self, lines: Iterable[str] = ()) -> None:
        self.lines: list[str] = list(lines)
        self._code: list[Instruction] = []

    def __call__(self, *lines: str) -> None:
        """Append instructions, one a line."""
        self.lines.extend(lines)

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def code(self) -> list[Instruction]:
        """The instructions, parsed when they are first asked for: a block whose schedule is known never is.

        Raises:
            UnknownInstructionError: a mnemonic is not known.
        """
        self._code.extend(parse(line) for line in self.lines[len(self._code) :])
        return self._code

    def dependencies(self) -> list[set[int]]:
        """Return, for each instruction, the indices of those that must be issued before it."""
        code = self.code
        before: list[set[int]] = [set() for _ in code]
        writer: dict[str, int] = {}
        readers: dict[str, list[int]] = {}
        accesses: dict[str, list[tuple[int, str | None, bool]]] = {}
        for index, instruction in enumerate(code):
            for name in instruction.uses:
                if name in writer:
                    before[index].add(writer[name])
                readers.setdefault(name, []).append(index)
            for name in instruction.writes:
                before[index].update(readers.get(name, ()))
                if name in writer:
                    before[index].add(writer[name])
                writer[name] = index
                readers[name] = []
            if instruction.kind in _MEMORY and instruction.address:
                self._order_memory(index, instruction, accesses, before)
            before[index].discard(index)
        return before

    def _order_memory(
        self,
        index: int,
        instruction: Instruction,
        accesses: dict[str, list[tuple[int, str | None, bool]]],
        before: list[set[int]],
    ) -> None:
        base, offset = instruction.address[0], _offset(instruction)
        store = instruction.kind in _STORES
        for other, place, stored in accesses.get(base, ()):
            if (store or stored) and (offset is None or place is None or offset == place):
                before[index].add(other)
        accesses.setdefault(base, []).append((index, offset, store))


def virtual_names(instruction: Instruction) -> set[str]:
    """Return the virtual registers of an instruction, with their `%`."""
    return {f"%{name}" for name in _VIRTUAL.findall(instruction.text)}


def rename(text: str, registers: dict[str, str]) -> str:
    """Return `text` with each virtual register replaced by its physical one."""
    return _VIRTUAL.sub(lambda match: registers[match.group(0)], text)


def _offset(instruction: Instruction) -> str | None:
    """Return the constant offset of an access, or None where it moves its base or is not known."""
    inside = instruction.text.partition("[")[2]
    if not inside or instruction.updates_base or instruction.register_offset:
        return None
    return inside.partition("]")[0].partition(",")[2].strip() or "#0"


def physical(lines: Sequence[str]) -> list[Instruction]:
    """Return lines of physical code parsed."""
    return [parse(line) for line in lines]
