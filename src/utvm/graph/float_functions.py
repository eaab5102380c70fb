"""Elementwise functions of float32, each as its formula. Source: the float kernels of tflite-micro.

Operands may be bool or int32 where a function takes those beside floats (Select, Cast).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from utvm.compute import Expr, call, cast, equal, larger, smaller, unequal, where
from utvm.graph.formulas import EXP, FLOOR, LOG, REMAINDER, SINE, SQRT, TANH
from utvm.graph.tensor import DType

Formula = Callable[[Any, Sequence[Expr]], Expr]


def _negative(x: Expr) -> Expr:
    return x * -1.0


def _abs(_: Any, xs: Sequence[Expr]) -> Expr:
    (x,) = xs
    return where(x < 0.0, _negative(x), x)


def _elu(_: Any, xs: Sequence[Expr]) -> Expr:
    (x,) = xs
    return where(x < 0.0, call(EXP, x) - 1.0, x)


def _gelu(_: Any, xs: Sequence[Expr]) -> Expr:
    """By a rational form of erfc within 1.5e-7 (Abramowitz and Stegun, 7.1.26)."""
    (x,) = xs
    size = where(x < 0.0, _negative(x), x) * 0.70710678
    t = 1.0 / (size * 0.3275911 + 1.0)
    series = ((((t * 1.061405429 - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t
    tail = series * call(EXP, _negative(size * size)) * 0.5
    return x * where(x < 0.0, tail, 1.0 - tail)


def _gelu_tanh(_: Any, xs: Sequence[Expr]) -> Expr:
    (x,) = xs
    return x * (call(TANH, x * (x * x * 0.044715 + 1.0) * 0.7978845608) + 1.0) * 0.5


def _hard_swish(_: Any, xs: Sequence[Expr]) -> Expr:
    (x,) = xs
    return x * smaller(larger(x + 3.0, 0.0), 6.0) / 6.0


def _prelu(_: Any, xs: Sequence[Expr]) -> Expr:
    x, slope = xs
    return where(x >= 0.0, x, x * slope)


def _add_n(_: Any, xs: Sequence[Expr]) -> Expr:
    total = xs[0]
    for each in xs[1:]:
        total = total + each
    return total


def _round(_: Any, xs: Sequence[Expr]) -> Expr:
    """To nearest, halves to the even one."""
    below = call(FLOOR, xs[0])
    rest = xs[0] - below
    odd = below - call(FLOOR, below * 0.5) * 2.0
    return where((rest > 0.5) | (equal(rest, 0.5) & unequal(odd, 0.0)), below + 1.0, below)


def _ceil(_: Any, xs: Sequence[Expr]) -> Expr:
    return _negative(call(FLOOR, _negative(xs[0])))


def _floor_mod(_: Any, xs: Sequence[Expr]) -> Expr:
    a, b = xs
    rest = call(REMAINDER, a, b)
    return where(unequal(rest, 0.0) & unequal(b < 0.0, rest < 0.0), rest + b, rest)


def _sign(_: Any, xs: Sequence[Expr]) -> Expr:
    (x,) = xs
    return where(x > 0.0, 1.0, where(x < 0.0, -1.0, 0.0))


def _between(least: float) -> Formula:
    return lambda _, xs: smaller(larger(xs[0], least), 1.0)


def _pow(op: Any, xs: Sequence[Expr]) -> Expr:
    """To a constant exponent: by products or a root where it is one, or else by a logarithm; 0 of what is below 0."""
    x, exponent = xs[0], float(op.xs[1].values.reshape(-1)[0])
    count = abs(exponent)
    if count in (1.0, 2.0, 3.0, 4.0):
        power = x
        for _ in range(int(count) - 1):
            power = power * x
        return power if exponent > 0 else 1.0 / power
    if count == 0.5:
        return call(SQRT, x) if exponent > 0 else 1.0 / call(SQRT, x)
    return where(x > 0.0, call(EXP, call(LOG, x) * exponent), 0.0)


def _cast(op: Any, xs: Sequence[Expr]) -> Expr:
    if op.y.dtype is DType.BOOL:
        return unequal(xs[0], 0.0)
    return cast(xs[0], op.y.dtype.c_type)


FLOAT_FUNCTIONS: Mapping[str, Formula] = {
    "Abs": _abs,
    "Rsqrt": lambda _, xs: 1.0 / call(SQRT, xs[0]),
    "Elu": _elu,
    "Gelu": _gelu,
    "GeluTanh": _gelu_tanh,
    "HardSwish": _hard_swish,
    "Prelu": _prelu,
    "Pow": _pow,
    "ReluN1To1": _between(-1.0),
    "Relu0To1": _between(0.0),
    "Sign": _sign,
    "Maximum": lambda _, xs: larger(xs[0], xs[1]),
    "Minimum": lambda _, xs: smaller(xs[0], xs[1]),
    "SquaredDifference": lambda _, xs: (xs[0] - xs[1]) * (xs[0] - xs[1]),
    "Div": lambda _, xs: xs[0] / xs[1],
    "AddN": _add_n,
    "Equal": lambda _, xs: equal(xs[0], xs[1]),
    "NotEqual": lambda _, xs: unequal(xs[0], xs[1]),
    "Less": lambda _, xs: xs[0] < xs[1],
    "LessEqual": lambda _, xs: xs[0] <= xs[1],
    "Greater": lambda _, xs: xs[0] > xs[1],
    "GreaterEqual": lambda _, xs: xs[0] >= xs[1],
    "Select": lambda _, xs: where(unequal(xs[0], 0), xs[1], xs[2]),
    "Cast": _cast,
    "BroadcastTo": lambda _, xs: xs[0],
    "Ceil": _ceil,
    "Cos": lambda _, xs: call(SINE, xs[0], 1),
    "Exp": lambda _, xs: call(EXP, xs[0]),
    "Floor": lambda _, xs: call(FLOOR, xs[0]),
    "FloorDiv": lambda _, xs: call(FLOOR, xs[0] / xs[1]),
    "FloorMod": _floor_mod,
    "Log": lambda _, xs: call(LOG, xs[0]),
    "Neg": lambda _, xs: _negative(xs[0]),
    "Round": _round,
    "Sin": lambda _, xs: call(SINE, xs[0], 0),
    "Sqrt": lambda _, xs: call(SQRT, xs[0]),
    "Square": lambda _, xs: xs[0] * xs[0],
}
"""By the operator's kind."""

FLOAT_REDUCERS = ("Sum", "ReduceMax", "ReduceMin", "ArgMax", "ArgMin")
