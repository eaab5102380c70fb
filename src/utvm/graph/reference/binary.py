"""Elementwise operators of two tensors, which numpy's rules broadcast."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from utvm.graph.arithmetic import Requantization, addition_parameters, multiplication_parameters
from utvm.graph.operators import Add, Mul, Sub
from utvm.numerics import Int64Array, multiply_by_quantized_multiplier

Int8Array = NDArray[np.int8]


def add(op: Add, a: Int8Array, b: Int8Array) -> Int8Array:
    """Both inputs at a common scale, 2^20 times finer than twice the larger one; their sum at y's."""
    left, right = _common_scale(op, a, b)
    return _stored(op, left + right, addition_parameters(op).y)


def sub(op: Sub, a: Int8Array, b: Int8Array) -> Int8Array:
    """As `add`, but for the sign."""
    left, right = _common_scale(op, a, b)
    return _stored(op, left - right, addition_parameters(op).y)


def mul(op: Mul, a: Int8Array, b: Int8Array) -> Int8Array:
    """The product of both values without their zero points, at y's scale."""
    left = a.astype(np.int64) - op.a.zero_point
    right = b.astype(np.int64) - op.b.zero_point
    return _stored(op, left * right, multiplication_parameters(op))


def _common_scale(op: Add | Sub, a: Int8Array, b: Int8Array) -> tuple[Int64Array, Int64Array]:
    parameters = addition_parameters(op)
    left = (a.astype(np.int64) - op.a.zero_point) << parameters.left_shift
    right = (b.astype(np.int64) - op.b.zero_point) << parameters.left_shift
    return _scaled(left, parameters.a), _scaled(right, parameters.b)


def _stored(op: Add | Sub | Mul, value: Int64Array, factor: Requantization) -> Int8Array:
    return np.clip(_scaled(value, factor) + op.y.zero_point, *op.clamp).astype(np.int8)


def _scaled(value: Int64Array, factor: Requantization) -> Int64Array:
    return multiply_by_quantized_multiplier(value, factor.multiplier, factor.shift)
