"""Networks that keep state, in TFLite's own form: variables with values from the start, windows over frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tflite

from utvm.frontends.tflite_encoders import EncodedOperator
from utvm.frontends.tflite_writer import Subgraph, write_subgraphs
from utvm.graph import DType, Quantization, Tensor

CODES = tflite.BuiltinOperator
UNITS = Quantization.per_tensor(0.05, 3)


def encoded(
    code: int, inputs: Sequence[Tensor | None], outputs: Sequence[Tensor], options: str | None = None, **fields: Any
) -> EncodedOperator:
    """Return an operator of a file."""
    return EncodedOperator(
        code=code, version=1, inputs=tuple(inputs), outputs=tuple(outputs), options=options, fields=fields
    )


def activation(name: str, *shape: int, quant: Quantization | None = UNITS, dtype: DType = DType.INT8) -> Tensor:
    """Return a tensor without data."""
    return Tensor(name=name, shape=shape, dtype=dtype, quant=quant)


def constant(name: str, values: Any, quant: Quantization | None = None, dtype: DType = DType.INT32) -> Tensor:
    """Return a tensor with data."""
    data = np.array(values, dtype.value)
    return Tensor(name=name, shape=data.shape, dtype=dtype, quant=quant, data=data)


def handle(name: str) -> tuple[Tensor, EncodedOperator]:
    """Return a tensor that stands for a variable, and the operator that makes it."""
    tensor = Tensor(name=f"{name}/handle", shape=(1,), dtype=DType.INT32)
    return tensor, encoded(CODES.VAR_HANDLE, [], [tensor], "VarHandleOptions", Container="", SharedName=name)


def windowed(rng: np.random.Generator, *, initial: bool, layers: int = 2, channels: int = 8) -> bytes:
    """Return a streaming network: each layer joins what it kept of earlier frames with the new one, and convolves."""
    operators: list[EncodedOperator] = []
    once: list[EncodedOperator] = []
    handles: list[Tensor] = []
    firsts: list[Tensor] = []
    x = frame = activation("frame", 1, 1, 1, 6)
    if initial:
        operators.append(encoded(CODES.CALL_ONCE, [], [], "CallOnceOptions", InitSubgraphIndex=1))
    for layer in range(layers):
        taps, depth = int(rng.integers(3, 6)), x.shape[3]
        name = f"layer{layer}"
        tensor, made = handle(name)
        handles.append(tensor)
        kept = activation(f"{name}/kept", 1, taps - 1, 1, depth)
        joined = activation(f"{name}/joined", 1, taps, 1, depth)
        later = activation(f"{name}/later", 1, taps - 1, 1, depth)
        y = activation(f"{name}/y", 1, 1, 1, channels)
        data = rng.integers(-127, 128, (channels, taps, 1, depth))
        weights = constant(f"{name}/w", data, Quantization.per_tensor(0.02), DType.INT8)
        bias = constant(f"{name}/b", rng.integers(-500, 500, channels))
        bounds = [constant(f"{name}/{i}", v) for i, v in enumerate(([0, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]))]
        operators += [
            made,
            encoded(CODES.READ_VARIABLE, [tensor], [kept], "ReadVariableOptions"),
            encoded(CODES.CONCATENATION, [kept, x], [joined], "ConcatenationOptions", Axis=1),
            encoded(CODES.STRIDED_SLICE, [joined, *bounds], [later], "StridedSliceOptions", BeginMask=13, EndMask=15),
            encoded(CODES.ASSIGN_VARIABLE, [tensor, later], [], "AssignVariableOptions"),
            encoded(
                CODES.CONV_2D, [joined, weights, bias], [y], "Conv2DOptions",
                Padding=tflite.Padding.VALID, StrideH=1, StrideW=1,
            ),
        ]  # fmt: skip
        if initial:
            other, again = handle(name)
            handles.append(other)
            first = constant(f"{name}/first", rng.integers(-128, 128, later.shape), UNITS, DType.INT8)
            once += [again, encoded(CODES.ASSIGN_VARIABLE, [other, first], [], "AssignVariableOptions")]
            firsts.append(first)
        x = y
    graphs = [Subgraph(name="main", inputs=[frame], outputs=[x], operators=operators, resources=handles)]
    if initial:
        graphs.append(Subgraph(name="once", inputs=[], outputs=[], operators=once, resources=handles))
    return write_subgraphs(graphs)
