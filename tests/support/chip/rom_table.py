"""The ROM table and the identification blocks of the components that it lists (Arm IHI 0029, CoreSight)."""

from __future__ import annotations

from tests.support.chip.parts import Component, Part

ROM_BASE = 0xE00FF000
_ARM = 0x43B
_PRESENT = 3


def identification_words(part: Part) -> dict[int, int]:
    """Return the words of the ROM table and of every component's identification block, by address."""
    words = {}
    for position, component in enumerate(part.components):
        words[ROM_BASE + 4 * position] = (component.base - ROM_BASE) & 0xFFFFF000 | _PRESENT
    table = Component(base=ROM_BASE, part_number=part.rom_part_number, component_class=1)
    for component in (table, *part.components):
        words |= _identify(component)
    words[ROM_BASE + 0xFCC] = 1  # MEMTYPE: system memory is on this bus too
    return words


def _identify(component: Component) -> dict[int, int]:
    words = {
        component.base + 0xFF0 + 4 * position: byte
        for position, byte in enumerate((0x0D, component.component_class << 4, 0x05, 0xB1))
    }
    # Four-bit JEP106 continuation code 4, identity code 0x3B, part number (IHI 0029, B2.2.2).
    peripheral = 4 << 32 | 1 << 19 | (_ARM & 0x7F) << 12 | component.part_number
    for position in range(8):
        offset = 0xFE0 + 4 * position if position < 4 else 0xFD0 + 4 * (position - 4)
        words[component.base + offset] = peripheral >> 8 * position & 0xFF
    if component.architecture:
        words[component.base + 0xFBC] = 0x23B << 21 | 1 << 20 | component.architecture
    return words
