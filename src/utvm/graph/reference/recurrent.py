"""LSTM in numpy, step by step. Source: tflite-micro's lstm_eval.h."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.graph.arithmetic import Requantization, lstm_parameters
from utvm.graph.recurrent import CELL_GATE, GATES, Lstm
from utvm.graph.tensor import DType
from utvm.numerics import multiply_by_quantized_multiplier, wrap_int32
from utvm.numerics.floating import float_logistic, float_tanh
from utvm.numerics.wide import sigmoid_int16, tanh_int16

Array = NDArray[Any]


def lstm(op: Lstm, x: Array, hidden: Array, cell: Array, *constants: Array) -> tuple[Array, ...]:
    """Return y, and the hidden and the cell state behind the last step."""
    if op.x.dtype is DType.FLOAT32:
        return _lstm_of_reals(op, x, hidden, cell, *constants)
    p = lstm_parameters(op)
    weights, recurrent, biases = constants[:GATES], constants[GATES : 2 * GATES], constants[2 * GATES :]
    sequences, steps = op.sizes
    now, held = hidden.astype(np.int64).reshape(sequences, -1), cell.astype(np.int64).reshape(sequences, -1)
    found = []
    for step in range(steps):
        given = (x[step] if op.time_major else x[:, step]).astype(np.int64) - op.x.zero_point
        before = now - op.hidden.zero_point
        gates = []
        for gate in range(GATES):
            total = given @ weights[gate].astype(np.int64).T + biases[gate].astype(np.int64)
            own = _limited(_scaled(wrap_int32(total), p.inputs[gate]), 16)
            own = own + _limited(
                _scaled(wrap_int32(before @ recurrent[gate].astype(np.int64).T), p.recurrences[gate]), 16
            )
            own = _limited(own, 16)
            gates.append((tanh_int16 if gate == CELL_GATE else sigmoid_int16)(own, *p.gate))
        taken, kept, fresh, shown = gates
        held = _limited(
            _limited(_scaled(kept * held, p.forgetting), 16) + _limited(_scaled(taken * fresh, p.taking), 16), 16
        )
        if op.cell_clip:
            held = np.clip(held, -op.cell_clip, op.cell_clip)
        product = tanh_int16(held, *p.cell) * shown
        now = _limited(_scaled(product, p.showing) + op.next_hidden.zero_point, 8)
        found.append(now)
    y = np.stack(found, axis=0 if op.time_major else 1).astype(np.int8)
    return (
        y.reshape(op.y.shape),
        now.astype(np.int8).reshape(hidden.shape),
        held.astype(np.int16).reshape(cell.shape),
    )


def _lstm_of_reals(op: Lstm, x: Array, hidden: Array, cell: Array, *constants: Array) -> tuple[Array, ...]:
    weights, recurrent, biases = constants[:GATES], constants[GATES : 2 * GATES], constants[2 * GATES :]
    sequences, steps = op.sizes
    now, held = hidden.reshape(sequences, -1), cell.reshape(sequences, -1)
    found = []
    for step in range(steps):
        given = x[step] if op.time_major else x[:, step]
        gates = []
        for gate in range(GATES):
            own = _products(given, weights[gate]) + biases[gate]
            own = own + _products(now, recurrent[gate])
            gates.append((float_tanh if gate == CELL_GATE else float_logistic)(own))
        taken, kept, fresh, shown = gates
        held = kept * held + taken * fresh
        if op.cell_clip:
            held = np.clip(held, -np.float32(op.cell_clip), np.float32(op.cell_clip))
        now = float_tanh(held) * shown
        found.append(now)
    y = np.stack(found, axis=0 if op.time_major else 1)
    return y.reshape(op.y.shape), now.reshape(hidden.shape), held.reshape(cell.shape)


def _products(x: Array, weights: Array) -> Array:
    """Return x [B,I] by weights [S,I] -> [B,S], term by term."""
    total = np.zeros((x.shape[0], weights.shape[0]), np.float32)
    for place in range(x.shape[1]):
        total += x[:, place, None] * weights[None, :, place]
    return total


def _scaled(value: Array, factor: Requantization) -> Array:
    return multiply_by_quantized_multiplier(value, factor.multiplier, factor.shift)


def _limited(value: Array, bits: int) -> Array:
    return np.clip(value, -(1 << (bits - 1)), (1 << (bits - 1)) - 1)
