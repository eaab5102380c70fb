"""Which kernel for each operator: the fewest estimated cycles under a budget of flash, found exactly."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from utvm.cores import Core
from utvm.cores.microkernel import ScheduleError
from utvm.graph import Operator
from utvm.kernels import Kernel, KernelFamily


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidate:
    """A way to compute one operator. `cycles` is the family's estimate, 0 where it competes with no other."""

    kernel: Kernel
    cycles: float = 0.0

    @property
    def flash_bytes(self) -> int:
        """Flash of its constants and micro-kernels."""
        return self.kernel.flash_bytes


def candidates(op: Operator, core: Core, families: Sequence[KernelFamily]) -> list[Candidate]:
    """Return the ways to compute `op`, the fastest first.

    Families that estimate their cycles compete; of the others the first that applies is taken, and only where none
    competes.
    """
    found: list[Candidate] = []
    for family in families:
        if not family.applies(op, core):
            continue
        # Of a family in which no register block can be scheduled, nothing is found.
        with contextlib.suppress(ScheduleError):
            for config in family.contenders(op, core):
                cycles = family.estimate(op, core, config)
                if cycles is None:
                    return _fastest_first(found) or [Candidate(kernel=family.build(op, core, config))]
                found.append(Candidate(kernel=family.build(op, core, config), cycles=cycles))
    return _fastest_first(found)


def _fastest_first(found: list[Candidate]) -> list[Candidate]:
    return sorted(found, key=lambda candidate: (candidate.cycles, candidate.flash_bytes))


def choose(options: Sequence[Sequence[Candidate]], budget: int | None) -> list[Candidate] | None:
    """Return one candidate for each operator with the fewest cycles in all that fits, or None.

    Exact: operator by operator, only the combinations that no other beats in both cycles and bytes are kept.

    Args:
        options: the candidates of each operator.
        budget: bytes for all constants and micro-kernels; None is no limit.
    """
    if budget is None:
        return [choices[0] for choices in options]
    front: list[tuple[int, float, tuple[int, ...]]] = [(0, 0.0, ())]
    for choices in options:
        merged = [
            (size + choice.flash_bytes, cycles + choice.cycles, (*picked, index))
            for size, cycles, picked in front
            for index, choice in enumerate(choices)
            if size + choice.flash_bytes <= budget
        ]
        front = _undominated(merged)
    if not front:
        return None
    _, _, picked = min(front, key=lambda entry: (entry[1], entry[0]))
    return [choices[index] for choices, index in zip(options, picked, strict=True)]


def smallest(options: Sequence[Sequence[Candidate]]) -> int:
    """Return the fewest bytes that any choice needs."""
    return sum(min(choice.flash_bytes for choice in choices) for choices in options)


def _undominated(entries: list[tuple[int, float, tuple[int, ...]]]) -> list[tuple[int, float, tuple[int, ...]]]:
    kept: list[tuple[int, float, tuple[int, ...]]] = []
    for entry in sorted(entries):
        if not kept or entry[1] < kept[-1][1]:
            kept.append(entry)
    return kept
