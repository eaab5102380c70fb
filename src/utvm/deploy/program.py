"""An ELF file as a programmer of boards sees it: what goes where, which core it is for, and whose firmware it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import ARMAttributesSection, SymbolTableSection

from utvm.cores import Core
from utvm.deploy.firmware import BOARD_SYMBOL, FirmwareError
from utvm.toolchain import Segment, load_segments

_LONGEST_NAME = 256
# Tag_CPU_arch (Addenda to the Arm ABI, section 3.3.5.2) of code that a core of an architecture runs.
_V6M, _V7M, _V7EM, _V8M, _V81M = (11, 12), (10,), (13,), (16, 17), (21,)
_RUNS: Mapping[str, tuple[int, ...]] = {
    "armv6-m": _V6M,
    "armv7-m": (*_V6M, *_V7M),
    "armv7e-m": (*_V6M, *_V7M, *_V7EM),
    "armv8-m.main": (*_V6M, *_V7M, *_V7EM, *_V8M),
    "armv8.1-m.main": (*_V6M, *_V7M, *_V7EM, *_V8M, *_V81M),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkedProgram:
    """A linked program. `board` is the one that its firmware was made for, None if it does not say.

    `arm_architecture` is the Tag_CPU_arch of Arm code, None for other machines' and where it is not said.
    """

    path: Path
    segments: tuple[Segment, ...]
    machine: str
    arm_architecture: int | None
    board: str | None

    def runs_on(self, core: Core) -> bool:
        """Return whether a core can execute it."""
        known = _RUNS.get(core.architecture)
        fits = known is None or self.arm_architecture is None or self.arm_architecture in known
        return self.machine == core.isa.elf_machine and fits


def read_program(path: Path) -> LinkedProgram:
    """Read an ELF file.

    Raises:
        FirmwareError: it can't be read, is none, or loads nothing.
    """
    try:
        segments = load_segments(path)
        with path.open("rb") as file:
            elf = ELFFile(file)
            program = LinkedProgram(
                path=path,
                segments=segments,
                machine=str(elf["e_machine"]),
                arm_architecture=_arm_architecture(elf),
                board=_board(elf, segments),
            )
    except OSError as error:
        raise FirmwareError(f"{path} can't be read: {error.strerror}") from error
    except ELFError as error:
        raise FirmwareError(f"{path} is no ELF file: {error}") from error
    if not segments:
        raise FirmwareError(f"{path} loads nothing: is it an object file?")
    return program


def _arm_architecture(elf: ELFFile) -> int | None:
    section = elf.get_section_by_name(".ARM.attributes")
    if not isinstance(section, ARMAttributesSection):
        return None
    for attributes in section.subsections:
        for scope in attributes.subsubsections:
            for attribute in scope.iter_attributes("TAG_CPU_ARCH"):
                return int(attribute.value)
    return None


def _board(elf: ELFFile, segments: tuple[Segment, ...]) -> str | None:
    table = elf.get_section_by_name(".symtab")
    if not isinstance(table, SymbolTableSection):
        return None
    for symbol in table.get_symbol_by_name(BOARD_SYMBOL) or ():
        address = symbol["st_value"]
        for segment in segments:
            if segment.address <= address < segment.end:
                start = address - segment.address
                name, _, _ = segment.data[start : start + _LONGEST_NAME].partition(b"\0")
                return name.decode("utf-8", "replace")
    return None
