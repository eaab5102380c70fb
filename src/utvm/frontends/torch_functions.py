"""What functions on elements become, of PyTorch: activations, arithmetic, comparisons."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.frontends import activations as f
from utvm.frontends.borders import cut
from utvm.frontends.refusal import RefusedError
from utvm.frontends.torch_node import TRAINING, TorchNode, Value
from utvm.graph import Add, DType, LeakyRelu, Logistic, Mul, Operator, Relu, Relu6, Sub, Tanh, Tensor

Converter = Callable[[TorchNode], Value | tuple[Value, ...]]
_ALPHA, _SCALE = 1.6732632423543772, 1.0507009873554805
"""Of SELU (Klambauer et al., 2017)."""


def _unary(kind: type[Operator]) -> Converter:
    return lambda n: n.b.unary(kind, n.x())


def _function(name: str) -> Converter:
    return lambda n: f.elementwise(n.b, name, n.x())


def _clamp(low_name: str, high_name: str, low_default: float | None, high_default: float | None) -> Converter:
    def convert(n: TorchNode) -> Value:
        ends = n.arg(1, low_name, low_default), n.arg(2, high_name, high_default)
        if any(end is not None and (isinstance(end, Tensor) or np.size(end) != 1) for end in ends):
            raise RefusedError("its bounds must be numbers")
        low, high = (None if end is None else float(np.asarray(end).reshape(())) for end in ends)
        return f.clamped(n.b, n.x(), low, high)

    return convert


def _binary(kind: type[Add] | type[Sub] | type[Mul], *, swapped: bool = False) -> Converter:
    def convert(n: TorchNode) -> Value:
        if kind is Add and n.number(2, "alpha", 1.0) == 1:
            return f.added(n.b, *(n.arg(i, "") for i in (0, 1)))
        a, b, alpha = n.x(0), n.x(1), n.number(2, "alpha", 1.0)
        a, b = (b, a) if swapped else (a, b)
        scaled = a if swapped else b
        if alpha != 1:
            moved = n.b.binary(Mul, scaled, n.b.constant(alpha, "alpha"))
            a, b = (moved, b) if swapped else (a, moved)
        return n.b.binary(kind, a, b)

    return convert


def _reverse(n: TorchNode) -> Value:
    """Other - alpha * x."""
    x, alpha = n.x(0), n.number(2, "alpha", 1.0)
    return n.b.binary(Sub, n.x(1), x if alpha == 1 else n.b.binary(Mul, x, n.b.constant(alpha, "alpha")))


def _division(n: TorchNode) -> Value:
    if n.arg(2, "rounding_mode") is not None:
        raise RefusedError("it rounds its quotients (rounding_mode)")
    return f.quotient(n.b, n.x(0), n.x(1))


def _power(n: TorchNode) -> Value:
    if not isinstance(n.arg(0, "self"), Tensor):
        raise RefusedError("its exponent is an activation")
    return f.power(n.b, n.x(), n.number(1, "exponent", 1.0))


def _elu(n: TorchNode) -> Value:
    return f.elu(n.b, n.x(), n.number(1, "alpha", 1.0), n.number(2, "scale", 1.0), n.number(3, "input_scale", 1.0))


def _celu(n: TorchNode) -> Value:
    alpha = n.number(1, "alpha", 1.0)
    return f.elu(n.b, n.x(), alpha, 1.0, 1 / alpha)


def _softplus(n: TorchNode) -> Value:
    return f.softplus(n.b, n.x(), n.number(1, "beta", 1.0))


def _log_sigmoid(n: TorchNode) -> Value:
    return f.elementwise(n.b, "Neg", f.softplus(n.b, f.elementwise(n.b, "Neg", n.x())))


def _softsign(n: TorchNode) -> Value:
    x = n.x()
    return f.quotient(n.b, x, n.b.binary(Add, f.elementwise(n.b, "Abs", x), n.b.constant(1.0, "one")))


def _prelu(n: TorchNode) -> Value:
    x, slopes = n.x(), n.weights()
    if slopes.size > 1:
        slopes = slopes.reshape(-1, *[1] * (len(x.shape) - 2))
    return f.prelu(n.b, x, slopes.reshape(()) if slopes.size == 1 else slopes)


def _glu(n: TorchNode) -> Value:
    x, axis = n.x(), n.axis(1, "dim", -1)
    half = x.shape[axis] // 2
    return n.b.binary(Mul, cut(n.b, x, axis, 0, half), n.b.unary(Logistic, cut(n.b, x, axis, half, half)))


def _dropout(n: TorchNode) -> Value:
    if n.arg(2, "train", False) and n.arg(1, "p", 0.5) != 0:
        raise RefusedError(TRAINING)
    return n.x()


def _native_dropout(n: TorchNode) -> tuple[Value, ...]:
    return (_dropout(n),)


def _compared(name: str) -> Converter:
    return lambda n: f.elementwise(n.b, name, n.x(0), n.x(1), dtype=DType.BOOL)


def _logical(name: str) -> Converter:
    """And, or, not of truth values that depend on the input."""
    return lambda n: f.elementwise(n.b, name, *(n.truth(i) for i in range(len(n.args))), dtype=DType.BOOL)


def _equal(n: TorchNode) -> Value:
    other = n.arg(1, "other")
    if not isinstance(other, Tensor) and np.isinf(np.asarray(other, np.float32)).all():
        # Activations are finite.
        return np.zeros(n.x().shape, bool)
    return f.elementwise(n.b, "Equal", n.x(0), n.x(1), dtype=DType.BOOL)


def _where(n: TorchNode) -> Value:
    condition = n.arg(0, "condition")
    a, other = (
        each if isinstance(each, Tensor) else np.asarray(each) for each in (n.arg(1, "self"), n.arg(2, "other"))
    )
    if isinstance(condition, Tensor):
        return f.either(n.b, condition, a, other)
    chosen = np.asarray(condition, bool)
    return f.masked(n.b, a, other, chosen)


def _triangle(make: Callable[..., NDArray[Any]]) -> Converter:
    """What is on one side of a diagonal, 0 elsewhere."""

    def convert(n: TorchNode) -> Value:
        x = n.x()
        chosen = make(np.ones(x.shape[-2:], bool), int(n.arg(1, "diagonal", 0)))
        return f.masked(n.b, x, np.zeros((), np.float32), chosen)

    return convert


def _masked_fill(n: TorchNode) -> Value:
    x, mask, value = n.arg(0, "self"), n.arg(1, "mask"), np.asarray(n.number(2, "value", 0.0), np.float32)
    if isinstance(mask, Tensor):
        return f.either(n.b, mask, value, x if isinstance(x, Tensor) else np.asarray(x))
    return f.masked(n.b, value, n.x(), np.asarray(mask, bool))


def _alike(value: float | None = None) -> Converter:
    """A constant of the shape that an activation has."""
    return lambda n: np.full(n.x().shape, n.number(1, "fill_value", 0.0) if value is None else value, np.float32)


def _cast(n: TorchNode) -> Value:
    """Casts between floats keep values; those to integers do not."""
    wanted = [arg for arg in (*n.args[1:], *n.named.values()) if isinstance(arg, str)]
    whole = any(name.startswith(("torch.int", "torch.uint", "int", "uint")) for name in wanted)
    if n.x().dtype is DType.BOOL:
        # A number of true values is whole as float32 too.
        return n.b.real(n.x())
    if whole or any(name.startswith(("torch.bool", "bool")) for name in wanted):
        raise RefusedError("it casts an activation to integers")
    return n.x()


FUNCTIONS: Mapping[str, Converter] = {
    "relu": _unary(Relu),
    "relu6": _unary(Relu6),
    "hardtanh": _clamp("min_val", "max_val", -1.0, 1.0),
    "clamp": _clamp("min", "max", None, None),
    "clip": _clamp("min", "max", None, None),
    "clamp_min": lambda n: f.clamped(n.b, n.x(), n.number(1, "min", 0.0), None),
    "clamp_max": lambda n: f.clamped(n.b, n.x(), None, n.number(1, "max", 0.0)),
    "sigmoid": _unary(Logistic),
    "tanh": _unary(Tanh),
    "leaky_relu": lambda n: n.b.unary(LeakyRelu, n.x(), alpha=n.number(1, "negative_slope", 0.01)),
    "silu": lambda n: f.silu(n.b, n.x()),
    "mish": lambda n: f.mish(n.b, n.x()),
    "hardsigmoid": lambda n: f.ramp(n.b, n.x()),
    "hardswish": _function("HardSwish"),
    "elu": _elu,
    "celu": _celu,
    "selu": lambda n: f.elu(n.b, n.x(), _ALPHA, _SCALE),
    "prelu": _prelu,
    "_prelu_kernel": _prelu,
    "softplus": _softplus,
    "softsign": _softsign,
    "log_sigmoid": _log_sigmoid,
    "gelu": lambda n: f.gelu(n.b, n.x(), str(n.arg(1, "approximate", "none"))),
    "glu": _glu,
    "add": _binary(Add),
    "sub": _binary(Sub),
    "subtract": _binary(Sub),
    "rsub": _reverse,
    "mul": _binary(Mul),
    "multiply": _binary(Mul),
    "div": _division,
    "divide": _division,
    "true_divide": _division,
    "reciprocal": lambda n: f.power(n.b, n.x(), -1.0),
    "pow": _power,
    "square": lambda n: f.power(n.b, n.x(), 2.0),
    "sign": lambda n: f.sign(n.b, n.x()),
    "maximum": lambda n: f.elementwise(n.b, "Maximum", n.x(0), n.x(1)),
    "minimum": lambda n: f.elementwise(n.b, "Minimum", n.x(0), n.x(1)),
    **{name: _function(name.title()) for name in ("exp", "neg", "abs", "sqrt", "rsqrt", "log", "sin", "cos")},
    **{name: _function(name.title()) for name in ("floor", "ceil")},
    "gt": _compared("Greater"),
    "ge": _compared("GreaterEqual"),
    "lt": _compared("Less"),
    "le": _compared("LessEqual"),
    "eq": _equal,
    "ne": _compared("NotEqual"),
    **dict.fromkeys(("logical_and", "bitwise_and", "__and__"), _logical("LogicalAnd")),
    **dict.fromkeys(("logical_or", "bitwise_or", "__or__"), _logical("LogicalOr")),
    **dict.fromkeys(("logical_not", "bitwise_not"), _logical("LogicalNot")),
    "where": _where,
    "masked_fill": _masked_fill,
    "zeros_like": _alike(0.0),
    "ones_like": _alike(1.0),
    "full_like": _alike(),
    "tril": _triangle(np.tril),
    "triu": _triangle(np.triu),
    "dropout": _dropout,
    "dropout1d": _dropout,
    "dropout2d": _dropout,
    "dropout3d": _dropout,
    "feature_dropout": _dropout,
    "alpha_dropout": _dropout,
    "native_dropout": _native_dropout,
    "to": _cast,
    "_to_copy": _cast,
    "type_as": lambda n: n.b.real(n.x()),
    "float": lambda n: n.b.real(n.x()),
}
"""Call → what makes it; in-place forms have the same."""
