"""What a network remembers from one run to the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.graph.tensor import Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class State:
    """A value that one run leaves for the next. The graph reads `before` and makes `after`, which may be one tensor.

    Attributes:
        before: what the last run left, at the first `initial`; nothing makes it.
        after: what is left for the next run, of the same shape and type.
        initial: the value before the first run and after a reset.
    """

    before: Tensor
    after: Tensor
    initial: NDArray[Any]

    def __post_init__(self) -> None:
        ends = {(t.shape, t.dtype) for t in (self.before, self.after)}
        if ends != {(self.initial.shape, self.before.dtype)} or self.initial.dtype != np.dtype(self.before.dtype.value):
            raise ValueError(
                f"state '{self.before.name}': what is read, left and there at first differ in shape or type"
            )
        self.initial.setflags(write=False)

    @property
    def name(self) -> str:
        """The name of what is read."""
        return self.before.name

    def with_tensors(self, mapping: Mapping[Tensor, Tensor]) -> State:
        """Return the state with each tensor that is a key of `mapping` replaced by its value."""
        if self.before not in mapping and self.after not in mapping:
            return self
        before, after = (mapping.get(t, t) for t in (self.before, self.after))
        return State(before=before, after=after, initial=self.initial)
