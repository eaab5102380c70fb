"""How few cycles a budget of flash allows at best, without searching: bounds that a search and its users rely on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from utvm.lowering.select import Candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaxation:
    """Bounds of the fewest cycles under a limit of the flash.

    Attributes:
        bound: no combination within the limit has fewer cycles.
        rounded: some combination within the limit has no more; None where none is within it.
    """

    bound: float
    rounded: float | None


def _cycles(candidate: Candidate) -> float:
    return candidate.cycles


def relaxation(
    options: Sequence[Sequence[Candidate]], flash: int | None, *, cycles: Callable[[Candidate], float] = _cycles
) -> Relaxation:
    """Return bounds of the fewest cycles, by allowing mixtures of an operator's candidates.

    Such a mixture is the greedy choice along the lower convex hulls of cycles over flash (H. Kellerer, U. Pferschy, D.
    Pisinger, Knapsack Problems, 2004, section 11.2).
    """
    fastest = sum(min(map(cycles, choices), default=0.0) for choices in options)
    if flash is None:
        return Relaxation(bound=fastest, rounded=fastest)
    hulls = [_hull([(c.flash_bytes, cycles(c)) for c in choices]) for choices in options]
    used, spent = sum(hull[0][0] for hull in hulls), sum(hull[0][1] for hull in hulls)
    if used > flash:
        return Relaxation(bound=spent, rounded=None)
    steps = sorted(
        ((saved[1] - more[1]) / (saved[0] - more[0]), more[0] - saved[0], saved[1] - more[1])
        for hull in hulls
        for saved, more in pairwise(hull)
    )
    for _, size, gain in steps:
        if used + size > flash:
            return Relaxation(bound=spent - gain * (flash - used) / size, rounded=spent)
        used, spent = used + size, spent - gain
    return Relaxation(bound=spent, rounded=spent)


def _hull(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Return the lower convex hull of (flash, cycles), the least flash first and cycles falling."""
    hull: list[tuple[int, float]] = []
    for size, spent in sorted(points):
        if hull and spent >= hull[-1][1]:
            continue
        while len(hull) > 1 and _above(hull[-2], hull[-1], (size, spent)):
            hull.pop()
        hull.append((size, spent))
    return hull


def _above(before: tuple[int, float], point: tuple[int, float], after: tuple[int, float]) -> bool:
    """Whether a point lies on or above the line between its neighbours."""
    return (point[1] - before[1]) * (after[0] - before[0]) >= (after[1] - before[1]) * (point[0] - before[0])
