"""Activations and other functions on each element, in operators of the graph."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.frontends.builder import GraphBuilder
from utvm.frontends.refusal import RefusedError, broadcast_shape
from utvm.graph import Add, DType, Elementwise, Logistic, Mul, Reduction, Relu, Relu6, Sub, Tanh, Tensor
from utvm.graph.functions import function, reducer

LEAST_SCORE = -100.0
"""Of masks: its exponential is 0 beside any other score."""
FAR = -1e4
"""Fillings below are taken for minus infinity."""

_MOST_POWER = 64
"""A greater exponent is refused."""


def elementwise(b: GraphBuilder, name: str, *xs: Tensor, dtype: DType = DType.FLOAT32) -> Tensor:
    """Append a function of TFLite on each element of operands that broadcast."""
    shape = broadcast_shape(*(x.shape for x in xs))
    return b.add(Elementwise, shape, name.lower(), dtype=dtype, function=function(name), xs=xs)


def reduction(b: GraphBuilder, name: str, x: Tensor, axes: tuple[int, ...], *, keep: bool) -> Tensor:
    """Append a reduction of TFLite over sorted, non-negative axes."""
    kept = tuple(1 if d in axes else size for d, size in enumerate(x.shape))
    shape = kept if keep else tuple(size for d, size in enumerate(x.shape) if d not in axes)
    return b.add(Reduction, shape, name.lower(), reducer=reducer(name), x=x, axes=axes) if axes else x


def places(b: GraphBuilder, name: str, x: Tensor, axis: int | None, *, keep: bool) -> Tensor:
    """Append the int32 place of an extreme, the first of equal ones: along a dimension, or of all elements.

    Args:
        name: ArgMax or ArgMin.
        keep: whether the dimension stays, of one place.
    """
    rank = len(x.shape)
    flat = b.reshape(x, (x.elements,)) if axis is None else x
    along = 0 if axis is None else axis
    shape = tuple(size for d, size in enumerate(flat.shape) if d != along)
    y = b.add(Reduction, shape, name.lower(), DType.INT32, reducer=reducer(name), x=flat, axes=(along,))
    if not keep:
        return y
    return b.reshape(y, (1,) * rank if axis is None else (*x.shape[:along], 1, *x.shape[along + 1 :]))


def added(b: GraphBuilder, a: Tensor | NDArray[Any], other: Tensor | NDArray[Any]) -> Tensor:
    """A + other. Constants that are far below 0, or minus infinity, are masks before a softmax."""
    for x, mask in ((a, other), (other, a)):
        if isinstance(x, Tensor) and not isinstance(mask, Tensor) and np.size(mask) and float(np.min(mask)) <= FAR:
            made = b.binary(Add, x, b.constant(np.maximum(mask, LEAST_SCORE), "mask"))
            b.scores.append(made)
            return made
    return b.binary(Add, *(x if isinstance(x, Tensor) else b.constant(x) for x in (a, other)))


def erf(b: GraphBuilder, x: Tensor) -> Tensor:
    """The error function as tanh(2 / sqrt(pi) * (x + 0.08943 * x^3)), within 0.0005 (as for `gelu`)."""
    root = 2 / math.sqrt(math.pi)
    slope = b.binary(Add, b.binary(Mul, b.binary(Mul, x, x), b.constant(0.08943 * root)), b.constant(root))
    return b.unary(Tanh, b.binary(Mul, x, slope))


def clamped(b: GraphBuilder, x: Tensor, low: float | None, high: float | None) -> Tensor:
    """min(max(x, low), high); None is no bound."""
    low, high = (None if end is None or math.isinf(end) else float(end) for end in (low, high))
    if (low, high) == (0.0, 6.0):
        return b.unary(Relu6, x)
    if low == 0.0:
        x = b.unary(Relu, x)
    elif low is not None:
        x = elementwise(b, "Maximum", x, b.constant(low, "least"))
    return x if high is None else elementwise(b, "Minimum", x, b.constant(high, "most"))


def ramp(b: GraphBuilder, x: Tensor, slope: float = 1 / 6, offset: float = 0.5) -> Tensor:
    """min(max(slope * x + offset, 0), 1), by way of Relu6."""
    wide = x if 6 * slope == 1 else b.binary(Mul, x, b.constant(6 * slope, "slope"))
    six = b.unary(Relu6, b.binary(Add, wide, b.constant(6 * offset, "offset")))
    return b.binary(Mul, six, b.constant(1 / 6, "sixth"))


def silu(b: GraphBuilder, x: Tensor) -> Tensor:
    """X times its sigmoid."""
    return b.binary(Mul, x, b.unary(Logistic, x))


def elu(b: GraphBuilder, x: Tensor, alpha: float = 1.0, scale: float = 1.0, inner: float = 1.0) -> Tensor:
    """scale * (x above 0, alpha * (exp(inner * x) - 1) below)."""
    if (alpha, scale, inner) == (1.0, 1.0, 1.0):
        return elementwise(b, "Elu", x)
    scaled = x if inner == 1 else b.binary(Mul, x, b.constant(inner, "inner"))
    # Elu below 0 alone: Elu(min(x, 0)), whose upper part is 0.
    below = elementwise(b, "Elu", elementwise(b, "Minimum", scaled, b.constant(0.0, "zero")))
    below = b.binary(Mul, below, b.constant(alpha * scale, "alpha"))
    above = b.unary(Relu, x)
    above = above if scale == 1 else b.binary(Mul, above, b.constant(scale, "scale"))
    return b.binary(Add, above, below)


def softplus(b: GraphBuilder, x: Tensor, beta: float = 1.0) -> Tensor:
    """log(1 + exp(beta * x)) / beta as max(x, 0) + log(1 + exp(-|beta * x|)) / beta, which does not overflow."""
    scaled = elementwise(b, "Abs", x if beta == 1 else b.binary(Mul, x, b.constant(beta, "beta")))
    small = elementwise(b, "Exp", elementwise(b, "Neg", scaled))
    rest = elementwise(b, "Log", b.binary(Add, small, b.constant(1.0, "one")))
    rest = rest if beta == 1 else b.binary(Mul, rest, b.constant(1 / beta, "beta"))
    return b.binary(Add, b.unary(Relu, x), rest)


def mish(b: GraphBuilder, x: Tensor) -> Tensor:
    """X times the tanh of its softplus."""
    return b.binary(Mul, x, b.unary(Tanh, softplus(b, x)))


def gelu(b: GraphBuilder, x: Tensor, approximate: str = "none") -> Tensor:
    """GELU with erf, or in its form with tanh (Hendrycks and Gimpel, 2016): in int8 it is one table."""
    return elementwise(b, "GeluTanh" if approximate == "tanh" else "Gelu", x)


def prelu(b: GraphBuilder, x: Tensor, slopes: NDArray[np.float32]) -> Tensor:
    """X above 0, x times a slope below; slopes broadcast to x."""
    if broadcast_shape(x.shape, slopes.shape) != x.shape:
        raise RefusedError(f"its slopes {list(slopes.shape)} do not fit an input of shape {list(x.shape)}")
    wide = slopes.reshape((1,) * (len(x.shape) - slopes.ndim) + slopes.shape)
    return elementwise(b, "Prelu", x, b.constant(wide, "slopes"))


def log_softmax(b: GraphBuilder, x: Tensor, axis: int) -> Tensor:
    """X minus the logarithm of the sum of its exponentials over a non-negative axis."""
    apart = b.binary(Sub, x, reduction(b, "ReduceMax", x, (axis,), keep=True))
    total = reduction(b, "Sum", elementwise(b, "Exp", apart), (axis,), keep=True)
    return b.binary(Sub, apart, elementwise(b, "Log", total))


def log_sum(b: GraphBuilder, x: Tensor, axes: tuple[int, ...], *, keep: bool) -> Tensor:
    """The logarithm of the sum of exponentials over non-negative axes."""
    most = reduction(b, "ReduceMax", x, axes, keep=True)
    total = reduction(b, "Sum", elementwise(b, "Exp", b.binary(Sub, x, most)), axes, keep=keep)
    return b.binary(Add, elementwise(b, "Log", total), b.reshape(most, total.shape))


def sign(b: GraphBuilder, x: Tensor) -> Tensor:
    """1 above 0, -1 below."""
    zero, one, less = (b.constant(value, "sign") for value in (0.0, 1.0, -1.0))
    below = elementwise(b, "Select", elementwise(b, "Less", x, zero, dtype=DType.BOOL), less, zero)
    return elementwise(b, "Select", elementwise(b, "Greater", x, zero, dtype=DType.BOOL), one, below)


def quotient(b: GraphBuilder, a: Tensor, divisor: Tensor) -> Tensor:
    """A / divisor: a product with the inverse where that is known."""
    if divisor.is_constant:
        if not divisor.values.all():
            raise RefusedError("it divides by 0")
        return b.binary(Mul, a, b.constant(1 / divisor.values, "factor"))
    return elementwise(b, "Div", a, divisor)


def power(b: GraphBuilder, x: Tensor, exponent: float) -> Tensor:
    """X to a power: whole ones by products, others by a root or a logarithm; 0 of what is below 0 there."""
    if exponent == 0.5:
        return elementwise(b, "Sqrt", x)
    if exponent == -0.5:
        return elementwise(b, "Rsqrt", x)
    count = abs(exponent)
    if not 0 < count <= _MOST_POWER:
        raise RefusedError(f"its exponent is {exponent}; up to {_MOST_POWER} except 0 are supported")
    if count == int(count):
        result = _product_of(b, x, int(count))
    else:
        result = elementwise(b, "Pow", x, b.constant(count, "exponent"))
    return result if exponent > 0 else elementwise(b, "Div", b.constant(1.0, "one"), result)


def _product_of(b: GraphBuilder, x: Tensor, count: int) -> Tensor:
    """X multiplied with itself so often, by squares."""
    if count == 1:
        return x
    half = _product_of(b, x, count // 2)
    square = b.binary(Mul, half, half)
    return b.binary(Mul, square, x) if count % 2 else square


def expanded(b: GraphBuilder, x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """X repeated to a shape by numpy's rules."""
    if broadcast_shape(x.shape, shape) != shape:
        raise RefusedError(f"the shape {list(x.shape)} does not become {list(shape)}")
    return x if x.shape == shape else b.add(Elementwise, shape, "expand", function=function("BroadcastTo"), xs=(x,))


