"""Networks that keep state, in TFLite's own form: variables with values from the start, windows over frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tflite

from utvm.frontends.tflite_encoded import EncodedOperator
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


def svdf(rng: np.random.Generator) -> bytes:
    """Return an SVDF of drawn sizes, scales and types."""
    batch, inputs, rank, units, memory = (int(rng.integers(1, n)) for n in (3, 9, 4, 7, 9))
    filters, dtype = rank * units, DType.INT16 if rng.integers(0, 2) else DType.INT8
    quants = [Quantization.per_tensor(2.0 ** rng.uniform(-9, -2), int(rng.integers(-128, 128))) for _ in range(2)]
    few = Quantization.per_tensor(2.0 ** rng.uniform(-9, -4))
    kept = Quantization.per_tensor(quants[0].scale[0] * few.scale[0] * (0.5 if dtype is DType.INT16 else 40) * inputs)
    least, most = np.iinfo(dtype.value).min, np.iinfo(dtype.value).max
    x, y = activation("x", batch, inputs, quant=quants[0]), activation("y", batch, units, quant=quants[1])
    state = activation("state", batch, filters * memory, quant=kept, dtype=dtype)
    feature = constant("feature", rng.integers(-127, 128, (filters, inputs)), few, DType.INT8)
    slow = Quantization.per_tensor(y.scale / kept.scale[0] / (most * memory) * 2.0 ** rng.uniform(0, 3))
    time = constant("time", rng.integers(least + 1, most + 1, (filters, memory)) // 3, slow, dtype)
    unit = Quantization.per_tensor(kept.scale[0] * slow.scale[0])
    bias = constant("bias", rng.integers(-20000, 20000, units), unit)
    return _svdf_file([x, feature, time, bias, state], y, rank, tflite.ActivationFunctionType.NONE)


def lstm(rng: np.random.Generator) -> bytes:
    """Return an LSTM of drawn sizes and scales."""
    batch, steps, depth, units = (int(rng.integers(1, n)) for n in (3, 6, 9, 9))
    major = bool(rng.integers(0, 2))
    lead = (steps, batch) if major else (batch, steps)
    given = Quantization.per_tensor(2.0 ** rng.uniform(-8, -4), int(rng.integers(-128, 128)))
    x = activation("x", *lead, depth, quant=given)
    hidden_quant = Quantization.per_tensor(2.0 ** rng.uniform(-8, -6), int(rng.integers(-128, 128)))
    y = activation("y", *lead, units, quant=hidden_quant)
    hidden = activation("hidden", batch, units, quant=hidden_quant)
    cell = activation(
        "cell", batch, units, quant=Quantization.per_tensor(2.0 ** -int(rng.integers(8, 16))), dtype=DType.INT16
    )

    def weights(name: str, columns: int) -> Tensor:
        data = rng.integers(-127, 128, (units, columns))
        return constant(name, data, Quantization.per_tensor(2.0 ** rng.uniform(-9, -4)), DType.INT8)

    gates = [weights(f"x{g}", depth) for g in range(4)] + [weights(f"h{g}", units) for g in range(4)]
    biases = [constant(f"b{g}", rng.integers(-3000, 3000, units), Quantization.per_tensor(0.001)) for g in range(4)]
    clip = float(rng.choice([0.0, 0.5, 10.0]))
    return _lstm_file([x, *gates], biases, [hidden, cell], y, major=major, clip=clip)


def _svdf_file(inputs: Sequence[Tensor], y: Tensor, rank: int, function: int) -> bytes:
    """Return an SVDF alone; the last of its inputs is its state."""
    op = encoded(CODES.SVDF, inputs, [y], "SVDFOptions", Rank=rank, FusedActivationFunction=function)
    part = Subgraph(name="svdf", inputs=inputs[:1], outputs=[y], operators=[op], variables=inputs[-1:])
    return write_subgraphs([part])


def _lstm_file(
    weighted: Sequence[Tensor], biases: Sequence[Tensor], kept: Sequence[Tensor], y: Tensor, *, major: bool, clip: float
) -> bytes:
    """Return an LSTM alone: its input with the weights of its gates, biases, and its states."""
    inputs = [*weighted, None, None, None, *biases, None, None, *kept, None, None, None, None]
    op = encoded(
        CODES.UNIDIRECTIONAL_SEQUENCE_LSTM, inputs, [y], "UnidirectionalSequenceLSTMOptions", TimeMajor=major,
        FusedActivationFunction=tflite.ActivationFunctionType.TANH, CellClip=clip,
    )  # fmt: skip
    return write_subgraphs([Subgraph(name="lstm", inputs=weighted[:1], outputs=[y], operators=[op], variables=kept)])


def real_svdf(rng: np.random.Generator) -> bytes:
    """Return an SVDF of float32 of drawn sizes."""
    batch, inputs, rank, units, memory = (int(rng.integers(1, n)) for n in (3, 9, 4, 7, 9))
    x, y = _real("x", batch, inputs), _real("y", batch, units)
    state = _real("state", batch, rank * units * memory)
    feature, time = _drawn("feature", rng, rank * units, inputs), _drawn("time", rng, rank * units, memory)
    bias = _drawn("bias", rng, units)
    kinds = tflite.ActivationFunctionType
    return _svdf_file([x, feature, time, bias, state], y, rank, int(rng.choice([kinds.NONE, kinds.RELU])))


def real_lstm(rng: np.random.Generator) -> bytes:
    """Return an LSTM of float32 of drawn sizes."""
    batch, steps, depth, units = (int(rng.integers(1, n)) for n in (3, 6, 9, 9))
    major = bool(rng.integers(0, 2))
    lead = (steps, batch) if major else (batch, steps)
    x, y = _real("x", *lead, depth), _real("y", *lead, units)
    hidden, cell = _real("hidden", batch, units), _real("cell", batch, units)
    gates = [_drawn(f"x{g}", rng, units, depth) for g in range(4)]
    gates += [_drawn(f"h{g}", rng, units, units) for g in range(4)]
    biases = [_drawn(f"b{g}", rng, units) for g in range(4)]
    clip = float(rng.choice([0.0, 0.5, 10.0]))
    return _lstm_file([x, *gates], biases, [hidden, cell], y, major=major, clip=clip)


def _real(name: str, *shape: int) -> Tensor:
    return activation(name, *shape, quant=None, dtype=DType.FLOAT32)


def _drawn(name: str, rng: np.random.Generator, *shape: int) -> Tensor:
    return constant(name, rng.standard_normal(shape) / 2, None, DType.FLOAT32)
