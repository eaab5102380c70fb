"""What the conversion of one ONNX node may ask: its operands and attributes, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.frontends.builder import GraphBuilder
from utvm.frontends.onnx_model import OnnxNode
from utvm.frontends.refusal import RefusedError, axis_of
from utvm.graph import Tensor

Value = Tensor | NDArray[Any]
"""An activation, or what is known at import."""


class NodeContext:
    """One node on its way into the graph."""

    def __init__(self, node: OnnxNode, builder: GraphBuilder, values: Mapping[str, Value], opset: int) -> None:
        self.node = node
        self.b = builder
        self.opset = opset
        self._values = values

    @property
    def inputs(self) -> int:
        """Number of inputs, absent ones included."""
        return len(self.node.inputs)

    def has(self, position: int) -> bool:
        """Whether an optional input is there."""
        return position < self.inputs and self.node.inputs[position] != ""

    def value(self, position: int) -> Value:
        """Return an input."""
        if not self.has(position):
            raise RefusedError(f"input {position} is needed and absent")
        found = self._values[self.node.inputs[position]]
        is_short = not isinstance(found, Tensor) and found.dtype.name == "bfloat16"
        return found.astype(np.float32) if is_short and not isinstance(found, Tensor) else found

    def x(self, position: int = 0) -> Tensor:
        """Return an input as a tensor of the graph; a constant becomes one."""
        value = self.value(position)
        if isinstance(value, Tensor):
            return value
        if value.dtype.kind not in "fiu":
            raise RefusedError(f"input {position} is of type {value.dtype}")
        return self.b.constant(value)

    def constant(self, position: int, what: str) -> NDArray[Any]:
        """Return an input that must be known at import."""
        value = self.value(position)
        if isinstance(value, Tensor):
            raise RefusedError(f"its {what} must be a constant")
        return value

    def floats(self, position: int, what: str) -> NDArray[np.float32]:
        """Return a constant as float32."""
        value = self.constant(position, what)
        if value.dtype.kind not in "fiu" or not np.isfinite(value.astype(np.float64)).all():
            raise RefusedError(f"its {what} has values that are no finite numbers")
        return value.astype(np.float32)

    def integers(self, position: int, what: str) -> tuple[int, ...]:
        """Return a constant of integers as a flat tuple."""
        value = self.constant(position, what)
        if value.dtype.kind not in "iu":
            raise RefusedError(f"its {what} are {value.dtype}, integers are expected")
        return tuple(int(v) for v in value.reshape(-1))

    def integers_or(self, position: int, attribute: str) -> tuple[int, ...] | None:
        """Return integers that newer opsets have as an input and older ones as an attribute; None where absent."""
        if self.has(position):
            return self.integers(position, attribute)
        return self.ints(attribute)

    def ints(self, name: str, default: Sequence[int] | None = None) -> tuple[int, ...] | None:
        """Return an attribute of integers."""
        value = self.node.attributes.get(name, default)
        if value is None:
            return None
        if not isinstance(value, Sequence) or any(not isinstance(v, int) for v in value):
            raise RefusedError(f"its attribute {name} is no list of integers")
        return tuple(value)

    def integer(self, name: str, default: int) -> int:
        """Return an attribute of one integer."""
        value = self.node.attributes.get(name, default)
        if not isinstance(value, int):
            raise RefusedError(f"its attribute {name} is no integer")
        return value

    def number(self, name: str, default: float) -> float:
        """Return an attribute of one finite number."""
        value = self.node.attributes.get(name, default)
        if not isinstance(value, int | float) or not np.isfinite(value):
            raise RefusedError(f"its attribute {name} is no finite number")
        return float(value)

    def text(self, name: str, default: str) -> str:
        """Return an attribute of text."""
        value = self.node.attributes.get(name, default)
        if not isinstance(value, str):
            raise RefusedError(f"its attribute {name} is no text")
        return value

    def axis(self, name: str, default: int, rank: int) -> int:
        """Return an attribute that names a dimension, counted from the front."""
        return axis_of(self.integer(name, default), rank)
