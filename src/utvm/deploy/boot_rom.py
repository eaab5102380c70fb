"""What the boot ROMs of parts look for in flash before they start a program there."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from utvm.boards import Board
from utvm.deploy.runtime_files import runtime_source
from utvm.errors import UtvmError
from utvm.toolchain import LinkLayout, Region, Source, Toolchain

UF2_FAMILIES: Mapping[str, int] = {"rp2040": 0xE48BFF56, "rp2350": 0xE48BFF59}
"""What boot ROMs that take UF2 files call themselves; of the RP2350 for secure Arm code (RP2350 Datasheet, 5.5.3)."""
SECOND_STAGE_BYTES = 256
_SUM_BYTES = 4
_POLYNOMIAL = 0x04C11DB7
# Where the RP2040's ROM copies the second stage, and RAM that it does not need (RP2040 Datasheet, 2.8.1.3).
_STAGE = Region(name="stage", origin=0x20041F00, length=SECOND_STAGE_BYTES - _SUM_BYTES)
_UNUSED = Region(name="unused", origin=0x20040000, length=1024)


def boot_sources(board: Board, toolchain: Toolchain) -> tuple[Source, ...]:
    """Return what a firmware of a board needs besides, to be found by the part's boot ROM.

    Raises:
        ToolchainError: the compiler is missing.
    """
    if board.boot_rom == "rp2350":
        return (runtime_source("boot_rp2350.c"),)
    if board.boot_rom == "rp2040":
        return (_second_stage(toolchain),)
    return ()


def checksum_rp2040(data: bytes) -> int:
    """Return the sum that the RP2040's ROM computes: CRC-32, most significant bit first, all ones at first."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (_POLYNOMIAL if crc & 1 << 31 else 0)) & 0xFFFFFFFF
    return crc


def _second_stage(toolchain: Toolchain) -> Source:
    """Return the second stage as a constant: built for the RAM that it is copied to, with its sum behind it."""
    layout = LinkLayout(code=_STAGE, constants=_STAGE, data=_UNUSED, stack_bytes=0)
    image = toolchain.build([runtime_source("stage_rp2040.c")], layout, entries=["utvm_second_stage"])
    code = b"".join(section.data for section in image.sections if section.data is not None and section.name == ".text")
    if image.symbol("utvm_second_stage").address != _STAGE.origin or len(code) > _STAGE.length:
        raise UtvmError(f"the second stage of the RP2040 has {len(code)} bytes, or does not begin with its function")
    padded = code.ljust(_STAGE.length, b"\0")
    words = struct.unpack(f"<{SECOND_STAGE_BYTES // 4}I", padded + struct.pack("<I", checksum_rp2040(padded)))
    rows = "\n".join(
        "    " + " ".join(f"0x{word:08X}u," for word in words[start : start + 8]) for start in range(0, len(words), 8)
    )
    name = f"utvm_second_stage[{len(words)}]"
    text = (
        "/* The second stage of the boot (stage_rp2040.c), built for where the ROM copies it to, and its sum. */\n"
        f"#include <stdint.h>\n\nextern const uint32_t {name};\n\n"
        f'__attribute__((used, section(".second_stage"))) const uint32_t {name} = {{\n{rows}\n}};\n'
    )
    return Source(name="utvm_second_stage.c", text=text)
