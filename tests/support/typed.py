"""Drawn operators in another type than int8: the same shapes and attributes, tensors and constants of that type."""

from __future__ import annotations

import dataclasses

import numpy as np
import tflite

from tests.support.draw import _MAKERS
from tests.support.drawer import Array, Drawer
from tests.support.encoded import BEYOND, MAKERS
from utvm.frontends.context import ACTIVATION_RANGES, quantised_range
from utvm.frontends.tflite_encoded import EncodedOperator
from utvm.frontends.tflite_writer import write_encoded
from utvm.graph import DepthwiseConv2D, DType, Graph, Logistic, Operator, Pad, Quantization, Softmax, Tanh, Tensor


def typed(kind: str, dtype: DType, seed: int, largest: int = 8) -> tuple[Graph, list[Array]]:
    """Return a graph of one drawn operator whose activations have a type, and inputs for it."""
    rng = np.random.default_rng(seed)
    op = _MAKERS[kind](Drawer(rng, True, largest))
    changed = op.with_tensors({t: _typed(op, t, dtype, rng) for t in dict.fromkeys((*op.inputs, *op.outputs))})
    if isinstance(changed, DepthwiseConv2D) and changed.bias is None:
        zeros = np.zeros(changed.y.shape[3], _bias_type(dtype).value)
        bias = Tensor(name="bias", shape=zeros.shape, dtype=_bias_type(dtype), data=zeros)
        changed = dataclasses.replace(changed, bias=bias)
    if isinstance(changed, Pad):
        changed = dataclasses.replace(changed, value=0)
    if hasattr(changed, "clamp"):
        limits = list(ACTIVATION_RANGES.values())[int(rng.integers(4))]
        clamp = (-128, 127) if dtype is DType.FLOAT32 else quantised_range(changed.outputs[0], *limits)
        changed = dataclasses.replace(changed, clamp=clamp)  # type: ignore[call-arg]
    graph = Graph(
        name="drawn", operators=(changed,), inputs=tuple(dict.fromkeys(changed.activations)), outputs=changed.outputs
    )
    return graph, [values(t.dtype, t.shape, rng) for t in graph.inputs]


