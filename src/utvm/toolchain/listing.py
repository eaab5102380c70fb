"""The instructions of an image by address, as the disassembler prints them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.construct import ConstructError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import ARMAttributesSection

from utvm.toolchain.image import Image
from utvm.toolchain.source import ToolchainError

_SECONDS = 60
_LINE = re.compile(r"^ *(?P<address>[0-9a-f]+):\t(?P<name>[a-z]\S*)(?:[ \t]+(?P<operands>[^;@\n<]*))?", re.MULTILINE)
_UNDEFINED = re.compile(
    r"^ *(?P<address>[0-9a-f]+):\t.*<UNDEFINED> instruction: 0x(?P<code>[0-9a-f]{4,8})\b", re.MULTILINE
)
_SELECT, _SELECT_MASK = 0xEA508000, 0xFFF08000
"""CSEL and its kin of Armv8.1-M (Arm DDI 0553, C2.4.32), which older disassemblers do not know."""

_ARMV8_1_M = 21
"""Tag_CPU_arch of Armv8.1-M mainline (Arm IHI 0045, section 3.3.5.2)."""


def instruction_listing(image: Image) -> Mapping[int, str]:
    """Return address → instruction text for all code of `image`, without comments and symbolic targets.

    What can't be decoded is `undefined`, so that no instruction is missing.

    Raises:
        ToolchainError: the image can't be disassembled.
    """
    command = [f"{image.tool_prefix}objdump", "-d", "--no-show-raw-insn", *_machine(image.path), str(image.path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise ToolchainError(f"{image.path} can't be disassembled: {error}") from error
    listing = {
        int(line["address"], 16): f"{line['name']} {(line['operands'] or '').strip()}".strip()
        for line in _LINE.finditer(done.stdout)
    }
    for line in _UNDEFINED.finditer(done.stdout):
        listing[int(line["address"], 16)] = _decoded(int(line["code"], 16))
    return listing


def _machine(path: Path) -> tuple[str, ...]:
    """Return options for code of Armv8.1-M, whose vector instructions GNU objdump takes for coprocessor ones."""
    try:
        with path.open("rb") as file:
            section = ELFFile(file).get_section_by_name(".ARM.attributes")
            parts = section.iter_subsections() if isinstance(section, ARMAttributesSection) else ()
            tags = [tag for part in parts for inner in part.iter_subsubsections() for tag in inner.iter_attributes()]
    except (OSError, ELFError, ConstructError):
        return ()
    newest = any(tag.tag == "TAG_CPU_ARCH" and tag.value == _ARMV8_1_M for tag in tags)
    return ("-m", "armv8.1-m.main") if newest else ()


def _decoded(code: int) -> str:
    """Return the text of an instruction that the disassembler does not know: `undefined`, unless we do."""
    if code & _SELECT_MASK == _SELECT:
        registers = (code >> 8 & 15, code >> 16 & 15, code & 15)
        return "csel " + ", ".join(f"r{number}" for number in registers)
    return "undefined"
