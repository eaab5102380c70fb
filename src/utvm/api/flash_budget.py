"""Flash budgets of whole images: kernels are chosen before their code is compiled, so its size is found by trying."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from utvm.lowering import FlashBudgetError, Program
from utvm.toolchain import Image

_REFINEMENTS = 6
"""Builds after the first that fits."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Built:
    """A program, what it was rendered to, and the image that these files became."""

    program: Program
    files: Mapping[str, str]
    image: Image


def within_flash(build: Callable[[int], Built], flash: int) -> Built:
    """Return the fastest build whose image fits.

    What the last build took beside its kernels is left free in the next, and what it took less is given to it.

    Args:
        build: bytes that kernels and constants may take → the build with the fewest cycles that keeps to them; raises
            `FlashBudgetError` if there is none.
        flash: bytes that the image may take.

    Raises:
        FlashBudgetError: no image fits.
    """
    budget = flash
    best: Built | None = None
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
