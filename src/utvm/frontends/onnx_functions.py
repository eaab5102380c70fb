"""ONNX functions on elements, arithmetic, comparisons, and reductions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from utvm.frontends import activations as f
from utvm.frontends import blocks
from utvm.frontends.onnx_node import NodeContext, Value
from utvm.frontends.refusal import RefusedError, axis_of
from utvm.graph import Add, CumulativeSum, DType, LeakyRelu, Logistic, Mul, Operator, Relu, Sub, Tanh, Tensor

Converter = Callable[[NodeContext], Value | tuple[Value, ...]]


def _unary(kind: type[Operator]) -> Converter:
    return lambda n: n.b.unary(kind, n.x())


def _function(name: str) -> Converter:
    return lambda n: f.elementwise(n.b, name, n.x())


def _binary(kind: type[Sub] | type[Mul]) -> Converter:
    return lambda n: n.b.binary(kind, n.x(0), n.x(1))


def _add(n: NodeContext) -> Value:
    return f.added(n.b, n.value(0), n.value(1))


def _division(n: NodeContext) -> Value:
    return f.quotient(n.b, n.x(0), n.x(1))


def _sum(n: NodeContext) -> Value:
    total = n.x(0)
    for position in range(1, n.inputs):
        total = n.b.binary(Add, total, n.x(position))
    return total


def _extreme(name: str) -> Converter:
    def convert(n: NodeContext) -> Value:
        found = n.x(0)
        for position in range(1, n.inputs):
            found = f.elementwise(n.b, name, found, n.x(position))
        return found

    return convert


def _power(n: NodeContext) -> Value:
    exponent = n.floats(1, "exponent")
    if np.unique(exponent).size != 1:
        raise RefusedError("it has several exponents")
    return f.power(n.b, n.x(), float(exponent.flat[0]))


def _clip(n: NodeContext) -> Value:
    low, high = _bound(n, 1, "min", -np.inf), _bound(n, 2, "max", np.inf)
    return f.clamped(n.b, n.x(), low, high)


def _bound(n: NodeContext, position: int, attribute: str, default: float) -> float:
    if n.has(position):
        value = n.constant(position, attribute)
        if value.size != 1:
            raise RefusedError(f"its {attribute} is not one value")
        found = float(value.reshape(-1)[0])
    else:
        raw = n.node.attributes.get(attribute, default)
        found = float(raw) if isinstance(raw, int | float) else default
    most = float(np.finfo(np.float32).max)
    return default if abs(found) >= most else found


def _prelu(n: NodeContext) -> Value:
    return f.prelu(n.b, n.x(), n.floats(1, "slope"))


def _compared(name: str) -> Converter:
    return lambda n: f.elementwise(n.b, name, n.x(0), n.x(1), dtype=DType.BOOL)


def _logical(name: str) -> Converter:
    def convert(n: NodeContext) -> Value:
        xs = [n.x(i) for i in range(n.inputs)]
        if any(x.dtype is not DType.BOOL for x in xs):
            raise RefusedError("it mixes conditions that are known and others")
        return f.elementwise(n.b, name, *xs, dtype=DType.BOOL)

    return convert


def _where(n: NodeContext) -> Value:
    condition = n.value(0)
    if isinstance(condition, Tensor):
        return f.either(n.b, condition, n.value(1), n.value(2))
    return f.masked(n.b, n.value(1), n.value(2), np.asarray(condition, bool))


def _triangle(n: NodeContext) -> Value:
    x = n.x()
    offset = int(n.integers(1, "k")[0]) if n.has(1) else 0
    make = np.triu if n.integer("upper", 1) else np.tril
    return f.masked(n.b, x, np.zeros((), np.float32), make(np.ones(x.shape[-2:], bool), offset))


def _axes(n: NodeContext) -> tuple[int, ...] | None:
    """Return sorted dimensions, None where nothing is reduced."""
    rank, axes = len(n.x().shape), n.integers_or(1, "axes")
    if not axes:
        return None if n.integer("noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(sorted({axis_of(axis, rank) for axis in axes}))


def _reduced(make: Callable[[NodeContext, Tensor, tuple[int, ...], bool], Tensor]) -> Converter:
    def convert(n: NodeContext) -> Value:
        axes = _axes(n)
        return n.x() if axes is None else make(n, n.x(), axes, bool(n.integer("keepdims", 1)))

    return convert


def _by(name: str) -> Converter:
    return _reduced(lambda n, x, axes, keep: f.reduction(n.b, name, x, axes, keep=keep))


def _sum_of(before: Callable[[NodeContext, Tensor], Tensor], after: str | None = None) -> Converter:
    def make(n: NodeContext, x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
        total = f.reduction(n.b, "Sum", before(n, x), axes, keep=keep)
        return total if after is None else f.elementwise(n.b, after, total)

    return _reduced(make)


def _places(name: str) -> Converter:
    def convert(n: NodeContext) -> Value:
        if n.integer("select_last_index", 0):
            raise RefusedError("it names the last of equal elements; the first is supported")
        axis = n.axis("axis", 0, len(n.x().shape))
        return f.places(n.b, name, n.x(), axis, keep=bool(n.integer("keepdims", 1)))

    return convert


def _cumulative(n: NodeContext) -> Value:
    x, axes = n.x(), n.integers(1, "axis")
    if len(axes) != 1:
        raise RefusedError(f"it has {len(axes)} axes, one is expected")
    exclusive, reverse = (bool(n.integer(name, 0)) for name in ("exclusive", "reverse"))
    axis = axis_of(axes[0], len(x.shape))
    return n.b.add(CumulativeSum, x.shape, x=x, axis=axis, exclusive=exclusive, reverse=reverse)


def _square(n: NodeContext, x: Tensor) -> Tensor:
    return n.b.binary(Mul, x, x)


def _absolute(n: NodeContext, x: Tensor) -> Tensor:
    return f.elementwise(n.b, "Abs", x)


def swish(n: NodeContext, alpha: float) -> Value:
    """X times the sigmoid of alpha times x."""
    x = n.x()
    scaled = x if alpha == 1 else n.b.binary(Mul, x, n.b.constant(alpha, "alpha"))
    return n.b.binary(Mul, x, n.b.unary(Logistic, scaled))


def _softsign(n: NodeContext) -> Value:
    x = n.x()
    return f.quotient(n.b, x, n.b.binary(Add, f.elementwise(n.b, "Abs", x), n.b.constant(1.0, "one")))


def _log_softmax(n: NodeContext) -> Value:
    x = n.x()
    axis = n.axis("axis", -1 if n.opset >= 13 else 1, len(x.shape))
    if n.opset < 13 and axis != len(x.shape) - 1:
        raise RefusedError("it joins dimensions as before opset 13: export it anew")
    return f.log_softmax(n.b, x, axis)


def _lp_normalised(n: NodeContext) -> Value:
    x = n.x()
    axes = (n.axis("axis", -1, len(x.shape)),)
    if n.integer("p", 2) == 1:
        length = f.reduction(n.b, "Sum", _absolute(n, x), axes, keep=True)
    else:
        length = blocks.length(n.b, x, axes, keep=True)
    # What is 0 stays 0.
    least = f.elementwise(n.b, "Maximum", length, n.b.constant(1e-30, "least"))
    return f.quotient(n.b, x, least)


def _tile(n: NodeContext) -> Value:
    return f.repeated(n.b, n.x(), n.integers(1, "repeats"))


def _einsum(n: NodeContext) -> Value:
    xs: Sequence[Tensor] = [n.x(i) for i in range(n.inputs)]
    return blocks.contracted(n.b, n.text("equation", ""), xs)


FUNCTIONS: Mapping[str, Converter] = {
    "Add": _add,
    "Sub": _binary(Sub),
    "Mul": _binary(Mul),
    "Div": _division,
    "Sum": _sum,
    "Max": _extreme("Maximum"),
    "Min": _extreme("Minimum"),
    "Pow": _power,
    "Reciprocal": lambda n: f.power(n.b, n.x(), -1.0),
    **{name: _function(name) for name in ("Exp", "Neg", "Abs", "Sqrt", "Log", "Sin", "Cos", "Floor", "Ceil", "Round")},
    "Sign": lambda n: f.sign(n.b, n.x()),
    "Erf": lambda n: f.erf(n.b, n.x()),
    # Not ONNX's: tf2onnx leaves it in the standard domain.
    "Erfc": lambda n: n.b.binary(Sub, n.b.constant(1.0, "one"), f.erf(n.b, n.x())),
    "Relu": _unary(Relu),
    "Sigmoid": _unary(Logistic),
    "Tanh": _unary(Tanh),
    "LeakyRelu": lambda n: n.b.unary(LeakyRelu, n.x(), alpha=n.number("alpha", 0.01)),
    "PRelu": _prelu,
    "Clip": _clip,
    "Elu": lambda n: f.elu(n.b, n.x(), n.number("alpha", 1.0)),
    "Celu": lambda n: f.elu(n.b, n.x(), n.number("alpha", 1.0), 1.0, 1 / n.number("alpha", 1.0)),
    "Selu": lambda n: f.elu(n.b, n.x(), n.number("alpha", 1.6732632), n.number("gamma", 1.0507010)),
    "Gelu": lambda n: f.gelu(n.b, n.x(), n.text("approximate", "none")),
    "HardSigmoid": lambda n: f.ramp(n.b, n.x(), n.number("alpha", 0.2), n.number("beta", 0.5)),
    "HardSwish": _function("HardSwish"),
    "Softplus": lambda n: f.softplus(n.b, n.x()),
    "Softsign": _softsign,
    "Mish": lambda n: f.mish(n.b, n.x()),
    "Swish": lambda n: swish(n, n.number("alpha", 1.0)),
    "Greater": _compared("Greater"),
    "GreaterOrEqual": _compared("GreaterEqual"),
    "Less": _compared("Less"),
    "LessOrEqual": _compared("LessEqual"),
    "Equal": _compared("Equal"),
    "And": _logical("LogicalAnd"),
    "Or": _logical("LogicalOr"),
    "Not": _logical("LogicalNot"),
    "Where": _where,
    "Trilu": _triangle,
    "ReduceSum": _by("Sum"),
    "ReduceMax": _by("ReduceMax"),
    "ReduceMin": _by("ReduceMin"),
    "ReduceL1": _sum_of(_absolute),
    "ReduceL2": _sum_of(_square, "Sqrt"),
    "ReduceSumSquare": _sum_of(_square),
    "ArgMax": _places("ArgMax"),
    "ArgMin": _places("ArgMin"),
    "CumSum": _cumulative,
    "LogSoftmax": _log_softmax,
    "LpNormalization": _lp_normalised,
    "Tile": _tile,
    "Einsum": _einsum,
}
"""Operator → what makes it."""
