"""What lowering is asked for, in one value for all callers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from utvm.kernels import FAMILIES, Config, KernelFamily
from utvm.lowering.select import Measurements

Choice = tuple[KernelFamily, Config]
"""The family and the config of an operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a graph becomes a program.

    Attributes:
        name: the C prefix of the model; the graph's name if None.
        families: what may be chosen: the fewest cycles that the budgets allow, measured or estimated.
        choices: family and config of operators by their names, instead.
        measured: what is known of workloads from trials on a board.
        flash: bytes that all constants and micro-kernels may take; None is no limit, but of what is nearly as fast the
            smallest is taken.
        ram: bytes that the arena may take; None is no limit.
        stripes: whether the first layers may be computed in stripes where nothing else fits `ram`.
    """

    name: str | None = None
    families: Sequence[KernelFamily] = FAMILIES
    choices: Mapping[str, Choice] = field(default_factory=dict)
    measured: Measurements = field(default_factory=dict)
    flash: int | None = None
    ram: int | None = None
    stripes: bool = True
