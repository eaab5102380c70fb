"""The ways to compute an operator: by what families estimate, or by what was measured on a board."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from utvm.cores import Core
from utvm.cores.microkernel import ScheduleError
from utvm.graph import Operator
from utvm.kernels import BY_HAND, Config, KernelFamily, Outline
from utvm.lowering.draft import Draft
from utvm.lowering.recalled import Recalled


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

    Attributes:
        draft: its kernel, built where it is chosen.
        known_cycles: cycles if they are not those of the draft: measured, or of what nothing models.
        scale: by how much the draft's cycles are multiplied where there are none.
        at_least: what that makes at least.
        measured: the record that it is known by.
        outdated: whether there are measurements of the operator that today's generator makes other code for.
        shares: how many operators have the same workload: they will choose alike and share their code.
        copies: how many of them have the same constants too, as steps of a recurrent layer, and share these.
        last_resort: whether it is only for where nothing else fits.
    """

    draft: Draft
    known_cycles: float | None = None
    scale: float = 1.0
    at_least: float = 0.0
    measured: Measured | None = None
    outdated: bool = False
    shares: int = 1
    copies: int = 1
    last_resort: bool = False

    @property
    def cycles(self) -> float:
        """Cycles as measured, else modelled; 0 where it competes with no other."""
        if self.known_cycles is not None:
            return self.known_cycles
        return max(self.draft.cycles * self.scale, self.at_least)

    @property
    def error(self) -> float:
        """The share by which `cycles` can be too high."""
        return 0.0 if self.known_cycles is not None else self.draft.error

    @property
    def memory(self) -> tuple[object, ...]:
        """What it asks of the memory plan: one that asks the same is placed alike."""
        outline = self.draft.outline
        return outline.scratch_bytes, outline.in_place, outline.ahead

    @property
    def code_bytes(self) -> int:
        """Flash of its code: as it was measured, else about that of micro-kernels alone."""
        outline = self.draft.outline
        return outline.code_bytes if self.measured is None else self.measured.flash_bytes - outline.constant_bytes

    @property
    def flash_bytes(self) -> int:
        """Its share of the flash of its constants and of the code."""
        return -(-self.draft.outline.constant_bytes // self.copies) - (-self.code_bytes // self.shares)


def candidates(
    op: Operator,
    core: Core,
    families: Sequence[KernelFamily],
    measured: Sequence[Measured] = (),
    recalled: Recalled | None = None,
) -> list[Candidate]:
    """Return the ways to compute `op`, the fastest first.

    Families that estimate their cycles compete; of the others the first that applies is taken, where none competes, or
    as a last resort. What was measured comes before what is only estimated, if it was measured together with what would
    be taken without it, and of code that is still generated.

    Args:
        op, core: what is computed where.
        families: what may be chosen.
        measured: what was measured of the workload.
        recalled: what earlier compilations found out about the operator's kernels.
    """
    recalled = recalled or Recalled()
    estimated, last = _estimated(op, core, families, recalled)
    if not estimated and last is not None:
        # None is estimated: of what was measured the fastest is taken, else the first.
        estimated, last = [Candidate(draft=last, known_cycles=0.0)], None
    found = _by_measurements(op, core, families, estimated, measured, recalled) if measured else estimated
    if last is None:
        return found
    slow = max((candidate.cycles for candidate in found), default=0.0) * LAST_RESORT_TIMES
    return [*found, Candidate(draft=last, known_cycles=slow, last_resort=bool(found))]


def _by_measurements(
    op: Operator,
    core: Core,
    families: Sequence[KernelFamily],
    estimated: Sequence[Candidate],
    measured: Sequence[Measured],
    recalled: Recalled,
) -> list[Candidate]:
    if not estimated:
        return []
    default = estimated[0]
    base = _measurement_of(default.draft, measured)
    if base is None:
        return [replace(candidate, outdated=True) for candidate in estimated]
    found: list[Candidate] = []
    for known in sorted(measured, key=_order):
        if known is not base and any(_beats(better, known) for better in found):
            continue
        draft = default.draft if known is base else _redrafted(op, core, families, known, recalled)
        # The code of the fastest is surely today's; that of the others is looked at where one of them is chosen.
        if draft is not None and (found or draft.settle()):
            found.append(Candidate(draft=draft, known_cycles=float(known.cost), measured=known))
    return found + _unmeasured(estimated, found, base)


def _estimated(
    op: Operator, core: Core, families: Sequence[KernelFamily], recalled: Recalled
) -> tuple[list[Candidate], Draft | None]:
    """Return what competes, the fastest first, and the draft of the first family that does not."""
    found = recalled.contenders()
    if found is None:
        left, last = _competing(op, core, families, recalled)
        places = {family: place for place, family in enumerate(families)}
        noted = [(places[draft.family], draft.config, draft.is_settled) for draft in left]
        recalled.note_contenders(noted, None if last is None else (places[last.family], last.config))
    else:
        drafts = [
            (Draft(op, core, families[place], config, None, recalled), settled) for place, config, settled in found[0]
        ]
        left = [draft for draft, settled in drafts if not settled or draft.settle()]
        last = found[1] and Draft(op, core, families[found[1][0]], found[1][1], None, recalled)
    return [Candidate(draft=draft) for draft in left], last


def _competing(
    op: Operator, core: Core, families: Sequence[KernelFamily], recalled: Recalled
) -> tuple[list[Draft], Draft | None]:
    """Work out what `_estimated` returns."""
    drafts: list[Draft] = []
    for family in families:
        if not family.applies(op, core):
            continue
        # Of a family in which no register block can be scheduled, nothing is found.
        with contextlib.suppress(ScheduleError):
            for config in family.contenders(op, core):
                with contextlib.suppress(ScheduleError):
                    draft = Draft(op, core, family, config, None, recalled)
                    if not draft.competes:
                        return _fastest_first(drafts), draft
                    drafts.append(draft)
    return _fastest_first(drafts), None


def _fastest_first(drafts: list[Draft]) -> list[Draft]:
    """Return drafts, the fastest first, which is scheduled, without those that are no faster and no smaller."""
    left = list(drafts)
    while left:
        first = min(left, key=lambda draft: draft.cycles * (1 - draft.error))
        if first.is_settled:
            break
        if not first.settle():
            left.remove(first)
    if len(left) > 1:
        left.sort(key=lambda draft: (draft.cycles, _flash_bytes(draft)))
    return [d for index, d in enumerate(left) if not any(_replaces(faster, d) for faster in left[:index])]


def _replaces(faster: Draft, draft: Draft) -> bool:
    """Whether a faster draft, scheduled so that this is sure, asks for no more flash and memory either."""
    if not faster.is_settled or _flash_bytes(faster) > _flash_bytes(draft):
        return False
    ours, theirs = faster.outline, draft.outline
    return ours.scratch_bytes <= theirs.scratch_bytes and _lies_over(ours, theirs)


def _flash_bytes(draft: Draft) -> int:
    return draft.outline.constant_bytes + draft.outline.code_bytes


def _lies_over(outline: Outline, other: Outline) -> bool:
    """Whether an output may lie wherever it may by another.

    In the place of an input it takes what the larger of both does, for as long as it lives: that may be in the way.
    """
    if outline.in_place != other.in_place or (outline.ahead is None) != (other.ahead is None):
        return False
    return outline.ahead is None or other.ahead is None or outline.ahead <= other.ahead


def _measurement_of(draft: Draft, measured: Sequence[Measured]) -> Measured | None:
    same = (known for known in measured if known.family == draft.family.name and known.config == draft.config)
    return next((known for known in same if known.code == draft.code), None)


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


def _redrafted(
    op: Operator, core: Core, families: Sequence[KernelFamily], known: Measured, recalled: Recalled
) -> Draft | None:
    """Return the draft of a measured config, None if it is not legal here."""
    family = _family_of(op, core, families, known)
    if family is None:
        return None
    # In the family's order of knobs: stores and files of records each have an order of their own.
    config = {knob: known.config[knob] for knob in family.space(op, core) or known.config}
    with contextlib.suppress(ScheduleError):
        return Draft(op, core, family, config, known.code, recalled)
    return None


def _unmeasured(estimated: Sequence[Candidate], found: Sequence[Candidate], base: Measured) -> list[Candidate]:
    """Return the contenders that were not measured: budgets may need them, but never before the best measured one.

    Estimates are scaled by how far that of the default was off.
    """
    default = estimated[0]
    scale = base.cost / default.cycles if default.cycles else 1.0
    known = {_key(c.draft) for c in found}
    least = found[0].cycles if found else 0.0
    return [Candidate(draft=c.draft, scale=scale, at_least=least) for c in estimated[1:] if _key(c.draft) not in known]


def _key(draft: Draft) -> tuple[object, ...]:
    return draft.family.name, tuple(sorted(draft.config.items()))


def _order(known: Measured) -> tuple[int, int, int, str, str]:
    """Return what sorts measurements; equal ones by name, whatever order they were read in."""
    return known.cost, known.flash_bytes, known.scratch_bytes, known.family, str(sorted(known.config.items()))
