"""The error of all frontends."""

from __future__ import annotations

from collections.abc import Sequence

from utvm.errors import UtvmError


class FrontendError(UtvmError):
    """A model file that can't be taken. `problems` lists everything that was found, one text each."""

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        shown = "\n".join(f"  - {problem}" for problem in self.problems)
        plural = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__(f"{source} can't be imported, {plural}:\n{shown}")
