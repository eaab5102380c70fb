"""A pipeline beside the table that models it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from utvm.cores.pipeline_shapes import PipelineKernel

TURN_TOLERANCE = 1 / 12
"""Cycles of a turn: what a slot of a cycle more or less at the ends of all turns can make of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineAnswer:
    """What a kernel took, in cycles of one turn, and what the table says."""

    kernel: PipelineKernel
    measured: float
    expected: float

    @property
    def holds(self) -> bool:
        """Whether both are equal, slots at the ends aside."""
        return abs(self.measured - self.expected) <= TURN_TOLERANCE


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineReport:
    """All answers of a board.

    Attributes:
        core: its core.
        table: what the table is called.
        source: what counted the cycles.
        answers: one for each kernel.
        changes: facts with which the table gives what was measured.
        unexplained: what differs though no value of one fact explains it.
    """

    core: str
    table: str
    source: str
    answers: tuple[PipelineAnswer, ...]
    changes: Mapping[str, bool | int | float]
    unexplained: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether the table is right about everything asked."""
        return all(answer.holds for answer in self.answers)

    def toml(self) -> str:
        """Return the file that makes the table say what the part does, for `--assume`; empty if nothing changes."""
        if not self.changes:
            return ""
        values = {key: str(value).lower() if isinstance(value, bool) else value for key, value in self.changes.items()}
        return "\n".join(["[pipeline]", f'core = "{self.core}"', *(f"{k} = {v}" for k, v in values.items())]) + "\n"


def pipeline_text(report: PipelineReport) -> str:
    """Return the answers, one a line, and what follows from them."""
    lines = [f"{report.core}: cycles of a turn by {report.source}, beside {report.table}"]
    for answer in report.answers:
        verdict = "ok" if answer.holds else "DIFFERS"
        fact = f" [{answer.kernel.settles}]" if answer.kernel.settles else ""
        lines.append(f"  {verdict:8}{answer.kernel.what}{fact}: {answer.measured:.2f}, table {answer.expected:.2f}")
    equal = sum(answer.holds for answer in report.answers)
    lines.append(f"{equal} of {len(report.answers)} equal")
    if report.unexplained:
        lines.append("No value of one fact of the table explains: " + "; ".join(report.unexplained))
    if report.changes:
        lines += [
            "With this in a file that --assume names, the table says what was measured:",
            "",
            report.toml().rstrip(),
        ]
    return "\n".join(lines)
