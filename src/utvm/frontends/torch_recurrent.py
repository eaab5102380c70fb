"""What recurrent layers of PyTorch become: their steps, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from utvm.frontends.borders import cut
from utvm.frontends.refusal import RefusedError
from utvm.frontends.torch_node import TRAINING, TorchNode, Value
from utvm.frontends.unrolling import ACTIVATIONS, Cell, unrolled
from utvm.graph import Tensor

Converter = Callable[[TorchNode], Value | tuple[Value, ...]]


def _layers(kind: str, activation: str = "tanh") -> Converter:
    def convert(n: TorchNode) -> tuple[Value, ...]:
        x, params = n.x(), n.arg(2, "params")
        biased, count = bool(n.arg(3, "has_biases")), int(n.arg(4, "num_layers"))
        both, batch_first = bool(n.arg(7, "bidirectional")), bool(n.arg(8, "batch_first"))
        if n.arg(5, "dropout", 0.0) and n.arg(6, "train", False):
            raise RefusedError(TRAINING)
        if len(x.shape) != 3 or not isinstance(params, list):
            raise RefusedError(f"its input has shape {list(x.shape)}; a batch of sequences is expected")
        states = _states(n, kind)
        x = x if batch_first else n.b.transpose(x, (1, 0, 2))
        ways = 2 if both else 1
        each = len(params) // (count * ways)
        if each != (4 if biased else 2):
            raise RefusedError("it projects its state (proj_size), or its weights are incomplete")
        last: list[tuple[Tensor, ...]] = []
        for layer in range(count):
            made = []
            for way in range(ways):
                index = layer * ways + way
                cell = _cell(kind, params[index * each : (index + 1) * each], activation)
                first = tuple(_state(n, state, index) for state in states)
                y, state = unrolled(n.b, x, cell, first, backwards=way == 1)
                made.append(y)
                last.append(state)
            x = n.b.concatenation(made, 2)
        ends = tuple(
            n.b.concatenation([n.b.reshape(state[i], (1, *state[i].shape)) for state in last], 0)
            for i in range(len(last[0]))
        )
        return (x if batch_first else n.b.transpose(x, (1, 0, 2)), *ends)

    return convert


def _states(n: TorchNode, kind: str) -> list[Any]:
    given = n.arg(1, "hx")
    states = list(given) if isinstance(given, list) else [given]
    if len(states) != (2 if kind == "lstm" else 1):
        raise RefusedError("it reads packed sequences, or its state is incomplete")
    return states


def _state(n: TorchNode, state: Any, index: int) -> Tensor:
    """Return what a layer starts from, [N,H]."""
    if not isinstance(state, Tensor):
        return n.b.constant(np.asarray(state, np.float32)[index], "state")
    return n.b.reshape(cut(n.b, state, 0, index, 1), state.shape[1:])


def _cell(kind: str, params: list[Any], activation: str) -> Cell:
    if any(isinstance(param, Tensor) for param in params):
        raise RefusedError("its weights are activations")
    inputs, states, *biases = (np.asarray(param, np.float32) for param in params)
    input_bias, state_bias = biases or [np.zeros(len(inputs), np.float32)] * 2
    return Cell(
        kind=kind,
        inputs=inputs,
        states=states,
        input_bias=input_bias,
        state_bias=state_bias,
        activation=ACTIVATIONS[activation],
    )


def _one_step(kind: str, activation: str = "tanh") -> Converter:
    def convert(n: TorchNode) -> Value | tuple[Value, ...]:
        x, given = n.x(), n.arg(1, "hx")
        states = given if isinstance(given, list) else [given]
        params = [n.arg(i, "") for i in range(2, 6)]
        cell = _cell(kind, [param for param in params if param is not None], activation)
        first = tuple(s if isinstance(s, Tensor) else n.b.constant(np.asarray(s, np.float32)) for s in states)
        _, state = unrolled(n.b, n.b.reshape(x, (x.shape[0], 1, x.shape[1])), cell, first, backwards=False)
        return state if kind == "lstm" else state[0]

    return convert


RECURRENT: Mapping[str, Converter] = {
    "gru": _layers("gru"),
    "lstm": _layers("lstm"),
    "rnn_tanh": _layers("rnn"),
    "rnn_relu": _layers("rnn", "relu"),
    "gru_cell": _one_step("gru"),
    "lstm_cell": _one_step("lstm"),
    "rnn_tanh_cell": _one_step("rnn"),
    "rnn_relu_cell": _one_step("rnn", "relu"),
}
"""Call → what makes it."""
