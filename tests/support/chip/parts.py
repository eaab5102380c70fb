"""The chips that are simulated: identification registers and memory maps, as the reference manuals give them.

Sources: the cores' technical reference manuals (DDI 0489 Cortex-M7, DDI 0439 Cortex-M4, 100230 Cortex-M33) for CPUID,
feature and CoreSight identification registers; ST's RM0433 (STM32H743), RM0432 (STM32L4R5) and RM0456 (STM32U575) for
the memory maps, TAP and debug port identifiers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

FLASH = 0x08000000


@dataclass(frozen=True, slots=True, kw_only=True)
class Bank:
    """A memory. Bytes. Flash can be read and executed, and a write to it is a bus error.

    `alias_of` is the name of an earlier bank whose bytes are seen here too.
    """

    name: str
    origin: int
    length: int
    writable: bool = True
    alias_of: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """A CoreSight component of the private peripheral bus: its base address and what identifies it."""

    base: int
    part_number: int
    component_class: int
    architecture: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A chip.

    Attributes:
        core: the name of the core, as debuggers print it.
        unicorn_model: the name of Unicorn's CPU model.
        idcode: what the TAP shifts out in IDCODE. dpidr, ap_idr, ap_base: of the debug port and its access port 0.
        identification: read-only registers of the system control space, by address.
        breakpoint_control: FP_CTRL at reset; `breakpoints_anywhere`: comparators hold whole addresses (version 2 of
            the unit), else they reach only the code region below 0x20000000.
        components: what the ROM table lists.
        instruction_cache: whether it is there to hold stale code.
        increment_bytes: the block within which the access port increments addresses; it wraps at the end.
        dwt_lock: whether software must unlock the DWT before it writes there.
        v8: whether the debug registers are Armv8-M's.
        peripherals: which are simulated besides (see `part_peripherals`); None leaves their addresses empty.
    """

    core: str
    unicorn_model: str
    idcode: int
    dpidr: int
    ap_idr: int
    ap_base: int
    banks: tuple[Bank, ...]
    identification: Mapping[int, int]
    breakpoint_control: int
    components: tuple[Component, ...]
    rom_part_number: int
    breakpoints_anywhere: bool = True
    instruction_cache: bool = False
    increment_bytes: int = 0x400
    dwt_lock: bool = False
    v8: bool = False
    reset_vectors: int = field(default=FLASH)
    peripherals: str | None = None


_CPUID, _ICTR, _PFR0, _CLIDR, _CTR, _CCSIDR, _MVFR0 = (
    0xE000ED00, 0xE000E004, 0xE000ED40, 0xE000ED78, 0xE000ED7C, 0xE000ED80, 0xE000EF40,
)  # fmt: skip
# PFR0 to ISAR4: processor, debug, memory model and instruction set features.
_V7_FEATURES = (0x30, 0x200, 0x00100000, 0, 0x00100030, 0, 0x01000000, 0, 0x01101110, 0x02112000, 0x20232231,
                0x01111131, 0x01310132)  # fmt: skip
_V8_FEATURES = (0x30, 0x200, 0x00200000, 0, 0x00101F40, 0, 0x01000000, 0, 0x01101110, 0x02212000, 0x20232232,
                0x01111131, 0x01310132)  # fmt: skip


def _identification(cpuid: int, features: tuple[int, ...], fpu: tuple[int, int, int], caches: bool) -> dict[int, int]:
    words = {_CPUID: cpuid, _ICTR: 3}
    words |= {_PFR0 + 4 * position: word for position, word in enumerate(features)}
    words |= {_MVFR0 + 4 * position: word for position, word in enumerate(fpu)}
    if caches:
        words |= {_CLIDR: 0x09000003, _CTR: 0x8303C003, _CCSIDR: 0xF01FE019}
    return words


_SINGLE, _DOUBLE = (0x10110021, 0x11000011, 0x40), (0x10110221, 0x12000011, 0x40)
_SCS, _DWT, _FPB, _GENERIC, _CORESIGHT = 0xE000E000, 0xE0001000, 0xE0002000, 0xE, 0x9

_V7_COMPONENTS = (
    Component(base=_SCS, part_number=0x00C, component_class=_GENERIC),
    Component(base=_DWT, part_number=0x002, component_class=_GENERIC),
    Component(base=_FPB, part_number=0x00E, component_class=_GENERIC),
)
_V8_COMPONENTS = (
    Component(base=_SCS, part_number=0xD21, component_class=_CORESIGHT, architecture=0x2A04),
    Component(base=_DWT, part_number=0xD21, component_class=_CORESIGHT, architecture=0x1A02),
    Component(base=_FPB, part_number=0xD21, component_class=_CORESIGHT, architecture=0x1A03),
)

