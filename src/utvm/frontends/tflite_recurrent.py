"""TFLite operators that keep a state of their own: SVDF and the LSTM over a sequence."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import tflite

from utvm.frontends.context import Context, expect_shape
from utvm.frontends.refusal import RefusedError
from utvm.frontends.tflite_parts import Converted
from utvm.frontends.tflite_scales import check_ratio
from utvm.frontends.tflite_state import kept_tensor
from utvm.frontends.tflite_weights import bias_of
from utvm.graph import DType, Lstm, Quantization, ShiftIn, SvdfFeature, SvdfTime, Tensor
from utvm.graph.recurrent import GATES

_LSTM_INPUTS = 24
_HIDDEN, _CELL = 18, 19
_ABSENT = {9: "peepholes", 16: "a projection", 20: "layer normalisation"}
"""Inputs that variants of the LSTM have and tflite-micro does not take."""
_GATE_SCALE = 2.0**-12
"""Of the sums of an LSTM's gates."""
_LEAST_POWER, _MOST_POWER = -27, 0
"""Powers of two of a cell state's scale whose shifts fit 32 bits."""


def _svdf(c: Context) -> Converted:
    c.arity((5,))
    options = c.options(tflite.SVDFOptions)
    x, y = c.activation(0), c.result()
    real = x.dtype is DType.FLOAT32
    name, state = kept_tensor(c, 4)
    feature = _fixed(c, 1, (x.dtype,))
    time = _fixed(c, 2, (x.dtype,) if real else (DType.INT8, DType.INT16))
    rank = options.Rank()
    if len(x.shape) != 2 or len(feature.shape) != 2 or len(time.shape) != 2 or rank < 1:
        raise RefusedError(
            f"its input has shape {list(x.shape)}, its weights {list(feature.shape)}, its rank is {rank}"
        )
    filters, memory = time.shape
    if feature.shape != (filters, x.shape[1]) or filters % rank:
        raise RefusedError(
            f"weights {list(feature.shape)} and {list(time.shape)} of rank {rank} do not fit {list(x.shape)}"
        )
    expect_shape(y, (x.shape[0], filters // rank))
    expect_shape(state, (x.shape[0], filters * memory))
    if real:
        if state.dtype is not DType.FLOAT32:
            raise RefusedError(f"tensor '{state.name}': a state of float32 is expected")
        c.clamp(options.FusedActivationFunction(), y)
    else:
        if state.dtype is not time.dtype or state.quant is None or state.zero_point:
            raise RefusedError(
                f"tensor '{state.name}': a state of {time.dtype} with a scale and zero point 0 is expected"
            )
        for a, b, made in ((x, feature, state), (state, time, y)):
            check_ratio(a.scale * b.scale / made.scale)
    bias = bias_of(c, 3, filters // rank)
    if bias is None:
        raise RefusedError("it has no bias, which tflite-micro does not take")
    new = Tensor(name=c.fresh("feature"), shape=(x.shape[0], filters), dtype=state.dtype, quant=state.quant)
    after = c.made("state", state, state.shape)
    c.variables.assign(name, after)
    return (
        SvdfFeature(name=f"{c.name}/feature", x=x, weights=feature, y=new),
        ShiftIn(name=f"{c.name}/state", x=state, new=new, y=after),
        SvdfTime(name=c.name, x=after, weights=time, bias=bias, y=y),
    )


def _lstm(c: Context) -> Converted:
    c.arity((_LSTM_INPUTS,))
    options = c.options(tflite.UnidirectionalSequenceLSTMOptions)
    for position, what in _ABSENT.items():
        if c.has_input(position):
            raise RefusedError(f"it has {what}, which tflite-micro does not take")
    if options.FusedActivationFunction() != tflite.ActivationFunctionType.TANH:
        raise RefusedError("its activation is not TANH")
    x, y = c.activation(0), c.result()
    if len(x.shape) != 3:
        raise RefusedError(f"tensor '{x.name}': its shape is {list(x.shape)}, three dimensions are expected")
    (hidden_name, hidden), (cell_name, cell) = kept_tensor(c, _HIDDEN), kept_tensor(c, _CELL)
    real = x.dtype is DType.FLOAT32
    inputs = tuple(_fixed(c, 1 + gate, (x.dtype,)) for gate in range(GATES))
    recurrent = tuple(_fixed(c, 1 + GATES + gate, (x.dtype,)) for gate in range(GATES))
    units, depth = inputs[0].shape[0], x.shape[2]
    major = bool(options.TimeMajor())
    sequences = x.shape[1 if major else 0]
    for tensor, shape in (*((t, (units, depth)) for t in inputs), *((t, (units, units)) for t in recurrent)):
        expect_shape(tensor, shape)
    expect_shape(y, (*x.shape[:2], units))
    for state, dtype in ((hidden, DType.INT8), (cell, DType.INT16)):
        if real and state.dtype is not DType.FLOAT32:
            raise RefusedError(f"tensor '{state.name}': a state of float32 is expected")
        if not real and (state.dtype is not dtype or state.quant is None or len(state.quant.scale) != 1):
            raise RefusedError(f"tensor '{state.name}': a state of {dtype}, quantised as a whole, is expected")
        if state.elements != sequences * units:
            raise RefusedError(f"tensor '{state.name}': {sequences * units} elements are expected")
    if not real:
        _check_scales(x, hidden, cell, inputs, recurrent)
    biases = tuple(bias for gate in range(GATES) if (bias := bias_of(c, 12 + gate, units)) is not None)
    if len(biases) != GATES:
        raise RefusedError("a bias for each gate is expected")
    clip = max(float(options.CellClip()), 0.0)
    if clip and not real:
        clip = int(min(clip / cell.scale, 32767.0))
        if clip == 0:
            raise RefusedError(f"its cell_clip {options.CellClip()} is below one step of the cell state")
    next_hidden, next_cell = c.made("hidden", hidden, hidden.shape), c.made("cell", cell, cell.shape)
    c.variables.assign(hidden_name, next_hidden)
    c.variables.assign(cell_name, next_cell)
    return Lstm(
        name=c.name,
        x=x,
        hidden=hidden,
        cell=cell,
        input_weights=inputs,
        recurrent_weights=recurrent,
        biases=biases,
        y=y,
        next_hidden=next_hidden,
        next_cell=next_cell,
        time_major=major,
        cell_clip=clip or 0,
    )


def _check_scales(
    x: Tensor, hidden: Tensor, cell: Tensor, inputs: tuple[Tensor, ...], recurrent: tuple[Tensor, ...]
) -> None:
    """Refuse scales and zero points of an LSTM that 32 bits can't express."""
    if not -128 <= hidden.zero_point <= 127:
        raise RefusedError(f"tensor '{hidden.name}': its zero point {hidden.zero_point} is outside int8")
    if not 2.0**_LEAST_POWER <= cell.scale <= 2.0**_MOST_POWER:
        raise RefusedError(f"tensor '{cell.name}': its scale {cell.scale} is out of range")
    for weights, source in ((inputs, x), (recurrent, hidden)):
        for tensor in weights:
            check_ratio(source.scale * tensor.scale / _GATE_SCALE)
    check_ratio(2.0**-30 / hidden.scale)


def _fixed(c: Context, position: int, types: tuple[DType, ...]) -> Tensor:
    """Return constant weights: of float32, or with one scale and no zero point."""
    tensor = c.any_input(position)
    if not tensor.is_constant or tensor.dtype not in types:
        raise RefusedError(f"tensor '{tensor.name}': constant {' or '.join(types)} is expected")
    if len(tensor.shape) != 2:
        raise RefusedError(f"tensor '{tensor.name}': weights of shape {list(tensor.shape)}, rank 2 is expected")
    if tensor.dtype is DType.FLOAT32:
        return tensor
    quant: Quantization | None = tensor.quant
    if quant is None or len(quant.scale) != 1 or any(quant.zero_point):
        raise RefusedError(f"tensor '{tensor.name}': one scale and no zero point are expected")
    if not np.isfinite(tensor.scale):
        raise RefusedError(f"tensor '{tensor.name}': its scale is not finite")
    return tensor


RECURRENT: Mapping[str, Callable[[Context], Converted]] = {
    "SVDF": _svdf,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm,
}
