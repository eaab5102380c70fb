"""Blocks of transformers in operators of the graph: normalisation of layers, GELU, products of matrices, attention."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from utvm.frontends import channels_first as layers
from utvm.frontends.builder import GraphBuilder
from utvm.frontends.refusal import RefusedError, broadcast_shape
from utvm.graph import Add, BatchMatMul, Elementwise, Mul, Sub, Tanh, Tensor
from utvm.graph.functions import function

FloatArray = NDArray[np.float32]


def elementwise(b: GraphBuilder, name: str, x: Tensor) -> Tensor:
    """Append a function of TFLite on each element."""
    return b.add(Elementwise, x.shape, name.lower(), function=function(name), xs=(x,))


def normalised(
    b: GraphBuilder, x: Tensor, axes: Sequence[int], scale: FloatArray | None, shift: FloatArray | None, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    """(x - mean) / sqrt(variance + epsilon) over non-negative axes, times `scale` and plus `shift`, which broadcast.

    Returns:
        That, the mean, and the inverse of the root.
    """
    mean = layers.mean(b, x, axes, keep=True)
    apart = b.binary(Sub, x, mean)
    variance = layers.mean(b, b.binary(Mul, apart, apart), axes, keep=True)
    inverse = elementwise(b, "Rsqrt", b.binary(Add, variance, b.constant(epsilon, "epsilon")))
    result = b.binary(Mul, apart, inverse)
    for kind, values in ((Mul, scale), (Add, shift)):
        if values is not None:
            if broadcast_shape(x.shape, values.shape) != x.shape:
                raise RefusedError(f"its weights {list(values.shape)} do not fit an input of shape {list(x.shape)}")
            result = b.binary(kind, result, b.constant(values, "weights"))
    return result, mean, inverse


def gelu(b: GraphBuilder, x: Tensor) -> Tensor:
    """GELU in its form with tanh, which is within 0.0005 of that with erf (Hendrycks and Gimpel, 2016)."""
    root = math.sqrt(2 / math.pi)
    slope = b.binary(Add, b.binary(Mul, b.binary(Mul, x, x), b.constant(0.044715 * root)), b.constant(root))
    half = b.binary(Mul, x, b.constant(0.5))
    return b.binary(Mul, half, b.binary(Add, b.unary(Tanh, b.binary(Mul, x, slope)), b.constant(1.0)))


def product(b: GraphBuilder, left: Tensor, right: Tensor, *, turned: bool = False) -> Tensor:
    """Matrices of the last two dimensions, times each other; `turned` takes `right` as [..., columns, rows]."""
    if min(len(left.shape), len(right.shape)) < 2:
        raise RefusedError("matrices of two dimensions and more are expected")
    rows, columns = (right.shape[-1], right.shape[-2]) if turned else right.shape[-2:]
    if left.shape[-1] != rows:
        raise RefusedError(f"matrices of {list(left.shape)} and {list(right.shape)} can't be multiplied")
    shape = (*broadcast_shape(left.shape[:-2], right.shape[:-2]), left.shape[-2], columns)
    return b.add(BatchMatMul, shape, "product", a=left, b=right, turned_b=turned)


def attention(b: GraphBuilder, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
    """softmax(query * key^T * scale) * value; the scale is 1 / sqrt(width) if None."""
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scaled = b.binary(Mul, query, b.constant(factor, "scale"))
    return product(b, layers.softmax(b, product(b, scaled, key, turned=True), len(query.shape) - 1), value)
