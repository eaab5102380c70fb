"""What someone else's code needs for the same work."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """A peer's cost; None is not known. `source` says where it comes from, what it leaves out, or why there is none."""

    source: str
    instructions: int | None = None
    cycles: int | None = None
    arena_bytes: int | None = None
    flash_bytes: int | None = None
    exact: bool | None = None
