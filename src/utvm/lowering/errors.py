"""What goes wrong on the way from a graph to a program."""

from __future__ import annotations

from utvm.errors import UtvmError


class LoweringError(UtvmError):
    """A graph that cannot become a program."""


class RamBudgetError(LoweringError):
    """No choice of kernels has an arena as small as is allowed.

    Attributes:
        reason: what is short, without advice.
        needed: a size to try, in bytes.
    """

    def __init__(self, reason: str, needed: int, *, advice: str = "") -> None:
        super().__init__(reason + advice)
        self.reason = reason
        self.needed = needed


class FlashBudgetError(LoweringError):
    """No choice of kernels takes as few bytes as are left; `needed` is the least that any takes."""

    def __init__(self, message: str, needed: int) -> None:
        super().__init__(message)
        self.needed = needed
