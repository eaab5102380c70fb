"""What the conversion of one operator may ask: its tensors, checked, and a way to refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tflite
from numpy.typing import NDArray

from utvm.frontends.flatbuffer import RawModel, RawOperator, RawTensor
from utvm.graph import DType, Tensor

ACTIVATION_RANGES = {
    tflite.ActivationFunctionType.NONE: (None, None),
    tflite.ActivationFunctionType.RELU: (0.0, None),
    tflite.ActivationFunctionType.RELU6: (0.0, 6.0),
    tflite.ActivationFunctionType.RELU_N1_TO_1: (-1.0, 1.0),
}
"""The real range to which each fused activation clamps."""


class RefusedError(Exception):
    """An operator can't be taken; the text is the reason, with the tensor it is about."""


class Context:
    """One operator of a file on its way into the graph."""

    def __init__(self, model: RawModel, raw: RawOperator, tensors: dict[int, Tensor]) -> None:
        self._model = model
        self._tensors = tensors
        self.raw = raw
        self.name = f"{raw.kind.lower()}_{raw.index}"

    def options(self, kind: Callable[[], Any]) -> Any:
        """Return the operator's options read as `kind`."""
        if self.raw.options is None:
            raise RefusedError("its options are missing")
        table = kind()
        table.Init(self.raw.options.Bytes, self.raw.options.Pos)
        return table

    def arity(self, inputs: tuple[int, ...], outputs: int = 1) -> None:
        """Refuse other numbers of inputs and outputs."""
        if len(self.raw.inputs) not in inputs:
            raise RefusedError(f"it has {len(self.raw.inputs)} inputs, {' or '.join(map(str, inputs))} are expected")
        if len(self.raw.outputs) != outputs:
            raise RefusedError(f"it has {len(self.raw.outputs)} outputs, {outputs} are expected")

    def any_input(self, position: int) -> Tensor:
        """Return an input of any type."""
        return self._tensor(self.raw.inputs[position])

    def any_output(self, position: int = 0) -> Tensor:
        """Return an output of any type."""
        tensor = self._tensor(self.raw.outputs[position])
        if tensor.is_constant:
            raise RefusedError(f"tensor '{tensor.name}': an output can't be a constant")
        return tensor

    def activation(self, position: int) -> Tensor:
        """Return an int8 input quantised as a whole; a constant is allowed."""
        return _quantised(self.any_input(position))

    def result(self, position: int = 0) -> Tensor:
        """Return an int8 output quantised as a whole."""
        return _quantised(self.any_output(position))

    def constant(self, position: int, dtype: DType) -> NDArray[Any]:
        """Return the values of a constant input."""
        tensor = self.any_input(position)
        if not tensor.is_constant:
            raise RefusedError(f"tensor '{tensor.name}': it must be a constant")
        if tensor.dtype is not dtype:
            raise RefusedError(f"tensor '{tensor.name}': its type is {tensor.dtype}, {dtype} is expected")
        return tensor.values

    def integers(self, position: int) -> tuple[int, ...]:
        """Return a constant int32 input as a flat tuple."""
        return tuple(int(v) for v in self.constant(position, DType.INT32).reshape(-1))

    def weights(self, position: int, rank: int, axis: int) -> Tensor:
        """Return constant int8 weights, symmetric, quantised as a whole or along `axis`."""
        values = self.constant(position, DType.INT8)
        tensor = self.any_input(position)
        if values.ndim != rank:
            raise RefusedError(
                f"tensor '{tensor.name}': weights of shape {list(tensor.shape)}, rank {rank} is expected"
            )
        if tensor.quant is None:
            raise RefusedError(f"tensor '{tensor.name}': weights without quantisation")
        if any(tensor.quant.zero_point):
            raise RefusedError(f"tensor '{tensor.name}': weights with a zero point other than 0")
        if tensor.quant.axis not in (None, axis):
            raise RefusedError(f"tensor '{tensor.name}': quantised along dimension {tensor.quant.axis}, not {axis}")
        return tensor

    def bias(self, position: int, channels: int) -> Tensor | None:
        """Return an int32 bias of `channels` elements, or None where there is none."""
        if position >= len(self.raw.inputs) or self.raw.inputs[position] < 0:
            return None
        values = self.constant(position, DType.INT32)
        tensor = self.any_input(position)
        if values.shape != (channels,):
            raise RefusedError(f"tensor '{tensor.name}': bias of shape {list(values.shape)}, [{channels}] is expected")
        return tensor

    def _tensor(self, index: int) -> Tensor:
        if index < 0:
            raise RefusedError("an input that is needed is absent")
        if index not in self._tensors:
            self._tensors[index] = make_tensor(self._model.tensors[index])
        return self._tensors[index]


def make_tensor(raw: RawTensor) -> Tensor:
    """Return the graph's form of a tensor of the file."""
    if raw.problem is not None or raw.dtype is None:
        raise RefusedError(f"tensor '{raw.name}': {raw.problem}")
    return Tensor(name=raw.name, shape=raw.shape, dtype=raw.dtype, quant=raw.quant, data=raw.data)


def expect_shape(tensor: Tensor, shape: tuple[int, ...]) -> None:
    """Refuse a tensor of another shape."""
    if tensor.shape != shape:
        raise RefusedError(f"tensor '{tensor.name}': its shape is {list(tensor.shape)}, {list(shape)} is expected")


def same_quantisation(x: Tensor, y: Tensor) -> None:
    """Refuse two tensors whose scale or zero point differ."""
    if (x.scale, x.zero_point) != (y.scale, y.zero_point):
        raise RefusedError(f"tensors '{x.name}' and '{y.name}' must have the same scale and zero point")


def axis_of(axis: int, rank: int) -> int:
    """Return a dimension counted from the front."""
    if not -rank <= axis < rank:
        raise RefusedError(f"axis {axis} is outside rank {rank}")
    return axis % rank


def quantised_range(tensor: Tensor, low: float | None, high: float | None) -> tuple[int, int]:
    """Return a real range in int8 units as TFLite computes it (CalculateActivationRangeQuantized), in float32."""

    def quantise(real: float) -> int:
        scaled = float(np.float32(real) / np.float32(tensor.scale))
        return int(np.sign(scaled) * np.floor(abs(scaled) + 0.5)) + tensor.zero_point

    least = -128 if low is None else max(-128, quantise(low))
    most = 127 if high is None else min(127, quantise(high))
    return least, most


def _quantised(tensor: Tensor) -> Tensor:
    if tensor.dtype is not DType.INT8:
        raise RefusedError(f"tensor '{tensor.name}': its type is {tensor.dtype}, int8 is expected")
    if tensor.quant is None or len(tensor.quant.scale) != 1:
        raise RefusedError(f"tensor '{tensor.name}': it is not quantised as a whole")
    if not -128 <= tensor.zero_point <= 127:
        raise RefusedError(f"tensor '{tensor.name}': its zero point {tensor.zero_point} is outside int8")
    return tensor
