"""ONNX recurrent layers: their steps, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.frontends.borders import cut
from utvm.frontends.onnx_node import NodeContext, Value
from utvm.frontends.refusal import RefusedError
from utvm.frontends.unrolling import ACTIVATIONS, Cell, unrolled
from utvm.graph import Tensor

Converter = Callable[[NodeContext], Value | tuple[Value, ...]]
_ORDER = {"gru": (1, 0, 2), "lstm": (0, 2, 3, 1), "rnn": (0,)}
"""Where ONNX keeps the gates in the order that cells here have."""
_USUAL = {"gru": ("sigmoid", "tanh"), "lstm": ("sigmoid", "tanh", "tanh")}


def _recurrent(kind: str) -> Converter:
    def convert(n: NodeContext) -> tuple[Value, ...]:
        x, width = n.x(), n.floats(2, "recurrence weights").shape[-1]
        if len(x.shape) != 3 or "clip" in n.node.attributes or (kind == "lstm" and n.has(7)):
            raise RefusedError("its input is no batch of sequences, or it clips, or has peepholes")
        steps = x.shape[1 if n.integer("layout", 0) else 0]
        if n.has(4) and set(n.integers(4, "lengths")) != {steps}:
            raise RefusedError(f"its sequences have lengths of their own, not {steps} steps each")
        if n.integer("input_forget", 0):
            raise RefusedError("it couples its input and forget gates")
        direction, batch_first = n.text("direction", "forward"), bool(n.integer("layout", 0))
        ways = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}.get(direction, ())
        x = x if batch_first else n.b.transpose(x, (1, 0, 2))
        made, last = [], []
        for index, backwards in enumerate(ways):
            cell = _cell(n, kind, index, _activation(n, kind, len(ways)))
            given = (5, 6) if kind == "lstm" else (5,)
            first = tuple(_state(n, position, index, (x.shape[0], width), batch_first) for position in given)
            y, state = unrolled(n.b, x, cell, first, backwards=backwards)
            made.append(n.b.reshape(y, (*y.shape[:2], 1, width)))
            last.append(state)
        # [N,T,D,H] here; ONNX has [T,D,N,H] and [D,N,H], with layout 1 the former and [N,D,H].
        y = n.b.concatenation(made, 2)
        ends = tuple(
            n.b.concatenation(
                [n.b.reshape(s[i], (s[i].shape[0], 1, width) if batch_first else (1, *s[i].shape)) for s in last],
                1 if batch_first else 0,
            )
            for i in range(len(last[0]))
        )
        return (y if batch_first else n.b.transpose(y, (1, 2, 0, 3)), *ends)

    return convert


def _activation(n: NodeContext, kind: str, ways: int) -> str:
    """Return the activation of plain cells; others have the usual ones."""
    given: Any = n.node.attributes.get("activations")
    names = [str(name).lower() for name in given] if given else []
    if kind == "rnn":
        chosen = set(names) or {"tanh"}
        if len(chosen) == 1 and next(iter(chosen)) in ACTIVATIONS:
            return next(iter(chosen))
    elif not names or tuple(names) == _USUAL[kind] * ways:
        return "tanh"
    raise RefusedError(f"its activations {names} are not supported")


def _cell(n: NodeContext, kind: str, way: int, activation: str) -> Cell:
    inputs, states = (_gates(n.floats(i, "weights")[way], kind) for i in (1, 2))
    bias = n.floats(3, "bias")[way] if n.has(3) else np.zeros(2 * len(inputs), np.float32)
    input_bias, state_bias = (_gates(half, kind) for half in np.split(bias, 2))
    return Cell(
        kind=kind,
        inputs=inputs,
        states=states,
        input_bias=input_bias,
        state_bias=state_bias,
        late=bool(n.integer("linear_before_reset", 0)),
        activation=ACTIVATIONS[activation],
    )


def _gates(values: NDArray[np.float32], kind: str) -> NDArray[np.float32]:
    parts = np.split(values, len(_ORDER[kind]))
    return np.concatenate([parts[i] for i in _ORDER[kind]])


def _state(n: NodeContext, position: int, way: int, shape: tuple[int, int], batch_first: bool) -> Tensor:
    if not n.has(position):
        return n.b.constant(np.zeros(shape, np.float32), "state")
    state = n.value(position)
    if isinstance(state, Tensor):
        axis = 1 if batch_first else 0
        return n.b.reshape(cut(n.b, state, axis, way, 1), shape)
    given = n.floats(position, "first state")
    return n.b.constant(given[:, way] if batch_first else given[way], "state")


RECURRENT: Mapping[str, Converter] = {"GRU": _recurrent("gru"), "LSTM": _recurrent("lstm"), "RNN": _recurrent("rnn")}
"""Operator → what makes it."""
