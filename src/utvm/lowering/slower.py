"""Which operators got a slower family than their kind has, why, and what share of the network that costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from utvm.cores import Core
from utvm.graph import Conv2D, Operator
from utvm.graph.cost import macs_of
from utvm.kernels import FAMILIES, KernelFamily
from utvm.lowering.program import Call, Program
from utvm.lowering.select import LAST_RESORT_TIMES
from utvm.lowering.tile_losses import lost_tiles

ESTIMATED = "by estimate"
_FALLBACK = "portable"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowerCall:
    """An operator that a faster family of its kind does not compute, although the core has it.

    Attributes:
        index: which call of the program.
        name: the operator's.
        kind: its type.
        family: what it got.
        reasons: why each faster family does not take it; that budgets keep it out where one would.
        times: how many times the cycles of a faster family, by estimate.
        cost: about the share of the network's cycles that is lost, from 0 to 1.
        basis: what the shares of the network are taken of: estimates, or cycles of a run.
    """

    index: int
    name: str
    kind: str
    family: str
    reasons: tuple[str, ...]
    times: float
    cost: float
    basis: str = ESTIMATED

    def __str__(self) -> str:
        """One line, for people."""
        lost = f"about {100 * self.cost:.1f} % of the network lost, {self.basis}"
        return f"{self.name} ({self.kind}, {self.family}): {lost}; {'; '.join(self.reasons)}"


def slower_calls(program: Program, families: Sequence[KernelFamily] = FAMILIES) -> tuple[SlowerCall, ...]:
    """Return what could be faster on the core but for a limit of the faster family, the dearest first.

    Weighted operators in plain C are among it, and convolutions that lack Winograd for their scales or weights alone.

    Args:
        program: the program.
        families: what might have been chosen.
    """
    cycles = [_cycles(call, program.core) for call in program.calls]
    # A core without a pipeline model: plain C counts as several times a micro-kernel, all multiplications alike.
    known = [each for each in cycles if each is not None]
    own = known if len(known) == len(cycles) else [_work(call) for call in program.calls]
    total = sum(own) or 1.0
    found = []
    for index, (call, taken) in enumerate(zip(program.calls, own, strict=True)):
        limits = _limits(call, taken, program.core, families)
        if limits is not None:
            reasons, times = limits
            found.append(
                SlowerCall(
                    index=index,
                    name=call.op.name,
                    kind=call.op.kind,
                    family=call.kernel.family,
                    reasons=reasons,
                    times=round(times, 3),
                    cost=taken / total * (1 - 1 / times),
                )
            )
    return tuple(sorted(found, key=lambda each: -each.cost))


def counted(found: Sequence[SlowerCall], cycles: Sequence[float], basis: str) -> tuple[SlowerCall, ...]:
    """Return the same with shares of the cycles that each call of the program took in a run.

    Args:
        found: what `slower_calls` returned.
        cycles: of each call of the program; instructions where a board counts no cycles.
        basis: what these are, as "by cycles of this run".
    """
    total = sum(cycles) or 1.0
    again = [
        replace(each, cost=cycles[each.index] / total * (1 - 1 / each.times), basis=f"{basis}, its loss estimated")
        for each in found
    ]
    return tuple(sorted(again, key=lambda each: -each.cost))


def _limits(
    call: Call, cycles: float, core: Core, families: Sequence[KernelFamily]
) -> tuple[tuple[str, ...], float] | None:
    """Return why a call is slower than others of its kind and how many times; None where it is not."""
    if call.kernel.family == _FALLBACK:
        reasons = _reasons(call.op, core, families) if macs_of(call.op) else ()
        return (reasons, float(LAST_RESORT_TIMES)) if reasons else None
    if isinstance(call.op, Conv2D) and call.op.weights.quant is not None and call.cycles:
        return lost_tiles(call.op, call.kernel.family, cycles, core, families)
    return None


def _reasons(op: Operator, core: Core, families: Sequence[KernelFamily]) -> tuple[str, ...]:
    """Return why no family that the core has is used, nothing where the core has none."""
    made = op.outputs[0].dtype
    faster = [
        f
        for f in families
        if f.name != _FALLBACK and isinstance(op, f.kinds) and made in f.dtypes and f.lacks(core) is None
    ]
    refusals = {family.name: family.outside_signature(op) or family.refusal(op, core) for family in faster}
    free = [name for name, reason in refusals.items() if reason is None]
    if free:
        return (f"{' and '.join(free)} would take it, but does not fit the budgets or was not chosen",)
    return tuple(f"{name}: {reason}" for name, reason in refusals.items())


def _cycles(call: Call, core: Core) -> float | None:
    """Return the cycles of a call, measured or estimated; None where nothing models the core."""
    if call.cycles:
        return call.cycles
    for family in FAMILIES:
        if family.name == call.kernel.family and family.applies(call.op, core):
            return family.about(call.op, core)
    return None


def _work(call: Call) -> float:
    return macs_of(call.op) * (LAST_RESORT_TIMES if call.kernel.family == _FALLBACK else 1)
