"""What can be tried for an operator: every family that applies, every legal config; the analytic default first."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from utvm.cores import Core
from utvm.cores.microkernel import ScheduleError
from utvm.graph import Graph, Operator, Reshape
from utvm.graph.cost import macs_of
from utvm.kernels import BY_HAND, FAMILIES, Config, KernelFamily, workload
from utvm.tuning.record import candidate_key


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyConfig:
    """A family under a config: the family is a knob too."""

    family: str
    config: Config

    @property
    def key(self) -> str:
        """One word that tells it from others."""
        return candidate_key(self.family, self.config)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Task:
    """A workload of a network: an operator that stands for all with this workload.

    Attributes:
        workload: the key of records.
        op: the first operator that has it; its weights are those that are measured.
        names: the names of all of them.
        candidates: the whole space; the first is the fastest by estimate, and the default of each other family that
            competes comes next.
        given: candidates of a user's own, which are measured whatever a search expects of them.
    """

    workload: str
    op: Operator
    names: tuple[str, ...]
    core: Core
    candidates: tuple[FamilyConfig, ...]
    given: tuple[FamilyConfig, ...] = ()

    @property
    def label(self) -> str:
        """Kind and shapes, for people."""
        shapes = [t.shape for t in (*self.op.activations[:1], *self.op.outputs[:1])]
        return f"{self.op.kind} {' -> '.join('x'.join(map(str, shape[1:] or shape)) for shape in shapes)}"

    @property
    def count(self) -> int:
        """How often a run of the network does this work."""
        return len(self.names)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one of them."""
        return macs_of(self.op)

    @property
    def default(self) -> FamilyConfig:
        """The fastest by estimate; lowering may take a smaller one that is nearly as fast."""
        return self.candidates[0]


def tasks_of(graph: Graph, core: Core) -> list[Task]:
    """Return the distinct workloads of a graph after all passes, in order of execution. Views do no work."""
    operators: dict[str, list[Operator]] = {}
    for op in graph.operators:
        if isinstance(op, Reshape) and not op.x.is_constant:
            continue
        operators.setdefault(workload(op), []).append(op)
    return [_task(name, same, core) for name, same in operators.items()]


def estimate(op: Operator, core: Core, candidate: FamilyConfig) -> float | None:
    """Return the cycles that its family models for a candidate; None if it models none, or can't be scheduled."""
    family = family_of(candidate.family, op, core)
    if family is None:
        return None
    with contextlib.suppress(ScheduleError):
        return family.estimate(op, core, candidate.config)
    return None


def family_of(name: str, op: Operator, core: Core, families: Sequence[KernelFamily] = FAMILIES) -> KernelFamily | None:
    """Return the family of that name that computes `op`, or None."""
    every = (*families, BY_HAND)
    return next((family for family in every if family.name == name and family.applies(op, core)), None)


def single(op: Operator) -> Graph:
    """Return the graph of one operator."""
    return Graph(name="layer", inputs=tuple(dict.fromkeys(op.activations)), outputs=op.outputs, operators=(op,))


def _task(name: str, same: Sequence[Operator], core: Core) -> Task:
    op = same[0]
    defaults: list[tuple[float, FamilyConfig]] = []
    rest: list[FamilyConfig] = []
    for family in FAMILIES:
        if not family.applies(op, core):
            continue
        with contextlib.suppress(ScheduleError):
            default = FamilyConfig(family=family.name, config=family.default(op, core))
            cycles = family.estimate(op, core, default.config)
            # Families that estimate compete; of the others the first is used where none competes (see `lowering`).
            order = float("inf") if cycles is None else cycles
            defaults.append((order, default))
        rest += [FamilyConfig(family=family.name, config=config) for config in configs(family, op, core)]
    ordered = [candidate for _, candidate in sorted(defaults, key=lambda item: item[0])] + rest
    return Task(
        workload=name,
        op=op,
        names=tuple(each.name for each in same),
        core=core,
        candidates=tuple({candidate.key: candidate for candidate in ordered}.values()),
    )


def configs(family: KernelFamily, op: Operator, core: Core) -> list[Config]:
    """Return every legal config of a family."""
    space = family.space(op, core)
    every = (dict(zip(space, values, strict=True)) for values in product(*space.values()))
    return [config for config in every if family.legal(op, core, config)]
