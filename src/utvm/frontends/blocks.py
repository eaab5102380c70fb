"""Blocks of networks in operators of the graph: normalisation, products of matrices, attention."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from utvm.frontends import channels_first as layers
from utvm.frontends.activations import LEAST_SCORE, elementwise, lowered, quotient, reduction
from utvm.frontends.builder import GraphBuilder
from utvm.frontends.refusal import RefusedError, broadcast_shape
from utvm.graph import Add, BatchMatMul, DType, Mul, Sub, Tensor

FloatArray = NDArray[np.float32]


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


def product(b: GraphBuilder, left: Tensor, right: Tensor, *, turned: bool = False) -> Tensor:
    """Matrices of the last two dimensions, times each other; `turned` takes `right` as [..., columns, rows]."""
    if min(len(left.shape), len(right.shape)) < 2:
        raise RefusedError("matrices of two dimensions and more are expected")
    rows, columns = (right.shape[-1], right.shape[-2]) if turned else right.shape[-2:]
    if left.shape[-1] != rows:
        raise RefusedError(f"matrices of {list(left.shape)} and {list(right.shape)} can't be multiplied")
    shape = (*broadcast_shape(left.shape[:-2], right.shape[:-2]), left.shape[-2], columns)
    return b.add(BatchMatMul, shape, "product", a=left, b=right, turned_b=turned)


def attention(
    b: GraphBuilder,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float | None,
    mask: Tensor | FloatArray | None = None,
) -> Tensor:
    """softmax(query * key^T * scale + mask) * value; the scale is 1 / sqrt(width) if None."""
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scaled = b.binary(Mul, query, b.constant(factor, "scale"))
    scores = product(b, scaled, key, turned=True)
    if isinstance(mask, Tensor) and mask.dtype is DType.BOOL:
        # Truth values say what is seen.
        scores = lowered(b, scores, elementwise(b, "LogicalNot", mask, dtype=DType.BOOL))
    elif isinstance(mask, Tensor):
        scores = b.binary(Add, scores, mask)
    elif mask is not None:
        # What is so far below is 0 behind the softmax, and float32 and int8 hold it.
        scores = b.binary(Add, scores, b.constant(np.maximum(mask, LEAST_SCORE), "mask"))
    return product(b, layers.softmax(b, scores, len(query.shape) - 1), value)


def grouped_normalised(b: GraphBuilder, x: Tensor, groups: int, epsilon: float) -> Tensor:
    """x [N,C,...] less its mean and over its deviation in each group of channels of a sample."""
    if len(x.shape) < 2 or groups < 1 or x.shape[1] % groups:
        raise RefusedError(f"{groups} groups do not fit an input of shape {list(x.shape)}")
    if groups == x.shape[1]:
        return normalised(b, x, range(2, len(x.shape)), None, None, epsilon)[0]
    parts = b.reshape(x, (x.shape[0], groups, x.shape[1] // groups, *x.shape[2:]))
    return b.reshape(normalised(b, parts, range(2, len(parts.shape)), None, None, epsilon)[0], x.shape)


def variance(b: GraphBuilder, x: Tensor, axes: tuple[int, ...], less: float, *, keep: bool) -> Tensor:
    """The mean square distance from the mean over non-negative axes; `less` is what the divisor is short of a count."""
    apart = b.binary(Sub, x, layers.mean(b, x, axes, keep=True))
    made = layers.mean(b, b.binary(Mul, apart, apart), axes, keep=keep)
    count = math.prod(x.shape[axis] for axis in axes)
    if count <= less:
        raise RefusedError(f"it divides by {count - less:g}")
    return made if not less else b.binary(Mul, made, b.constant(count / (count - less), "unbiased"))


def per_channel(b: GraphBuilder, x: Tensor, scale: FloatArray | None, shift: FloatArray | None) -> Tensor:
    """x [N,C,...] times a factor and plus an amount a channel, where there are any."""
    for kind, values in ((Mul, scale), (Add, shift)):
        if values is not None:
            if values.size != x.shape[1]:
                raise RefusedError(f"{values.size} values do not fit {x.shape[1]} channels")
            x = b.binary(kind, x, b.constant(values.reshape(-1, *[1] * (len(x.shape) - 2)), "weights"))
    return x


def root_normalised(
    b: GraphBuilder, x: Tensor, axes: Sequence[int], scale: FloatArray | None, epsilon: float
) -> Tensor:
    """X over the root of its mean square over non-negative axes, times `scale`, which broadcasts."""
    square = layers.mean(b, b.binary(Mul, x, x), axes, keep=True)
    result = b.binary(Mul, x, elementwise(b, "Rsqrt", b.binary(Add, square, b.constant(epsilon, "epsilon"))))
    return result if scale is None else b.binary(Mul, result, b.constant(scale, "weights"))


def length(b: GraphBuilder, x: Tensor, axes: tuple[int, ...], *, keep: bool) -> Tensor:
    """The root of the sum of squares over non-negative axes."""
    return elementwise(b, "Sqrt", reduction(b, "Sum", b.binary(Mul, x, x), axes, keep=keep))


def unit_length(b: GraphBuilder, x: Tensor, axis: int, epsilon: float) -> Tensor:
    """X over its length along an axis, or over epsilon where that is shorter."""
    least = elementwise(b, "Maximum", length(b, x, (axis,), keep=True), b.constant(epsilon, "epsilon"))
    return quotient(b, x, least)


def contracted(b: GraphBuilder, equation: str, xs: Sequence[Tensor]) -> Tensor:
    """A sum of products in Einstein's notation, of one or two operands, each letter once in an operand."""
    inputs, arrow, result = equation.replace(" ", "").partition("->")
    terms = inputs.split(",")
    if not arrow:
        letters = "".join(terms)
        result = "".join(sorted(letter for letter in set(letters) if letters.count(letter) == 1))
    plain = all(len(set(term)) == len(term) and term.isalpha() for term in terms if term)
    if not plain or len(terms) != len(xs) or len(xs) > 2 or len(set(result)) != len(result):
        raise RefusedError(f"its equation '{equation}' is of no form that is supported: write it with matmul")
    if any(len(term) != len(x.shape) for term, x in zip(terms, xs, strict=True)):
        raise RefusedError(f"its equation '{equation}' does not fit its operands")
    others = [set("".join(terms[:i] + terms[i + 1 :]) + result) for i in range(len(terms))]
    for index, term in enumerate(terms):
        gone = tuple(d for d, letter in enumerate(term) if letter not in others[index])
        xs = [reduction(b, "Sum", x, gone, keep=False) if i == index else x for i, x in enumerate(xs)]
        terms[index] = "".join(letter for letter in term if letter in others[index])
    if len(xs) == 1:
        return b.transpose(xs[0], [terms[0].index(letter) for letter in result])
    left, right = terms
    size = {letter: n for term, x in zip(terms, xs, strict=True) for letter, n in zip(term, x.shape, strict=True)}
    batch = [letter for letter in result if letter in left and letter in right]
    summed = [letter for letter in left if letter in right and letter not in result]
    rows, columns = ([c for c in result if c in term and c not in batch] for term in terms)

    def matrix(x: Tensor, term: str, first: list[str], second: list[str]) -> Tensor:
        moved = b.transpose(x, [term.index(letter) for letter in (*batch, *first, *second)])
        sizes = [math.prod(size[letter] for letter in part) for part in (first, second)]
        return b.reshape(moved, (*(size[letter] for letter in batch), *sizes))

    made = product(b, matrix(xs[0], left, rows, summed), matrix(xs[1], right, summed, columns))
    order = (*batch, *rows, *columns)
    whole = b.reshape(made, [size[letter] for letter in order])
    return b.transpose(whole, [order.index(letter) for letter in result])
