"""What someone else's code needs for the same work."""

from __future__ import annotations

from dataclasses import dataclass

from utvm.errors import UtvmError


class PeerError(UtvmError):
    """A peer can't be measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """A peer's cost; None is not known.

    Flash and code are those of the image, its start-up included; stack is the worst case of the compiler's frames.
    `source` says where it comes from, or why there is none; `leaves_out` which operators it does not have in it.
    """

    source: str
    leaves_out: str = ""
    instructions: int | None = None
    cycles: int | None = None
    arena_bytes: int | None = None
    flash_bytes: int | None = None
    code_bytes: int | None = None
    stack_bytes: int | None = None
    exact: bool | None = None
