"""Which operators got a slower family than their kind has, why, and about what that costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from utvm.cores import Core
from utvm.graph import Operator
from utvm.graph.cost import macs_of
from utvm.kernels import FAMILIES, KernelFamily
from utvm.lowering.program import Program
from utvm.lowering.select import LAST_RESORT_TIMES

_FALLBACK = "portable"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowerCall:
    """An operator in plain C although its kind has micro-kernels on the core.

    Attributes:
        name: the operator's.
        kind: its type.
        family: what it got.
        reasons: why each faster family does not take it; that budgets keep it out where one would.
        cost: about the share of the network's multiply-accumulate time that is lost, from 0 to 1.
    """

    name: str
    kind: str
    family: str
    reasons: tuple[str, ...]
    cost: float

    def __str__(self) -> str:
        """One line, for people."""
        return f"{self.name} ({self.kind}): about {100 * self.cost:.1f} % of the network; {'; '.join(self.reasons)}"


def slower_calls(program: Program, families: Sequence[KernelFamily] = FAMILIES) -> tuple[SlowerCall, ...]:
    """Return the weighted operators of a program in plain C that the core has faster families for, the dearest first.

    The cost counts a multiply-accumulate of plain C as `LAST_RESORT_TIMES` of a micro-kernel. It is no measurement:
    profiles have these.
    """
    slow = {call: macs_of(call.op) for call in program.calls if call.kernel.family == _FALLBACK and macs_of(call.op)}
    work = sum(macs_of(call.op) for call in program.calls) + (LAST_RESORT_TIMES - 1) * sum(slow.values())
    found = []
    for call, macs in slow.items():
        reasons = _reasons(call.op, program.core, families)
        if reasons:
            found.append(
                SlowerCall(
                    name=call.op.name,
                    kind=call.op.kind,
                    family=call.kernel.family,
                    reasons=reasons,
                    cost=(LAST_RESORT_TIMES - 1) * macs / work,
                )
            )
    return tuple(sorted(found, key=lambda each: -each.cost))


def _reasons(op: Operator, core: Core, families: Sequence[KernelFamily]) -> tuple[str, ...]:
    """Return why no family that the core has is used, nothing where the core has none."""
    faster = [f for f in families if f.name != _FALLBACK and isinstance(op, f.kinds) and f.lacks(core) is None]
    refusals = {family.name: family.outside_signature(op) or family.refusal(op, core) for family in faster}
    free = [name for name, reason in refusals.items() if reason is None]
    if free:
        return (f"{' and '.join(free)} would take it, but does not fit the budgets or was not chosen",)
    return tuple(f"{name}: {reason}" for name, reason in refusals.items())
