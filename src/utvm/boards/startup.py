"""What code on the target does to a part's registers before anything else: the clock, the pins of the console."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

OperationKind = Literal["write", "modify", "wait", "pause"]
CacheKind = Literal["instruction", "data"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterOperation:
    """One access to a register of `bits` bits, or a pause.

    "write" writes `value`; "modify" replaces the bits of `mask` by those of `value`; "wait" reads until the bits of
    `mask` are those of `value`, and fails after `WAIT_TURNS` reads; "pause" runs `value` turns of an empty loop, for
    the time that `register` names. `why` says what for, in a few words.
    """

    kind: OperationKind
    register: str
    address: int
    mask: int
    value: int
    bits: int
    why: str

    def __str__(self) -> str:
        if self.kind == "pause":
            return f"pause of {self.register} ({self.value} turns): {self.why}"
        value = f"0x{self.value:0{self.bits // 4}x}"
        inside = "" if self.kind == "write" else f" in 0x{self.mask:0{self.bits // 4}x}"
        return f"{self.kind} {self.register} (0x{self.address:08x}): {value}{inside}: {self.why}"


WAIT_TURNS = 2_000_000
"""Reads after which a wait is given up: tens of milliseconds at the fastest clock, seconds at those after a reset."""
