"""How a conversion says that it can't take an operator."""

from __future__ import annotations


class RefusedError(Exception):
    """An operator can't be taken; the text is the reason, with the tensor it is about.

    Attributes:
        advice: how to get on, empty where the reason says it.
    """

    def __init__(self, reason: str, advice: str = "") -> None:
        super().__init__(reason)
        self.advice = advice


def axis_of(axis: int, rank: int) -> int:
    """Return a dimension counted from the front."""
    if not -rank <= axis < rank:
        raise RefusedError(f"axis {axis} is outside rank {rank}")
    return axis % rank
