"""Flash budgets of whole images: kernels are chosen before their code is compiled, so its size is found by trying."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from utvm.lowering import FlashBudgetError, LoweringError, Program, RamBudgetError, ram_advice
from utvm.toolchain import Image

_REFINEMENTS = 6
"""Builds after the first that fits."""
_MOST_ARENAS = 3
"""Sizes that are tried before an error says which arena would do."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BuiltProgram:
    """A program, what it was rendered to, and the image that these files became."""

    program: Program
    files: Mapping[str, str]
    image: Image


class BudgetedBuild(Protocol):
    """Builds by budgets."""

    def __call__(self, flash: int, *, ram: int | None) -> BuiltProgram:
        """Return the fastest build of kernels and constants in so much flash, with so much of an arena."""


def within_flash(build: Callable[[int], BuiltProgram], flash: int) -> BuiltProgram:
    """Return the fastest build whose image fits.

    What the last build took beside its kernels is left free in the next, and what it took less is given to it.

    Args:
        build: bytes that kernels and constants may take → the build with the fewest cycles that keeps to them; raises
            `FlashBudgetError` if there is none.
        flash: bytes that the image may take.

    Raises:
        FlashBudgetError: no image fits.
        RamBudgetError: none within less flash has an arena as small as is allowed.
    """
    budget = flash
    best: BuiltProgram | None = None
    fits, exceeds = -1, flash + 2**31
    attempts = 0
    while attempts < _REFINEMENTS:
        try:
            built = build(budget)
        except FlashBudgetError as error:
            if best is not None or error.needed >= exceeds:
                break
            # Code that calls share is counted for each of them: the smallest choice may fit all the same.
            budget = error.needed
            continue
        except RamBudgetError:
            if best is None:
                raise
            break
        program, image = built.program, built.image
        left = flash - image.flash_bytes
        if left >= 0:
            best, fits = built, budget
        else:
            exceeds = min(budget, program.budgeted_bytes)  # from there on the choice would be the same
        budget = min(program.flash_bytes + left, exceeds - 1)
        if budget <= fits:
            break
        attempts += best is not None
    if best is None:
        raise FlashBudgetError(
            f"the flash does not suffice: the smallest image that was found takes {image.flash_bytes:,} bytes and "
            f"{flash:,} are allowed, {-left:,} too few (allow more, or choose a smaller model)",
            image.flash_bytes,
        )
    return best


def within_both(build: BudgetedBuild, flash: int, ram: int | None) -> BuiltProgram:
    """Return the fastest build whose image fits the flash and whose arena the RAM; see `within_flash`.

    Args:
        build: the fastest build of budgets.
        flash: bytes that the image may take.
        ram: bytes that the arena may take; None is no limit.

    Raises:
        FlashBudgetError: no image fits.
        RamBudgetError: no arena does; what its advice names was built within `flash`.
    """
    try:
        return within_flash(partial(build, ram=ram), flash)
    except RamBudgetError as error:
        fits = _proven(build, flash, error.needed)
        raise RamBudgetError(error.reason, fits or error.needed, advice=ram_advice(fits)) from None


def _proven(build: BudgetedBuild, flash: int, ram: int) -> int | None:
    """Return an arena from `ram` on with which an image fits the flash, at last that without a limit; None if none."""
    tried: int | None = ram
    for _ in range(_MOST_ARENAS):
        try:
            return within_flash(partial(build, ram=tried), flash).program.arena_bytes
        except RamBudgetError as error:
            ram = max(error.needed, ram + 1)
            tried = ram
        except LoweringError:
            return None
    with suppress(LoweringError):
        return within_flash(partial(build, ram=None), flash).program.arena_bytes
    return None
