"""Many small programs as one: equal functions are compiled once, and each program's calls can be made alone.

A compiler's start costs more than most drawn cases, and a link, a load and a start-up as much again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from utvm.codegen import CModel, render_model, step_symbol
from utvm.kernels import PRELUDE, with_dependencies
from utvm.lowering import Program

NAME = "batch"


@dataclass(frozen=True, slots=True)
class Batch:
    """Programs, each with its own plan of the same arena."""

    programs: tuple[Program, ...]

    def render(self) -> dict[str, str]:
        """Return the C files of a model called `NAME`, whose steps are the calls of all programs, one after another."""
        calls = [call for program in self.programs for call in program.calls]
        used = [helper for call in calls for helper in call.kernel.function.helpers]
        model = CModel(
            name=NAME,
            summary=f"{len(self.programs)} programs",
            arena_bytes=max(program.arena_bytes for program in self.programs),
            inputs=(),
            outputs=(),
            calls=tuple(call for program in self.programs for call in program.c_model().calls),
        )
        return render_model(model, {name: PRELUDE[name] for name in with_dependencies(used)}, steps=True)

    def steps(self) -> list[list[str]]:
        """Return the functions that make each program's calls; all take the arena."""
        found, start = [], 0
        for program in self.programs:
            found.append([step_symbol(NAME, start + index) for index in range(len(program.calls))])
            start += len(program.calls)
        return found


def batches(programs: Sequence[Program], most: int) -> list[Batch]:
    """Return programs in batches of at most so many."""
    return [Batch(tuple(programs[start : start + most])) for start in range(0, len(programs), most)]