_CORES: Mapping[str, Part] = {
    "cortex-m7": Part(
        core="Cortex-M7",
        unicorn_model="CORTEX_M7",
        idcode=0x6BA00477,
        dpidr=0x6BA02477,
        ap_idr=0x84770001,
        ap_base=0xE00FF003,
        banks=(
            Bank(name="itcm", origin=0x00000000, length=0x10000),
            Bank(name="flash", origin=FLASH, length=0x200000, writable=False),
            Bank(name="dtcm", origin=0x20000000, length=0x20000),
            Bank(name="axi_sram", origin=0x24000000, length=0x80000),
            Bank(name="sram1", origin=0x30000000, length=0x48000),
        ),
        identification=_identification(0x411FC271, _V7_FEATURES, _DOUBLE, caches=True),
        breakpoint_control=0x10000080,
        components=_V7_COMPONENTS,
        rom_part_number=0x4C7,
        instruction_cache=True,
        dwt_lock=True,
    ),
    "cortex-m4": Part(
        core="Cortex-M4",
        unicorn_model="CORTEX_M4",
        idcode=0x4BA00477,
        dpidr=0x2BA01477,
        ap_idr=0x24770011,
        ap_base=0xE00FF003,
        banks=(
            Bank(name="flash", origin=FLASH, length=0x200000, writable=False),
            Bank(name="sram2", origin=0x10000000, length=0x10000),
            Bank(name="sram1", origin=0x20000000, length=0x30000),
            Bank(name="sram3", origin=0x20040000, length=0x60000),
        ),
        identification=_identification(0x410FC241, _V7_FEATURES, (*_SINGLE[:2], 0), caches=False),
        breakpoint_control=0x00000260,
        components=(*_V7_COMPONENTS[:2], Component(base=_FPB, part_number=0x003, component_class=_GENERIC)),
        rom_part_number=0x4C4,
        breakpoints_anywhere=False,
        increment_bytes=0x1000,
    ),
    "cortex-m33": Part(
        core="Cortex-M33",
        unicorn_model="CORTEX_M33",
        idcode=0x0BA04477,
        dpidr=0x0BE12477,
        ap_idr=0x84770015,
        ap_base=0xE00FF003,
        banks=(
            Bank(name="flash", origin=FLASH, length=0x200000, writable=False),
            Bank(name="sram1", origin=0x20000000, length=0x30000),
            Bank(name="sram2", origin=0x20030000, length=0x10000),
            Bank(name="sram3", origin=0x20040000, length=0x80000),
        ),
        identification=_identification(0x410FD214, _V8_FEATURES, _SINGLE, caches=False),
        breakpoint_control=0x10000080,
        components=_V8_COMPONENTS,
        rom_part_number=0x4C9,
        v8=True,
    ),
}
"""By the name of the core, as `utvm` names it."""


def _whole(core: str, name: str, idcode: tuple[int, int], banks: tuple[Bank, ...]) -> Part:
    """Return a part with its peripherals: its core, where DBGMCU_IDCODE is and what it says, and its memories."""
    identification = {**_CORES[core].identification, **dict([idcode])}
    return replace(_CORES[core], banks=banks, identification=identification, peripherals=name)


_L4R5_BANKS = (
    *_CORES["cortex-m4"].banks,
    Bank(name="information", origin=0x1FFF7000, length=0x1000, writable=False),
    Bank(name="boot", origin=0, length=0x200000, writable=False, alias_of="flash"),
)
_F746_BANKS = (
    Bank(name="itcm", origin=0x00000000, length=0x4000),
    Bank(name="flash", origin=FLASH, length=0x100000, writable=False),
    Bank(name="itcm_flash", origin=0x00200000, length=0x100000, writable=False, alias_of="flash"),
    Bank(name="information", origin=0x1FF0F000, length=0x1000, writable=False),
    Bank(name="dtcm", origin=0x20000000, length=0x10000),
    Bank(name="sram", origin=0x20010000, length=0x40000),
)

_U575_BANKS = (*_CORES["cortex-m33"].banks, Bank(name="information", origin=0x0BFA0000, length=0x1000, writable=False))

PARTS: Mapping[str, Part] = {
    **_CORES,
    "stm32l4r5": _whole("cortex-m4", "stm32l4r5", (0xE0042000, 0x101F6470), _L4R5_BANKS),
    "flash-of-l475": _whole("cortex-m4", "flash-of-l475", (0xE0042000, 0x101F6470), _L4R5_BANKS),
    "stm32f746": _whole("cortex-m7", "stm32f746", (0xE0042000, 0x10016449), _F746_BANKS),
    "stm32u575": _whole("cortex-m33", "stm32u575", (0xE0044000, 0x20016482), _U575_BANKS),
}
"""Cores alone by their names; parts with flash controller and a UART; one with the flash of an STM32L475."""