def repeated(b: GraphBuilder, x: Tensor, counts: tuple[int, ...]) -> Tensor:
    """X laid side by side, so many times along each dimension."""
    if len(counts) < len(x.shape) or min(counts, default=1) < 1:
        raise RefusedError(f"its repeats {list(counts)} do not fit an input of shape {list(x.shape)}")
    x = b.reshape(x, (1,) * (len(counts) - len(x.shape)) + x.shape)
    for axis, count in enumerate(counts):
        if count > 1024:
            raise RefusedError(f"it repeats {count} times; 1,024 at most are supported")
        x = b.concatenation([x] * count, axis)
    return x


def lowered(b: GraphBuilder, x: Tensor | NDArray[Any], chosen: Tensor) -> Tensor:
    """X for a softmax, far lower where truth values of activations say so."""
    mask = b.binary(Mul, chosen, b.constant(LEAST_SCORE, "mask"))
    b.scores.append(mask)
    if not isinstance(x, Tensor) and not np.any(x):
        return expanded(b, mask, broadcast_shape(mask.shape, np.shape(x)))
    return b.binary(Add, x if isinstance(x, Tensor) else b.constant(x), mask)


def either(b: GraphBuilder, condition: Tensor, a: Tensor | NDArray[Any], other: Tensor | NDArray[Any]) -> Tensor:
    """A where truth values of activations say so, else `other`; see `masked` for what is far below 0."""
    for far, x, is_first in ((a, other, True), (other, a, False)):
        if not isinstance(far, Tensor) and np.size(far) == 1 and float(far.reshape(())) <= FAR:
            return lowered(b, x, condition if is_first else elementwise(b, "LogicalNot", condition, dtype=DType.BOOL))
    return elementwise(b, "Select", condition, *(x if isinstance(x, Tensor) else b.constant(x) for x in (a, other)))


def masked(
    b: GraphBuilder, a: Tensor | NDArray[Any], other: Tensor | NDArray[Any], chosen: NDArray[np.bool_]
) -> Tensor:
    """A where `chosen`, else `other`.

    What is far below 0, as -inf before a softmax, is taken away from the rest: the graph refuses it elsewhere.
    """
    for x, far, place in ((other, a, chosen), (a, other, ~chosen)):
        if (
            isinstance(x, Tensor)
            and not isinstance(far, Tensor)
            and np.size(far) == 1
            and float(far.reshape(())) <= FAR
        ):
            made = b.binary(Add, x, b.constant(np.where(place, LEAST_SCORE, 0.0), "mask"))
            b.scores.append(made)
            return made
    parts = []
    for x, place in ((a, chosen), (other, ~chosen)):
        if isinstance(x, Tensor):
            parts.append(b.binary(Mul, x, b.constant(place, "mask")))
        else:
            parts.append(b.constant(np.where(place, x, 0.0), "filled"))
    return b.binary(Add, *parts)
