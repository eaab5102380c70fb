"""The error of all frontends."""

from __future__ import annotations

from collections.abc import Sequence

from utvm.errors import UtvmError


class FrontendError(UtvmError):
    """A model that can't be imported or written.

    Attributes:
        problems: everything that was found, one text each.
        advice: what to do about it, one text each; may be empty.
    """

    def __init__(
        self, source: str, problems: Sequence[str], *, advice: Sequence[str] = (), action: str = "imported"
    ) -> None:
        self.problems = tuple(problems)
        self.advice = tuple(advice)
        plural = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        lines = [f"{source} can't be {action}, {plural}:"]
        lines += [f"  - {problem}" for problem in self.problems]
        if self.advice:
            lines += ["What to do:", *(f"  - {text}" for text in self.advice)]
        super().__init__("\n".join(lines))
