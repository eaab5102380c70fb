"""An operator's meaning as computations: what kernels render and what the reference evaluates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from utvm.compute import Buffer, Compute, Load, axis, evaluate, number
from utvm.graph.tensor import Tensor

Constants = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Definition:
    """What an operator computes: one computation after another.

    Attributes:
        stages: each may read the inputs, the constants and the outputs of earlier ones; the last makes the output.
        inputs: buffer → the tensor that it is; two buffers may be one tensor.
        constants: buffer → what is known when compiling, such as tables.
    """

    stages: tuple[Compute, ...]
    inputs: Mapping[str, Tensor]
    constants: Constants = field(default_factory=dict)

    @property
    def only(self) -> Compute | None:
        """The computation, where there is but one."""
        return self.stages[0] if len(self.stages) == 1 else None

    def evaluate(self, arrays: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Return the output for arrays by the names of input buffers."""
        known: dict[str, NDArray[Any]] = {**self.constants, **arrays}
        for stage in self.stages:
            known[stage.output.name] = evaluate(stage, known)
        return known[self.stages[-1].output.name]


def buffer_of(name: str, tensor: Tensor, shape: Sequence[int] | None = None) -> Buffer:
    """Return a tensor as a buffer, perhaps in another shape of as many elements."""
    return Buffer(name=name, c_type=tensor.dtype.c_type, shape=tuple(tensor.shape if shape is None else shape))


def broadcast_load(name: str, tensor: Tensor, names: Sequence[str], shape: Sequence[int]) -> Load:
    """Return the element of a tensor at a point of `shape`, whose axes are `names`, by numpy's broadcasting."""
    padded = (1,) * (len(shape) - len(tensor.shape)) + tensor.shape
    index = tuple(number(0) if size == 1 else axis(n) for n, size in zip(names, padded, strict=True))
    return Load(buffer=buffer_of(name, tensor, padded), index=index)


def axes_of(shape: Sequence[int], letter: str = "d") -> dict[str, int]:
    """Return an axis for each dimension."""
    return {f"{letter}{i}": size for i, size in enumerate(shape)}
