"""The ways to compute an operator: by what families estimate, or by what was measured on a board."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from utvm.cores import Core
from utvm.cores.microkernel import ScheduleError
from utvm.graph import Operator
from utvm.kernels import BY_HAND, Config, Kernel, KernelFamily, code_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a config of a family cost on a board: cycles (instructions where the board knows no cycles) and bytes.

    `code` is `utvm.kernels.code_digest` of what was measured, `origin` where it is known from, for people.
    """

    family: str
    config: Config
    cost: int
    code: str
    scratch_bytes: int
    flash_bytes: int
    origin: str


LAST_RESORT_TIMES = 4
"""By so much, at least, the compiler's code is slower than micro-kernels: 4 to 6 times for weighted operators."""

Measurements = Mapping[str, Sequence[Measured]]
"""Workload → what was measured of it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidate:
    """A way to compute one operator.

    `cycles` is what was measured, else the family's estimate, 0 where it competes with no other. `outdated` is whether
    there are measurements of the operator that today's generator makes other code for. `shares` is how many operators
    have the same workload: they will choose alike and share their code.
    """

    kernel: Kernel
    cycles: float = 0.0
    measured: Measured | None = None
    outdated: bool = False
    shares: int = 1
    last_resort: bool = False

    @property
    def memory(self) -> tuple[object, ...]:
        """What it asks of the memory plan: one that asks the same is placed alike."""
        return self.kernel.scratch_bytes, self.kernel.in_place, self.kernel.ahead

    @property
    def code_bytes(self) -> int:
        """Flash of its code: as it was measured, else about that of micro-kernels alone."""
        total = self.kernel.flash_bytes if self.measured is None else self.measured.flash_bytes
        return total - self.kernel.constant_bytes

    @property
    def flash_bytes(self) -> int:
        """Flash of its constants and its share of the code."""
        return self.kernel.constant_bytes - (-self.code_bytes // self.shares)


def candidates(
    op: Operator, core: Core, families: Sequence[KernelFamily], measured: Sequence[Measured] = ()
) -> list[Candidate]:
    """Return the ways to compute `op`, the fastest first.

    Families that estimate their cycles compete; of the others the first that applies is taken, where none competes, or
    as a last resort. What was measured comes before what is only estimated, if it was measured together with what would
    be taken without it, and of code that is still generated.

    Args:
        op, core: what is computed where.
        families: what may be chosen.
        measured: what was measured of the workload.
    """
    estimated, last = _estimated(op, core, families)
    if not estimated and last is not None:
        # None is estimated: of what was measured the fastest is taken, else the first.
        estimated, last = [Candidate(kernel=last)], None
    found = _by_measurements(op, core, families, estimated, measured) if measured else estimated
    if last is None:
        return found
    slow = max((candidate.cycles for candidate in found), default=0.0) * LAST_RESORT_TIMES
    return [*found, Candidate(kernel=last, cycles=slow, last_resort=bool(found))]


def _by_measurements(
    op: Operator,
    core: Core,
    families: Sequence[KernelFamily],
    estimated: Sequence[Candidate],
    measured: Sequence[Measured],
) -> list[Candidate]:
    if not estimated:
        return []
    default = estimated[0]
    base = _measurement_of(default.kernel, measured)
    if base is None:
        return [Candidate(kernel=c.kernel, cycles=c.cycles, outdated=True) for c in estimated]
    found: list[Candidate] = []
    for known in sorted(measured, key=_order):
        if known is not base and any(_beats(better, known) for better in found):
            continue
        kernel = default.kernel if known is base else _rebuilt(op, core, families, known)
        if kernel is not None:
            found.append(Candidate(kernel=kernel, cycles=float(known.cost), measured=known))
    return found + _unmeasured(estimated, found, base)


def _estimated(op: Operator, core: Core, families: Sequence[KernelFamily]) -> tuple[list[Candidate], Kernel | None]:
    """Return what competes, the fastest first, and the kernel of the first family that does not."""
    found: list[Candidate] = []
    for family in families:
        if not family.applies(op, core):
            continue
        # Of a family in which no register block can be scheduled, nothing is found.
        with contextlib.suppress(ScheduleError):
            for config in family.contenders(op, core):
                cycles = family.estimate(op, core, config)
                if cycles is None:
                    return _fastest_first(found), family.build(op, core, config)
                found.append(Candidate(kernel=family.build(op, core, config), cycles=cycles))
    return _fastest_first(found), None


def _fastest_first(found: list[Candidate]) -> list[Candidate]:
    return sorted(found, key=lambda candidate: (candidate.cycles, candidate.flash_bytes))


def _measurement_of(kernel: Kernel, measured: Sequence[Measured]) -> Measured | None:
    same = (known for known in measured if known.family == kernel.family and known.config == kernel.config)
    code = code_digest(kernel)
    return next((known for known in same if known.code == code), None)


def _beats(better: Candidate, known: Measured) -> bool:
    """Whether a faster candidate of the same family needs no more flash and scratch either."""
    measured = better.measured
    return (
        measured is not None
        and measured.family == known.family
        and measured.flash_bytes <= known.flash_bytes
        and measured.scratch_bytes <= known.scratch_bytes
    )


def _family_of(op: Operator, core: Core, families: Sequence[KernelFamily], known: Measured) -> KernelFamily | None:
    for family in (*families, BY_HAND):
        if family.name == known.family and family.applies(op, core):
            return family if family.takes(op, core, known.config) else None
    return None


def _rebuilt(op: Operator, core: Core, families: Sequence[KernelFamily], known: Measured) -> Kernel | None:
    """Return the kernel of a measured config, None if it is not legal here or other code now."""
    family = _family_of(op, core, families, known)
    if family is None:
        return None
    # In the family's order of knobs: stores and files of records each have an order of their own.
    config = {knob: known.config[knob] for knob in family.space(op, core) or known.config}
    with contextlib.suppress(ScheduleError):
        kernel = family.build(op, core, config)
        if code_digest(kernel) == known.code:
            return kernel
    return None


def _unmeasured(estimated: Sequence[Candidate], found: Sequence[Candidate], base: Measured) -> list[Candidate]:
    """Return the contenders that were not measured: budgets may need them, but never before the best measured one.

    Estimates are scaled by how far that of the default was off.
    """
    default = estimated[0]
    scale = base.cost / default.cycles if default.cycles else 1.0
    known = {(c.kernel.family, tuple(sorted(c.kernel.config.items()))) for c in found}
    least = found[0].cycles if found else 0.0
    return [
        Candidate(kernel=c.kernel, cycles=max(c.cycles * scale, least))
        for c in estimated[1:]
        if (c.kernel.family, tuple(sorted(c.kernel.config.items()))) not in known
    ]


def _order(known: Measured) -> tuple[int, int, int, str, str]:
    """Return what sorts measurements; equal ones by name, whatever order they were read in."""
    return known.cost, known.flash_bytes, known.scratch_bytes, known.family, str(sorted(known.config.items()))
