"""TFLite operators that are several of the graph's: logarithms of a softmax, norms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tflite

from utvm.frontends.context import Context, expect_shape
from utvm.frontends.refusal import RefusedError
from utvm.frontends.tflite_parts import Converted
from utvm.frontends.tflite_windowed import placed
from utvm.graph import AveragePool2D, DType, Elementwise, Foreign, Operator, Reduction, Sub, Tensor
from utvm.graph.arithmetic import LOG_SUM_BITS, log_softmax_tables
from utvm.graph.functions import function, reducer
from utvm.graph.routines import routine

_LEAST_NORM = np.float32(1e-6)


class _Chain:
    """Operators of float32 one after another, each of a new tensor but the last one."""

    def __init__(self, c: Context, y: Tensor) -> None:
        self.c, self.y = c, y
        self.operators: list[Operator] = []

    def function(self, name: str, *xs: Tensor, last: bool = False) -> Tensor:
        """Append an elementwise function, whose first operand has the result's shape."""
        y = self.y if last else self.c.made(name.lower(), self.y, xs[0].shape)
        op = Elementwise(name=self._name(name, last), function=function(name), xs=xs, y=y)
        self.operators.append(op)
        return y

    def over_rows(self, name: str, x: Tensor) -> Tensor:
        """Append a reduction over the last dimension, which is kept."""
        y = self.c.made(name.lower(), self.y, (*x.shape[:-1], 1))
        axes = (len(x.shape) - 1,)
        self.operators.append(Reduction(name=self._name(name), reducer=reducer(name), x=x, y=y, axes=axes))
        return y

    def less(self, a: Tensor, b: Tensor, *, last: bool = False) -> Tensor:
        """Append a difference."""
        y = self.y if last else self.c.made("less", self.y, a.shape)
        self.operators.append(Sub(name=self._name("less", last), a=a, b=b, y=y))
        return y

    def _name(self, what: str, last: bool = False) -> str:
        return self.c.name if last else f"{self.c.name}/{what.lower()}"


def _log_softmax(c: Context) -> Converted:
    c.arity((1,))
    x, y = c.activation(0), c.result()
    expect_shape(y, x.shape)
    if not x.shape:
        raise RefusedError("its input has no dimension")
    if x.dtype is DType.INT8:
        return _log_softmax_int8(c, x, y)
    chain = _Chain(c, y)
    apart = chain.less(x, chain.over_rows("ReduceMax", x))
    total = chain.over_rows("Sum", chain.function("Exp", apart))
    chain.less(apart, chain.function("Log", total), last=True)
    return tuple(chain.operators)


def _log_softmax_int8(c: Context, x: Tensor, y: Tensor) -> Converted:
    """Return the routine with its tables by the distance to the largest element of a row."""
    if (y.scale, y.zero_point) != (1 / 16, 127):
        raise RefusedError(f"tensor '{y.name}': scale 1/16 and zero point 127 are expected")
    if x.shape[-1] >= 1 << LOG_SUM_BITS:
        raise RefusedError(f"a sum over {x.shape[-1]} elements does not fit {LOG_SUM_BITS} bits")
    found = log_softmax_tables(x.scale, x.shape[-1])
    if found is None:
        raise RefusedError(f"tensor '{x.name}': its scale {x.scale} does not fit 32 bits")
    tables = (c.constant_made(name, values) for name, values in found.items())
    return Foreign(name=c.name, function=routine("LogSoftmax"), xs=(x, *tables), ys=(y,))


def _l2_pool(c: Context) -> Converted:
    """Return the root of the mean of squares of each window."""
    c.arity((1,))
    x, y = c.activation(0), c.result()
    options = c.options(tflite.Pool2DOptions)
    kernel, stride = (options.FilterHeight(), options.FilterWidth()), (options.StrideH(), options.StrideW())
    padding, plane = placed(x, options.Padding(), kernel, stride)
    expect_shape(y, (x.shape[0], *plane, x.shape[3]))
    c.clamp(options.FusedActivationFunction(), y)
    chain = _Chain(c, y)
    squares, mean = chain.function("Square", x), c.made("mean", y, y.shape)
    chain.operators.append(
        AveragePool2D(name=f"{c.name}/mean", x=squares, y=mean, filter=kernel, stride=stride, padding=padding)
    )
    chain.function("Sqrt", mean, last=True)
    return tuple(chain.operators)


def normalized_rows(c: Context, x: Tensor, y: Tensor) -> Sequence[Operator]:
    """Return rows of float32 over the root of their sum of squares."""
    chain = _Chain(c, y)
    norm = chain.function("Sqrt", chain.over_rows("Sum", chain.function("Square", x)))
    least = c.constant_made("least", np.array([_LEAST_NORM], np.float32))
    chain.function("Div", x, chain.function("Maximum", norm, least), last=True)
    return tuple(chain.operators)


COMPOSED: Mapping[str, Callable[[Context], Converted]] = {
    "LOG_SOFTMAX": _log_softmax,
    "L2_POOL_2D": _l2_pool,
}
