"""How a function is called on an instruction set: which register holds what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class CallingConvention:
    """Registers by the names that debug links use.

    `state` is written before every call; `thumb` marks addresses; `breakpoints` are instructions that stop the core, as
    mask and value of the word at their address.
    """

    arguments: tuple[str, ...]
    result: str
    stack_pointer: str
    link_register: str
    program_counter: str
    state: Mapping[str, int] = field(default_factory=dict)
    thumb: bool = False
    breakpoints: tuple[tuple[int, int], ...] = ()

    def code_address(self, address: int) -> int:
        """Return an address as a link register must hold it."""
        return address | 1 if self.thumb else address

    def is_breakpoint(self, word: int) -> bool:
        """Return whether the word at an address begins with an instruction that stops the core."""
        return any(word & mask == value for mask, value in self.breakpoints)


CONVENTIONS = {
    # Arm IHI 0042 (AAPCS), section 6; the Thumb bit of xPSR must be set before anything runs.
    "arm": CallingConvention(
        arguments=("r0", "r1", "r2", "r3"),
        result="r0",
        stack_pointer="sp",
        link_register="lr",
        program_counter="pc",
        state={"xpsr": 0x01000000},
        thumb=True,
        breakpoints=((0xFF00, 0xBE00),),
    ),
    # RISC-V ELF psABI, integer calling convention.
    "riscv": CallingConvention(
        arguments=("a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7"),
        breakpoints=((0xFFFF, 0x9002), (0xFFFFFFFF, 0x00100073)),
        result="a0",
        stack_pointer="sp",
        link_register="ra",
        program_counter="pc",
    ),
}
