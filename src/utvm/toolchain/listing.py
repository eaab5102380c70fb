"""The instructions of an image by address, as the disassembler prints them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping

from utvm.toolchain.image import Image
from utvm.toolchain.source import ToolchainError

_SECONDS = 60
_LINE = re.compile(r"^ *(?P<address>[0-9a-f]+):\t(?P<name>[a-z]\S*)(?:[ \t]+(?P<operands>[^;@\n<]*))?", re.MULTILINE)
_UNDEFINED = re.compile(
    r"^ *(?P<address>[0-9a-f]+):\t.*<UNDEFINED> instruction: 0x(?P<code>[0-9a-f]{4,8})\b", re.MULTILINE
)
_SELECT, _SELECT_MASK = 0xEA508000, 0xFFF08000
"""CSEL and its kin of Armv8.1-M (Arm DDI 0553, C2.4.32), which older disassemblers do not know."""


def instruction_listing(image: Image) -> Mapping[int, str]:
    """Return address → instruction text for all code of `image`, without comments and symbolic targets.

    What can't be decoded is `undefined`, so that no instruction is missing.

    Raises:
        ToolchainError: the image can't be disassembled.
    """
    command = [f"{image.tool_prefix}objdump", "-d", "--no-show-raw-insn", str(image.path)]
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


def _decoded(code: int) -> str:
    """Return the text of an instruction that the disassembler does not know: `undefined`, unless we do."""
    if code & _SELECT_MASK == _SELECT:
        registers = (code >> 8 & 15, code >> 16 & 15, code & 15)
        return "csel " + ", ".join(f"r{number}" for number in registers)
    return "undefined"