def values(dtype: DType, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Return random elements: integers of the whole range or its ends, reals around 0."""
    if dtype is DType.FLOAT32:
        return (rng.standard_normal(shape) * 4).astype(np.float32)
    if dtype is DType.BOOL:
        return rng.integers(0, 2, shape).astype(np.bool_)
    limits = np.iinfo(dtype.value)
    if rng.integers(0, 4) == 0:
        return rng.choice(np.array([limits.min, limits.max, 0], dtype.value), shape)
    return rng.integers(limits.min, limits.max, shape, endpoint=True).astype(dtype.value)


def _bias_type(dtype: DType) -> DType:
    return {DType.FLOAT32: DType.FLOAT32, DType.INT16: DType.INT64}.get(dtype, DType.INT32)


def _typed(op: Operator, tensor: Tensor, dtype: DType, rng: np.random.Generator) -> Tensor:
    if tensor is getattr(op, "bias", None):
        quant = tensor.quant if dtype is not DType.FLOAT32 else None
        if quant is not None and dtype is DType.INT16:
            quant = dataclasses.replace(quant, scale=tuple(scale / 256 for scale in quant.scale))
        narrow = dtype is DType.INT16 and not isinstance(op, DepthwiseConv2D) and rng.integers(0, 3) == 0
        kind = DType.INT32 if narrow else _bias_type(dtype)
        return _constant(dataclasses.replace(tensor, quant=quant), kind, rng)
    if tensor.dtype is not DType.INT8:
        return tensor
    if dtype is DType.FLOAT32:
        plain = dataclasses.replace(tensor, quant=None)
        return _constant(plain, dtype, rng) if tensor.is_constant else dataclasses.replace(plain, dtype=dtype)
    if tensor is getattr(op, "weights", None):
        return tensor
    prescribed = isinstance(op, Logistic | Softmax | Tanh) and tensor is op.y
    quant = Quantization.per_tensor(1 / 32768 if prescribed else tensor.scale / 256)
    found = dataclasses.replace(tensor, quant=quant, dtype=dtype, data=None)
    return _constant(found, dtype, rng) if tensor.is_constant else found


def _constant(tensor: Tensor, dtype: DType, rng: np.random.Generator) -> Tensor:
    if dtype is DType.INT64:
        data = rng.integers(-(2**30), 2**30, tensor.shape).astype(np.int64)
    elif dtype is DType.INT32:
        data = rng.integers(-(2**20), 2**20, tensor.shape).astype(np.int32)
    else:
        data = values(dtype, tensor.shape, rng)
    return dataclasses.replace(tensor, dtype=dtype, data=data)


def typed_file(kind: str, dtype: DType, seed: int, largest: int = 8) -> tuple[bytes, list[Array]]:
    """Return the file of a drawn operator of TFLite's name whose int8 tensors have another type, and inputs for it."""
    rng = np.random.default_rng(seed)
    maker = MAKERS.get(kind) or (BEYOND.get(kind) if kind in ("GELU", "TILE", "SELECT") else None)
    op = maker(Drawer(rng, True, largest)) if maker else _float_alone(kind, rng)
    known: dict[Tensor, Tensor] = {}

    def changed(tensor: Tensor | None) -> Tensor | None:
        if tensor is None or tensor.dtype is not DType.INT8 or (dtype is DType.INT16 and tensor.name == "w"):
            return tensor
        quant = None if dtype is DType.FLOAT32 else Quantization.per_tensor(tensor.scale / 256)
        made = dataclasses.replace(tensor, dtype=dtype, quant=quant, data=None)
        return known.setdefault(tensor, _constant(made, dtype, rng) if tensor.is_constant else made)

    op = dataclasses.replace(
        op, inputs=tuple(changed(t) for t in op.inputs), outputs=tuple(t for t in map(changed, op.outputs) if t)
    )
    if kind == "TRANSPOSE_CONV":
        op = dataclasses.replace(op, inputs=tuple(_bias(t, _bias_type(dtype), rng) for t in op.inputs))
    xs = list(dict.fromkeys(t for t in op.inputs if t is not None and not t.is_constant))
    inputs = [values(t.dtype, t.shape, rng) if t.dtype is not DType.INT32 else np.zeros(t.shape, np.int32) for t in xs]
    if kind in ("LOG", "SQRT", "RSQRT"):
        inputs = [np.abs(x) + np.float32(1e-3) if dtype is DType.FLOAT32 else np.maximum(x, 0) for x in inputs]
    return write_encoded("drawn", xs, op.outputs, [op]), inputs


def _bias(tensor: Tensor | None, dtype: DType, rng: np.random.Generator) -> Tensor | None:
    return _constant(tensor, dtype, rng) if tensor is not None and tensor.name == "bias" else tensor


def _l2_pool(rng: np.random.Generator) -> EncodedOperator:
    images, height, width, channels = (int(size) for size in rng.integers(1, 7, 4))
    tall, wide = int(rng.integers(1, height + 1)), int(rng.integers(1, width + 1))
    down, right = (int(step) for step in rng.integers(1, 3, 2))
    x = Tensor(name="x", shape=(images, height, width, channels), dtype=DType.FLOAT32)
    shape = (images, -(-height // down), -(-width // right), channels)
    fields = {"Padding": 0, "StrideH": down, "StrideW": right, "FilterHeight": tall, "FilterWidth": wide}
    y = Tensor(name="y", shape=shape, dtype=DType.FLOAT32)
    code = tflite.BuiltinOperator.L2_POOL_2D
    return EncodedOperator(code=code, version=1, inputs=(x,), outputs=(y,), options="Pool2DOptions", fields=fields)


def _float_alone(kind: str, rng: np.random.Generator) -> EncodedOperator:
    if kind == "L2_POOL_2D":
        return _l2_pool(rng)
    shape = tuple(int(size) for size in rng.integers(1, 6, 3))
    xs = [Tensor(name=n, shape=shape, dtype=DType.FLOAT32) for n in ("ab" if kind.startswith("FLOOR_") else "a")]
    y = Tensor(name="y", shape=shape, dtype=DType.FLOAT32)
    code = getattr(tflite.BuiltinOperator, kind)
    return EncodedOperator(code=code, version=1, inputs=tuple(xs), outputs=(y,))
