"""An operator's meaning as computations: what kernels render and what the reference evaluates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.compute import Buffer, Compute, Helper, Load, axis, evaluate, number
from utvm.graph.tensor import DType, Tensor
from utvm.numerics import half_up_shift, multiply_by_quantized_multiplier, multiply_single_rounding

Constants = Mapping[str, NDArray[Any]]

CLAMP = Helper(name="utvm_clamp", evaluate=np.clip)
REQUANTIZE = Helper(name="utvm_requantize_double", evaluate=multiply_by_quantized_multiplier)
REQUANTIZE_SINGLE = Helper(name="utvm_requantize_single", evaluate=multiply_single_rounding)
REQUANTIZE_HALF_UP = Helper(
    name="utvm_requantize_half_up_shift", evaluate=lambda x, _, shift: half_up_shift(x, 1 - shift)
)


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


def stored_range(dtype: DType) -> tuple[int, int]:
    """Return the least and the largest value of an integer type."""
    limits = np.iinfo(dtype.value)
    return int(limits.min), int(limits.max)


def broadcast_load(name: str, tensor: Tensor, names: Sequence[str], shape: Sequence[int]) -> Load:
    """Return the element of a tensor at a point of `shape`, whose axes are `names`, by numpy's broadcasting."""
    padded = (1,) * (len(shape) - len(tensor.shape)) + tensor.shape
    index = tuple(number(0) if size == 1 else axis(n) for n, size in zip(names, padded, strict=True))
    return Load(buffer=buffer_of(name, tensor, padded), index=index)


def axes_of(shape: Sequence[int], letter: str = "d") -> dict[str, int]:
    """Return an axis for each dimension."""
    return {f"{letter}{i}": size for i, size in enumerate(shape)}
