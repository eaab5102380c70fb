"""Operators that read what an earlier run left, and make what the next one reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from utvm.graph.operators import Operator
from utvm.graph.tensor import Tensor

GATES = 4
"""Gates of an LSTM in the order of its weights: input, forget, cell, output."""
CELL_GATE = 2
"""The gate that goes through tanh, not through the sigmoid."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SvdfFeature(Operator):
    """x [B,I], weights [F,I] -> y [B,F] in units of the state: what an SVDF remembers of one step. No bias."""

    x: Tensor
    weights: Tensor
    y: Tensor

    input_fields: ClassVar[tuple[str, ...]] = ("x", "weights")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ShiftIn(Operator):
    """x [B,F*M] as [B,F,M], of which the oldest value is dropped, then `new` [B,F] appended -> y [B,F*M]."""

    x: Tensor
    new: Tensor
    y: Tensor

    input_fields: ClassVar[tuple[str, ...]] = ("x", "new")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SvdfTime(Operator):
    """x [B,F*M], weights [F,M], bias [U] or None -> y [B,U], a sum over memory and the F/U ranks of a unit."""

    x: Tensor
    weights: Tensor
    bias: Tensor | None
    y: Tensor

    input_fields: ClassVar[tuple[str, ...]] = ("x", "weights", "bias")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lstm(Operator):
    """An LSTM over a sequence, as tflite-micro computes it: int8, with a cell state in int16; or all of it float32.

    Attributes:
        x: [B,T,I], or [T,B,I] if `time_major`.
        hidden, cell: [B,S], int8 and int16; what the last run left.
        input_weights, recurrent_weights: [S,I] and [S,S] for each gate, in the order of `GATES`.
        biases: int32 or float32 [S] for each gate.
        y: [B,T,S] or [T,B,S].
        next_hidden, next_cell: what this run leaves.
        cell_clip: the most that the cell state may be, in its own units; 0 is no limit.
    """

    x: Tensor
    hidden: Tensor
    cell: Tensor
    input_weights: tuple[Tensor, ...]
    recurrent_weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    y: Tensor
    next_hidden: Tensor
    next_cell: Tensor
    time_major: bool = False
    cell_clip: float = 0

    input_fields: ClassVar[tuple[str, ...]] = (
        "x", "hidden", "cell", "input_weights", "recurrent_weights", "biases",
    )  # fmt: skip
    output_fields: ClassVar[tuple[str, ...]] = ("y", "next_hidden", "next_cell")

    @property
    def units(self) -> int:
        """Values of the state."""
        return self.input_weights[0].shape[0]

    @property
    def sizes(self) -> tuple[int, int]:
        """Sequences and steps."""
        first, second = self.x.shape[:2]
        return (second, first) if self.time_major else (first, second)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all gates and steps."""
        sequences, steps = self.sizes
        return sequences * steps * GATES * self.units * (self.x.shape[2] + self.units)
