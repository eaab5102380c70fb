"""Source lines of addresses, from an ELF file's debug information (DWARF 5, section 6.2)."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elftools.common.exceptions import ELFError
from elftools.construct import ConstructError
from elftools.elf.elffile import ELFFile

Row = tuple[int, str, int]
"""Address, file, line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineTable:
    """The rows of each function's code, by its first address and its size in bytes.

    Both are needed: the linker leaves the lines of functions that it dropped, at address 0, where others may be.
    """

    functions: Mapping[tuple[int, int], tuple[Row, ...]]

    @staticmethod
    def read(path: Path) -> LineTable:
        """Read the line table of an ELF file; it is empty if there is none, or if it can't be read."""
        functions: dict[tuple[int, int], tuple[Row, ...]] = {}
        try:
            with path.open("rb") as file:
                elf = ELFFile(file)
                if elf.has_dwarf_info():
                    for rows, end in _sequences(elf.get_dwarf_info()):
                        functions[rows[0][0], end - rows[0][0]] = rows
        except (OSError, ELFError, ConstructError):
            return LineTable(functions={})
        return LineTable(functions=functions)

    def find(self, start: int, size: int, pc: int) -> tuple[str, int] | None:
        """Return file and line of `pc` in the function at `start`."""
        rows = self.functions.get((start, size))
        if rows is None:
            return None
        position = bisect.bisect_right(rows, pc, key=lambda row: row[0]) - 1
        _, file, line = rows[max(position, 0)]
        return file, line


def _sequences(dwarf: Any) -> Iterator[tuple[tuple[Row, ...], int]]:
    """Give each sequence of rows of rising addresses and the address after it."""
    for unit in dwarf.iter_CUs():
        program = dwarf.line_program_for_CU(unit)
        if program is None:
            continue
        files = program["file_entry"]
        first = 0 if program["version"] >= 5 else 1
        rows: list[Row] = []
        for entry in program.get_entries():
            state = entry.state
            if state is None:
                continue
            if state.end_sequence:
                if rows:
                    yield tuple(rows), state.address
                rows = []
            elif state.line and 0 <= state.file - first < len(files):
                rows.append((state.address, Path(files[state.file - first].name.decode()).name, state.line))
