"""A linked program: bytes at addresses, symbols, sizes."""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.construct import ConstructError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from utvm.toolchain.disassembly import disassembled_frame
from utvm.toolchain.lines import LineTable
from utvm.toolchain.source import ToolchainError
from utvm.toolchain.stack import CallGraph, Frame, StackBound

_STACK_POINTERS = {"EM_XTENSA": "a1"}
"""What disassemblers call the stack pointer, where it is not `sp`."""
_WRITE, _ALLOC, _EXECUTE = 1, 2, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A section that occupies target memory. `data` is None where it is zero-filled or left as it is (stack)."""

    name: str
    address: int
    size: int
    data: bytes | None
    executable: bool
    writable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Symbol:
    """A name in the program. Function addresses are without the Thumb bit; size in bytes."""

    name: str
    address: int
    size: int
    is_function: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """Where an instruction came from."""

    function: str
    file: str | None
    line: int | None

    def __str__(self) -> str:
        return self.function if self.file is None else f"{self.function} at {self.file}:{self.line}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Image:
    """A linked program. `path` is its ELF file, `tool_prefix` the toolchain that made it,
    `machine` the `e_machine` that it says.

    Example:
        image = utvm.build_c("qemu-cortex-m7", {"twice.c": "int twice(int x) { return 2 * x; }"}, entry="twice")
        print(image.flash_bytes, image.symbol("twice").address)
    """

    path: Path
    tool_prefix: str
    machine: str
    entry: int
    sections: tuple[Section, ...]
    symbols: Mapping[str, Symbol]
    link_map: str
    call_graph: CallGraph

    def __repr__(self) -> str:
        """One line, without symbols and link map."""
        return f"Image({self.path.name!r}, {self.machine}, flash {self.flash_bytes:,} B, {len(self.symbols)} symbols)"

    @staticmethod
    def read(path: Path, *, tool_prefix: str, link_map: str = "", call_graph: CallGraph | None = None) -> Image:
        """Read an ELF file.

        Raises:
            ToolchainError: it is not a 32-bit ELF file.
        """
        try:
            with path.open("rb") as file:
                elf = ELFFile(file)
                if elf.elfclass != 32 or elf["e_type"] != "ET_EXEC":
                    raise ELFError("it is not a linked program for a 32-bit core")
                machine = str(elf["e_machine"])
                thumb = machine == "EM_ARM"
                sections = tuple(_sections(elf))
                symbols = {symbol.name: symbol for symbol in _symbols(elf, thumb)}
                entry = elf["e_entry"] & ~1 if thumb else elf["e_entry"]
        except (OSError, ELFError, ConstructError) as error:
            raise ToolchainError(f"{path} can't be read as an ELF file: {error}") from error
        return Image(
            path=path,
            tool_prefix=tool_prefix,
            machine=machine,
            entry=entry,
            sections=sections,
            symbols=symbols,
            link_map=link_map,
            call_graph=call_graph or CallGraph(frames={}),
        )

    def symbol(self, name: str) -> Symbol:
        """Return a symbol.

        Raises:
            ToolchainError: the program has none of that name.
        """
        if name not in self.symbols:
            raise ToolchainError(f"the image has no symbol '{name}'")
        return self.symbols[name]

    def function_bytes(self, name: str) -> int:
        """Return the size of a function; the compiler may have specialised it under its name and a suffix."""
        return sum(s.size for s in self.symbols.values() if s.name == name or s.name.startswith(f"{name}."))

    @property
    def code_bytes(self) -> int:
        """Bytes of executable sections."""
        return sum(s.size for s in self.sections if s.executable and s.data is not None)

    @property
    def constant_bytes(self) -> int:
        """Bytes of constants."""
        return sum(s.size for s in self.sections if not s.executable and not s.writable and s.data is not None)

    @property
    def data_bytes(self) -> int:
        """Bytes of initialised variables."""
        return sum(s.size for s in self.sections if s.writable and not s.executable and s.data is not None)

    @property
    def flash_bytes(self) -> int:
        """What a product stores: code, constants, initial values. Room that only aligns traps is left out."""
        traps = sum(s.size for s in self.sections if s.name == ".traps")
        return self.code_bytes + self.constant_bytes + self.data_bytes - traps

    @property
    def zero_bytes(self) -> int:
        """Bytes of zero-filled variables, the stack left out."""
        return sum(s.size for s in self.sections if s.data is None and s.name != ".stack")

    def worst_stack(self, function: str) -> StackBound:
        """Return the most stack that a call of `function` can need, its own frame included.

        What the compiler did not describe (assembler, its library) is disassembled.

        Raises:
            ToolchainError: there is no such function, or there is no bound: recursion, a call through a pointer, or
                a frame of variable size.
        """
        self.symbol(function.rpartition(":")[2])
        return self.call_graph.bound(function, self._disassembled)

    def _disassembled(self, name: str) -> Frame:
        symbol = self.symbols.get(name.rpartition(":")[2])
        if symbol is None:
            return Frame(size=0)  # the compiler names it, but took the call out later: nothing of it is linked
        # Of functions with the same instructions the compiler keeps one, under all of their names, and describes that.
        file = name.rpartition(":")[0]
        twins = [s.name for s in self._functions if s.address == symbol.address and s.name != symbol.name]
        for twin in (f"{file}:{other}" if file else other for other in twins):
            if twin in self.call_graph.frames:
                return self.call_graph.frames[twin]
        start, size = symbol.address, symbol.size
        if not size:
            later = [symbol.address for symbol in self._functions if symbol.address > start]
            size = min(later, default=start) - start
        pointer = _STACK_POINTERS.get(self.machine, "sp")
        return disassembled_frame(self.path, self.tool_prefix, name, start, start + size, stack_pointer=pointer)

    @cached_property
    def _functions(self) -> list[Symbol]:
        return sorted((s for s in self.symbols.values() if s.is_function), key=lambda s: s.address)

    def locate(self, pc: int) -> Location | None:
        """Return the function, file and line of an address, or None outside the program's functions."""
        starts = [symbol.address for symbol in self._functions]
        position = bisect.bisect_right(starts, pc) - 1
        if position < 0:
            return None
        symbol = self._functions[position]
        if pc >= symbol.address + max(symbol.size, 2):
            return None
        file, line = self._lines.find(symbol.address, symbol.size, pc) or (None, None)
        return Location(function=symbol.name, file=file, line=line)

    @cached_property
    def _lines(self) -> LineTable:
        return LineTable.read(self.path)


def _sections(elf: ELFFile) -> list[Section]:
    found = []
    for section in elf.iter_sections():
        flags, size = section["sh_flags"], section["sh_size"]
        if not flags & _ALLOC or not size:
            continue
        found.append(
            Section(
                name=section.name,
                address=section["sh_addr"],
                size=size,
                data=None if section["sh_type"] == "SHT_NOBITS" else section.data(),
                executable=bool(flags & _EXECUTE),
                writable=bool(flags & _WRITE),
            )
        )
    return found


def _symbols(elf: ELFFile, thumb: bool) -> list[Symbol]:
    table = elf.get_section_by_name(".symtab")
    if not isinstance(table, SymbolTableSection):
        return []
    found = []
    for symbol in table.iter_symbols():
        if not symbol.name or symbol.name.startswith("$") or symbol["st_info"]["type"] in ("STT_FILE", "STT_SECTION"):
            continue
        is_function = symbol["st_info"]["type"] == "STT_FUNC"
        address = symbol["st_value"]
        if is_function and thumb:
            address &= ~1
        found.append(Symbol(name=symbol.name, address=address, size=symbol["st_size"], is_function=is_function))
    return found
