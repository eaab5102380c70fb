"""Find GELU and hard-swish where a network spells them out in other operators, by what these compute."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cache

import numpy as np
from numpy.typing import NDArray

from utvm.graph import (
    Add,
    DType,
    Elementwise,
    Graph,
    LeakyRelu,
    Logistic,
    Mul,
    Operator,
    Relu,
    Relu6,
    Sub,
    Tanh,
    Tensor,
)
from utvm.graph.functions import function
from utvm.graph.reference import evaluate_operator

_GRID = np.concatenate((np.linspace(-12, 12, 769), np.linspace(-0.5, 0.5, 101))).astype(np.float32)
_NEAR = 2e-5
"""Of values up to 12 in float32, of which each operator rounds some."""
_KINDS = (Add, Sub, Mul, Relu, Relu6, Tanh, Logistic, LeakyRelu, Elementwise)
_FOUND = ("GeluTanh", "Gelu", "HardSwish")
_LEAST_OPERATORS = 3

Curve = NDArray[np.float32]


def find_functions(graph: Graph) -> Graph:
    """Return the float graph with one operator in place of those that compute GELU or hard-swish of one tensor.

    What the operators compute is compared with the functions on a grid. The form of GELU with erf, as frontends read
    it, is the one with tanh. Operators that others read too stay.
    """
    roots: dict[Tensor, Tensor] = {}
    curves: dict[Tensor, Curve] = {}
    depths: dict[Tensor, int] = {}
    made: list[Operator] = []
    for op in graph.operators:
        found = _curve(op, roots, curves)
        if found is not None:
            (y,) = op.outputs
            root, curve = found
            roots[y], curves[y] = root, curve
            depths[y] = 1 + sum(depths.get(x, 0) for x in op.inputs)
            name = _named(curve) if depths[y] >= _LEAST_OPERATORS else None
            if name is not None:
                op = Elementwise(name=op.name, function=function(name), xs=(root,), y=y)
        made.append(op)
    return graph if made == list(graph.operators) else graph.rewrite(made)


def _curve(op: Operator, roots: Mapping[Tensor, Tensor], curves: Mapping[Tensor, Curve]) -> tuple[Tensor, Curve] | None:
    """Return the tensor of whose elements an operator's result is a function, and that on the grid."""
    if not isinstance(op, _KINDS) or op.y.dtype is not DType.FLOAT32:
        return None
    activations = [x for x in op.inputs if not (x.is_constant and x.elements == 1)]
    sources = {roots.get(x, x) for x in activations}
    if len(sources) != 1 or any(x.is_constant or x.dtype is not DType.FLOAT32 for x in op.inputs if x in activations):
        return None
    (root,) = sources
    if root.shape != op.y.shape:
        return None
    plain = {x: dataclasses.replace(x, shape=_GRID.shape) for x in (*activations, op.y)}
    numbers = {x: x.values.reshape(()) for x in op.inputs if x not in plain}
    plain |= {x: dataclasses.replace(x, shape=(), data=value) for x, value in numbers.items()}
    values = [numbers[x] if x in numbers else curves.get(x, _GRID) for x in op.inputs]
    return root, evaluate_operator(op.with_tensors(plain), values)[0]


def _named(curve: Curve) -> str | None:
    return next((name for name, wanted in _wanted().items() if np.allclose(curve, wanted, rtol=0, atol=_NEAR)), None)


@cache
def _wanted() -> Mapping[str, Curve]:
    """Return what the functions make of the grid."""
    x, y = (Tensor(name=name, shape=_GRID.shape, dtype=DType.FLOAT32) for name in "xy")
    operators = {name: Elementwise(name=name, function=function(name), xs=(x,), y=y) for name in _FOUND}
    return {name: evaluate_operator(op, [_GRID])[0] for name, op in operators.items()}
