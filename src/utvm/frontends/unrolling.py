"""Recurrent layers step after step: GRU, LSTM and plain ones of PyTorch and ONNX.

What steps read of the input is one product for all of them; the products with the state share one constant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from utvm.frontends.borders import cut
from utvm.frontends.builder import GraphBuilder
from utvm.frontends.channels_first import linear
from utvm.frontends.refusal import RefusedError
from utvm.graph import Add, FullyConnected, Logistic, Mul, Operator, Relu, Sub, Tanh, Tensor

FloatArray = NDArray[np.float32]
Product = Callable[[int, Tensor], Tensor]
MOST_STEPS = 1_024
_GATES = {"gru": 3, "lstm": 4, "rnn": 1}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cell:
    """One direction of one layer.

    Attributes:
        kind: gru, lstm or rnn.
        inputs: [gates * H,I]; gates in PyTorch's order: r z n, or i f g o.
        states: [gates * H,H].
        input_bias, state_bias: [gates * H].
        late: whether a GRU resets behind the product with the state, as PyTorch does.
        activation: of a plain cell.
    """

    kind: str
    inputs: FloatArray
    states: FloatArray
    input_bias: FloatArray
    state_bias: FloatArray
    late: bool = True
    activation: type[Operator] = Tanh


def unrolled(
    b: GraphBuilder, x: Tensor, cell: Cell, state: tuple[Tensor, ...], *, backwards: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run a cell over x [N,T,I].

    Args:
        state: h [N,H], of an LSTM h and c.
        backwards: whether the last step comes first.

    Returns:
        h of all steps [N,T,H], and the last state.
    """
    width, (batch, steps, _) = cell.states.shape[1], x.shape
    gates = _GATES[cell.kind]
    if steps > MOST_STEPS:
        raise RefusedError(f"it has {steps} steps; {MOST_STEPS} at most are unrolled: give shorter windows")
    if cell.states.shape[0] != gates * width or cell.inputs.shape != (gates * width, x.shape[2]):
        raise RefusedError(f"its weights {list(cell.inputs.shape)} do not fit an input of shape {list(x.shape)}")
    joined = cell.kind != "gru"
    read = linear(b, x, cell.inputs, cell.input_bias + cell.state_bias if joined else cell.input_bias)
    parts = [cell.states] if cell.late or joined else [cell.states[: 2 * width], cell.states[2 * width :]]
    biases = [cell.state_bias[: len(parts[0])], cell.state_bias[len(parts[0]) :]]
    shared = [
        (b.constant(weights, "state_weights"), None if joined else b.constant(bias, "state_bias"))
        for weights, bias in zip(parts, biases, strict=False)
    ]

    def product(index: int, h: Tensor) -> Tensor:
        weights, bias = shared[index]
        return b.add(FullyConnected, (batch, weights.shape[0]), "state", x=h, weights=weights, bias=bias)

    made: list[Tensor] = []
    for step in reversed(range(steps)) if backwards else range(steps):
        now = b.reshape(cut(b, read, 1, step, 1), (batch, gates * width))
        state = _STEPS[cell.kind](b, cell, now, state, product)
        made.append(b.reshape(state[0], (batch, 1, width)))
    return b.concatenation(made[::-1] if backwards else made, 1), state


def _gate(b: GraphBuilder, x: Tensor, index: int, width: int) -> Tensor:
    return cut(b, x, 1, index * width, width)


def _gru(b: GraphBuilder, cell: Cell, now: Tensor, state: tuple[Tensor, ...], product: Product) -> tuple[Tensor, ...]:
    (h,) = state
    width = h.shape[1]
    first = product(0, h)
    both = b.binary(Add, cut(b, now, 1, 0, 2 * width), cut(b, first, 1, 0, 2 * width))
    open_gates = b.unary(Logistic, both)
    reset, update = (_gate(b, open_gates, index, width) for index in (0, 1))
    held = b.binary(Mul, reset, _gate(b, first, 2, width)) if cell.late else product(1, b.binary(Mul, reset, h))
    new = b.unary(Tanh, b.binary(Add, _gate(b, now, 2, width), held))
    return (b.binary(Add, new, b.binary(Mul, update, b.binary(Sub, h, new))),)


def _lstm(b: GraphBuilder, _: Cell, now: Tensor, state: tuple[Tensor, ...], product: Product) -> tuple[Tensor, ...]:
    h, c = state
    width = h.shape[1]
    every = b.binary(Add, now, product(0, h))
    gates = b.unary(Logistic, cut(b, every, 1, 0, 2 * width))
    into, keep = (_gate(b, gates, index, width) for index in (0, 1))
    new = b.unary(Tanh, _gate(b, every, 2, width))
    out = b.unary(Logistic, _gate(b, every, 3, width))
    c = b.binary(Add, b.binary(Mul, keep, c), b.binary(Mul, into, new))
    return b.binary(Mul, out, b.unary(Tanh, c)), c


def _plain(b: GraphBuilder, cell: Cell, now: Tensor, state: tuple[Tensor, ...], product: Product) -> tuple[Tensor, ...]:
    return (b.unary(cell.activation, b.binary(Add, now, product(0, state[0]))),)


_STEPS = {"gru": _gru, "lstm": _lstm, "rnn": _plain}
ACTIVATIONS: Mapping[str, type[Operator]] = {"tanh": Tanh, "relu": Relu}
"""Of plain cells."""
