"""How a conversion says that it can't take an operator, and what every conversion refuses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class RefusedError(Exception):
    """An operator can't be taken; the text is the reason, with the tensor it is about.

    Attributes:
        advice: how to get on, empty where the reason says it.
    """

    def __init__(self, reason: str, advice: str = "") -> None:
        super().__init__(reason)
        self.advice = advice


class ShapeRefusedError(RefusedError):
    """A tensor has another shape than its operator gives it: perhaps its file leaves it open.

    Attributes:
        shape: what the operator gives.
    """

    def __init__(self, reason: str, shape: Sequence[int]) -> None:
        super().__init__(reason)
        self.shape = tuple(shape)


def axis_of(axis: int, rank: int) -> int:
    """Return a dimension counted from the front."""
    if not -rank <= axis < rank:
        raise RefusedError(f"axis {axis} is outside rank {rank}")
    return axis % rank


def broadcast_shape(*shapes: Sequence[int]) -> tuple[int, ...]:
    """Return the shape that operands make together by numpy's rules."""
    try:
        return tuple(int(size) for size in np.broadcast_shapes(*map(tuple, shapes)))
    except ValueError:
        shown = " and ".join(str(list(shape)) for shape in shapes)
        raise RefusedError(f"the shapes {shown} do not go together") from None
