"""Random operators in TFLite's own form, for the operators that a table defines: what tflite-micro takes, and inputs.

Each maker draws one operator; what the interpreter leaves undefined (a quotient by 0, the root of a negative value) is
not drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tflite

from tests.support.drawer import Array, Drawer
from utvm.frontends.tflite_encoded import EncodedOperator
from utvm.frontends.tflite_writer import write_encoded
from utvm.graph import DType, Quantization, Tensor

_CODES = tflite.BuiltinOperator


@dataclass(frozen=True, slots=True)
class Encoded:
    """An operator as a model file, and inputs for it."""

    kind: str
    model: bytes
    inputs: list[Array]


def encoded(kind: str, seed: int, largest: int = 12) -> Encoded:
    """Return a drawn operator of a kind, TFLite's name of it."""
    d = Drawer(np.random.default_rng(seed), True, largest)
    op = (MAKERS.get(kind) or BEYOND[kind])(d)
    xs = list(dict.fromkeys(t for t in op.inputs if t is not None and not t.is_constant))
    inputs = [_values(d, kind, t) for t in xs]
    return Encoded(kind, write_encoded("drawn", xs, op.outputs, [op]), inputs)


def _values(d: Drawer, kind: str, tensor: Tensor) -> Array:
    if tensor.dtype is DType.BOOL:
        return d.rng.integers(0, 2, tensor.shape).astype(np.bool_)
    if tensor.dtype is DType.INT32:
        return d.rng.integers(-(2**31) if kind in BEYOND else 0, 2**31 if kind in BEYOND else 2, tensor.shape).astype(
            np.int32
        )
    values = d.int8(tensor.shape)
    if kind == "RSQRT":
        values = np.maximum(values, tensor.zero_point).astype(np.int8)
    if kind == "DIV" and tensor.name == "b":
        values = _no_zero(tensor, values)
    return values


def _no_zero(tensor: Tensor, values: Array) -> Array:
    other = tensor.zero_point + (1 if tensor.zero_point < 127 else -1)
    return np.where(values == tensor.zero_point, other, values).astype(np.int8)


def _made(
    name: str,
    xs: Sequence[Tensor | None],
    ys: Sequence[Tensor],
    options: str | None = None,
    version: int = 2,
    **fields: Any,
) -> EncodedOperator:
    return EncodedOperator(
        code=getattr(_CODES, name),
        version=version,
        inputs=tuple(xs),
        outputs=tuple(ys),
        options=options,
        fields=fields,
    )


def _plain(name: str, shape: Sequence[int], dtype: DType) -> Tensor:
    return Tensor(name=name, shape=tuple(shape), dtype=dtype)


def _numbers(name: str, values: Any) -> Tensor:
    data = np.array(values, np.int32)
    return Tensor(name=name, shape=data.shape, dtype=DType.INT32, data=data)


def _fixed(d: Drawer, tensor: Tensor, values: Array | None = None) -> Tensor:
    data = d.int8(tensor.shape) if values is None else values
    return Tensor(name=tensor.name, shape=tensor.shape, dtype=tensor.dtype, quant=tensor.quant, data=data)


def _unary(name: str, options: str | None = None) -> Callable[[Drawer], EncodedOperator]:
    def make(d: Drawer) -> EncodedOperator:
        x = d.tensor("x", d.shape())
        y = d.tensor("y", x.shape, d.pick(x.quant, d.quantization()))
        return _made(name, [x], [y], options)

    return make


def _hard_swish(d: Drawer) -> EncodedOperator:
    x = d.tensor("x", d.shape())
    scale = x.scale * d.log_uniform(1 / 32, 4)
    return _made("HARD_SWISH", [x], [d.tensor("y", x.shape, Quantization.per_tensor(scale, d.zero_point()))])


def _log_softmax(d: Drawer) -> EncodedOperator:
    x = d.tensor("x", d.shape(largest=12))
    y = d.tensor("y", x.shape, Quantization.per_tensor(1 / 16, 127))
    return _made("LOG_SOFTMAX", [x], [y], "LogSoftmaxOptions")


def _pair(d: Drawer, *, quant: Quantization | None = None, constant: bool = True) -> tuple[Tensor, Tensor, Any]:
    """Two operands of shapes that go together, up to four dimensions, and the shape of both."""
    shape = d.shape(largest=d.pick(6, 6, 10))
    other = d.pick(shape, (1,), shape[-1:], tuple(d.pick(1, size) for size in shape))
    mine = tuple(d.pick(size, size, size, 1) for size in shape)
    a, b = d.tensor("a", mine, quant), d.tensor("b", other, quant)
    if constant and d.integer(0, 3) == 0:
        b = _fixed(d, b)
    return a, b, tuple(int(s) for s in np.broadcast_shapes(a.shape, b.shape))


def _binary(name: str, options: str | None = None, **fields: Any) -> Callable[[Drawer], EncodedOperator]:
    def make(d: Drawer) -> EncodedOperator:
        a, b, shape = _pair(d)
        if name == "DIV" and b.is_constant:
            b = _fixed(d, b, _no_zero(b, b.values))
        scale = {
            "DIV": a.scale / b.scale / 64,
            "SQUARED_DIFFERENCE": 64 * max(a.scale, b.scale) ** 2,
            "PRELU": a.scale,
        }[name]
        y = d.tensor("y", shape, Quantization.per_tensor(scale * d.log_uniform(0.25, 4), d.zero_point()))
        return _made(name, [a, b], [y], options, **fields)

    return make


def _extreme(name: str) -> Callable[[Drawer], EncodedOperator]:
    def make(d: Drawer) -> EncodedOperator:
        quant = d.quantization()
        a, b, shape = _pair(d, quant=quant)
        return _made(name, [a, b], [d.tensor("y", shape, quant)], "MaximumMinimumOptions")

    return make


def _comparison(name: str, options: str) -> Callable[[Drawer], EncodedOperator]:
    def make(d: Drawer) -> EncodedOperator:
        a, b, shape = _pair(d, quant=d.pick(None, d.quantization()))
        return _made(name, [a, b], [_plain("y", shape, DType.BOOL)], options)

    return make


def _logical(name: str, options: str) -> Callable[[Drawer], EncodedOperator]:
    def make(d: Drawer) -> EncodedOperator:
        shape = d.shape()
        xs = [_plain(n, shape, DType.BOOL) for n in ("ab" if name != "LOGICAL_NOT" else "a")]
        return _made(name, xs, [_plain("y", shape, DType.BOOL)], options, version=1)

    return make


def _select(d: Drawer) -> EncodedOperator:
    quant = d.quantization()
    a, b, shape = _pair(d, quant=quant)
    condition = _plain("c", d.pick(shape, shape[-1:]), DType.BOOL)
    return _made("SELECT_V2", [condition, a, b], [d.tensor("y", shape, quant)], "SelectV2Options", version=1)


def _add_n(d: Drawer) -> EncodedOperator:
    shape, quant = d.shape(), d.quantization()
    xs = [d.tensor(f"x{i}", shape, quant) for i in range(d.integer(2, 4))]
    y = Quantization.per_tensor(quant.scale[0] * d.log_uniform(0.5, 4), d.zero_point())
    return _made("ADD_N", xs, [d.tensor("y", shape, y)], "AddNOptions")


def _cast(d: Drawer) -> EncodedOperator:
    x = d.pick(d.tensor("x", d.shape()), _plain("x", d.shape(), DType.BOOL))
    y = _plain("y", x.shape, DType.INT32)
    return _made("CAST", [x], [y], "CastOptions", version=1)


def _broadcast_to(d: Drawer) -> EncodedOperator:
    shape = d.shape(1, 4)
    x = d.tensor("x", tuple(d.pick(1, size) for size in shape)[d.integer(0, len(shape) - 1) :])
    return _made("BROADCAST_TO", [x, _numbers("shape", shape)], [d.tensor("y", shape, x.quant)], "BroadcastToOptions")


def _tile(d: Drawer) -> EncodedOperator:
    x = d.tensor("x", d.shape(1, 4, largest=6))
    times = tuple(d.integer(1, 3) for _ in x.shape)
    shape = tuple(size * n for size, n in zip(x.shape, times, strict=True))
    return _made("TILE", [x, _numbers("times", times)], [d.tensor("y", shape, x.quant)])


def _select_alike(d: Drawer) -> EncodedOperator:
    quant, shape = d.quantization(), d.shape()
    a, b = (d.tensor(name, shape, quant) for name in "ab")
    return _made("SELECT", [_plain("c", shape, DType.BOOL), a, b], [d.tensor("y", shape, quant)], version=1)


def _integers(name: str, options: str) -> Callable[[Drawer], EncodedOperator]:
    def make(d: Drawer) -> EncodedOperator:
        shape = d.shape()
        a, b = (_plain(label, shape, DType.INT32) for label in "ab")
        return _made(name, [a, b], [_plain("y", shape, DType.INT32)], options)

    return make


def _gelu(d: Drawer) -> EncodedOperator:
    x = d.tensor("x", d.shape())
    y = d.tensor("y", x.shape, Quantization.per_tensor(x.scale * d.log_uniform(0.25, 2), d.zero_point()))
    return _made("GELU", [x], [y], "GeluOptions", Approximate=d.flag())


def _reduction(name: str, *, same: bool = False) -> Callable[[Drawer], EncodedOperator]:
    def make(d: Drawer) -> EncodedOperator:
        shape = d.shape(largest=9)
        axes = tuple(axis for axis in range(len(shape)) if d.flag()) or (d.integer(0, len(shape) - 1),)
        kept = d.flag()
        result = tuple(1 if axis in axes else size for axis, size in enumerate(shape) if kept or axis not in axes)
        if name in ("REDUCE_ALL", "REDUCE_ANY"):
            x, y = _plain("x", shape, DType.BOOL), _plain("y", result, DType.BOOL)
        else:
            x = d.tensor("x", shape)
            scaled = Quantization.per_tensor(x.scale * d.log_uniform(0.5, 30), d.zero_point())
            y = d.tensor("y", result, x.quant if same else scaled)
        return _made(name, [x, _numbers("axes", axes)], [y], "ReducerOptions", KeepDims=kept)

    return make


def _arg(name: str, options: str) -> Callable[[Drawer], EncodedOperator]:
    def make(d: Drawer) -> EncodedOperator:
        shape = d.shape(largest=9)
        axis = d.integer(0, len(shape) - 1)
        y = _plain("y", (*shape[:axis], *shape[axis + 1 :]), DType.INT32)
        xs = [d.tensor("x", shape), _numbers("axis", axis)]
        return _made(name, xs, [y], options, OutputType=tflite.TensorType.INT32)

    return make


def _cumsum(d: Drawer) -> EncodedOperator:
    x = d.tensor("x", d.shape(largest=9))
    y = Quantization.per_tensor(x.scale * d.log_uniform(0.5, 8), d.zero_point())
    axis = _numbers("axis", d.integer(0, len(x.shape) - 1))
    fields = {"Exclusive": d.flag(), "Reverse": d.flag()}
    return _made("CUMSUM", [x, axis], [d.tensor("y", x.shape, y)], "CumsumOptions", version=1, **fields)


def _indices(d: Drawer, shape: Sequence[int], sizes: Sequence[int]) -> Tensor:
    """Places in dimensions of `sizes`, the last dimension of `shape` if there are several; constants, mostly."""
    if min(sizes) >= 2 and d.integer(0, 2) == 0:
        return _plain("indices", shape, DType.INT32)
    data = np.empty(tuple(shape), np.int32)
    for k, size in enumerate(sizes):
        part = d.rng.integers(0, size, shape if len(sizes) == 1 else shape[:-1])
        if len(sizes) == 1:
            data = part.astype(np.int32)
        else:
            data[..., k] = part
    return Tensor(name="indices", shape=tuple(shape), dtype=DType.INT32, data=data)


def _gather(d: Drawer) -> EncodedOperator:
    x = d.tensor("x", d.shape())
    axis = d.integer(0, len(x.shape) - 1)
    batches = d.pick(0, 0, d.integer(0, axis))
    indices = _indices(d, (*x.shape[:batches], *d.shape(1, 2, 4)), x.shape[axis : axis + 1])
    shape = (*x.shape[:axis], *indices.shape[batches:], *x.shape[axis + 1 :])
    y = d.tensor("y", shape, x.quant)
    return _made("GATHER", [x, indices], [y], "GatherOptions", Axis=axis, BatchDims=batches)


def _gather_nd(d: Drawer) -> EncodedOperator:
    x = d.tensor("x", d.shape())
    named = d.integer(1, len(x.shape))
    indices = _indices(d, (*d.shape(1, 2, 4), named), [min(x.shape[:named])] if named == 1 else x.shape[:named])
    y = d.tensor("y", (*indices.shape[:-1], *x.shape[named:]), x.quant)
    return _made("GATHER_ND", [x, indices], [y], "GatherNdOptions")


def _embedding_lookup(d: Drawer) -> EncodedOperator:
    table = d.tensor("x", (d.size(6), d.size(9)))
    table = _fixed(d, table)
    indices = _indices(d, (d.size(5),), table.shape[:1])
    if indices.is_constant:
        table = d.tensor("x", table.shape)
    y = d.tensor("y", (*indices.shape, table.shape[1]), table.quant)
    return _made("EMBEDDING_LOOKUP", [indices, table], [y])


def _mirror_pad(d: Drawer) -> EncodedOperator:
    x = d.tensor("x", d.shape())
    reflect = d.flag()
    most = [size - reflect for size in x.shape]
    paddings = [(d.integer(0, m), d.integer(0, m)) for m in most]
    shape = tuple(size + sum(pad) for size, pad in zip(x.shape, paddings, strict=True))
    mode = tflite.MirrorPadMode.REFLECT if reflect else tflite.MirrorPadMode.SYMMETRIC
    xs = [x, _numbers("paddings", paddings)]
    return _made("MIRROR_PAD", xs, [d.tensor("y", shape, x.quant)], "MirrorPadOptions", Mode=mode)


def _reverse(d: Drawer) -> EncodedOperator:
    x = d.tensor("x", d.shape())
    first = d.integer(0, len(x.shape) - 1)
    axes = list(range(first, d.integer(first, len(x.shape) - 1) + 1))
    return _made("REVERSE_V2", [x, _numbers("axes", axes)], [d.tensor("y", x.shape, x.quant)], "ReverseV2Options")


def _depth(name: str, options: str) -> Callable[[Drawer], EncodedOperator]:
    def make(d: Drawer) -> EncodedOperator:
        size, batch, rows, columns, depth = d.integer(1, 3), d.integer(1, 2), d.size(4), d.size(4), d.size(5)
        wide, deep = (batch, rows * size, columns * size, depth), (batch, rows, columns, depth * size * size)
        shapes = (wide, deep) if name == "SPACE_TO_DEPTH" else (deep, wide)
        x = d.tensor("x", shapes[0])
        return _made(name, [x], [d.tensor("y", shapes[1], x.quant)], options, BlockSize=size)

    return make


def _split_v(d: Drawer) -> EncodedOperator:
    shape, quant = d.shape(), d.quantization()
    axis, sizes = d.integer(0, len(shape) - 1), [d.integer(1, 4) for _ in range(d.integer(1, 4))]
    x = d.tensor("x", (*shape[:axis], sum(sizes), *shape[axis + 1 :]), quant)
    ys = [d.tensor(f"y{i}", (*shape[:axis], n, *shape[axis + 1 :]), quant) for i, n in enumerate(sizes)]
    xs = [x, _numbers("sizes", sizes), _numbers("axis", axis)]
    return _made("SPLIT_V", xs, ys, "SplitVOptions", NumSplits=len(ys))


def _batch_matmul(d: Drawer) -> EncodedOperator:
    rows, depth, columns = d.size(6), d.size(9), d.size(6)
    batches = d.shape(1, 2, 3) if d.flag() else ()
    turned_a, turned_b = d.flag(), d.flag()
    left = tuple(d.pick(s, s, 1) for s in batches)
    right = batches if left != batches else tuple(d.pick(s, s, 1) for s in batches)
    a = d.tensor("a", (*left, *((depth, rows) if turned_a else (rows, depth))))
    b = d.tensor("b", (*right, *((columns, depth) if turned_b else (depth, columns))))
    shape = (*np.broadcast_shapes(left, right), rows, columns)
    scale = a.scale * b.scale * 64 * d.log_uniform(0.5, 8)
    y = d.tensor("y", tuple(int(s) for s in shape), Quantization.per_tensor(scale, d.zero_point()))
    return _made("BATCH_MATMUL", [a, b], [y], "BatchMatMulOptions", AdjX=turned_a, AdjY=turned_b)


def _transpose_conv(d: Drawer) -> EncodedOperator:
    batch, height, width, depth, channels = d.integer(1, 2), d.size(5), d.size(5), d.size(5), d.size(5)
    kernel, stride = (d.integer(1, 5), d.integer(1, 5)), (d.integer(1, 3), d.integer(1, 3))
    same = d.flag()
    plane = tuple(n * s if same else (n - 1) * s + k for n, k, s in zip((height, width), kernel, stride, strict=True))
    x, y = d.tensor("x", (batch, height, width, depth)), (batch, *plane, channels)
    scales = tuple(d.log_uniform(2**-9, 2**-5) for _ in range(channels))
    several = channels > 1 and d.flag()
    quant = (
        Quantization(scale=scales, zero_point=(0,) * channels, axis=0)
        if several
        else Quantization.per_tensor(scales[0])
    )
    data = d.int8((channels, *kernel, depth), low=-127)
    w = Tensor(name="w", shape=data.shape, dtype=DType.INT8, quant=quant, data=data)
    bias = Tensor(
        name="bias", shape=(channels,), dtype=DType.INT32, data=d.rng.integers(-2000, 2000, channels).astype(np.int32)
    )
    result = d.tensor("y", y, Quantization.per_tensor(x.scale * scales[0] * 256, d.zero_point()))
    xs = [_numbers("shape", y), w, x, *([bias] if d.flag() else [])]
    padding = tflite.Padding.SAME if same else tflite.Padding.VALID
    fields = {"Padding": padding, "StrideH": stride[0], "StrideW": stride[1]}
    return _made("TRANSPOSE_CONV", xs, [result], "TransposeConvOptions", version=3, **fields)


def _l2_normalization(d: Drawer) -> EncodedOperator:
    x = d.tensor("x", d.shape())
    y = d.tensor("y", x.shape, Quantization.per_tensor(1 / 128, 0))
    return _made("L2_NORMALIZATION", [x], [y], "L2NormOptions")


def _dynamic_update_slice(d: Drawer) -> EncodedOperator:
    x = d.tensor("x", d.shape())
    part = d.tensor("part", tuple(d.integer(1, size) for size in x.shape), x.quant)
    data = d.rng.integers(-3, 9, len(x.shape)).astype(np.int32)
    start = _numbers("start", data) if d.flag() else _plain("start", data.shape, DType.INT32)
    y = d.tensor("y", x.shape, x.quant)
    return _made("DYNAMIC_UPDATE_SLICE", [x, part, start], [y], "DynamicUpdateSliceOptions", version=1)


def _fill(d: Drawer) -> EncodedOperator:
    value = d.tensor("value", (), None)
    y = d.tensor("y", d.shape(), value.quant)
    return _made("FILL", [_numbers("dims", y.shape), value], [y], "FillOptions", version=1)


MAKERS: dict[str, Callable[[Drawer], EncodedOperator]] = {
    "ABS": _unary("ABS", "AbsOptions"),
    "RSQRT": _unary("RSQRT"),
    "ELU": _unary("ELU"),
    "HARD_SWISH": _hard_swish,
    "PRELU": _binary("PRELU"),
    "MAXIMUM": _extreme("MAXIMUM"),
    "MINIMUM": _extreme("MINIMUM"),
    "SQUARED_DIFFERENCE": _binary("SQUARED_DIFFERENCE", "SquaredDifferenceOptions"),
    "DIV": _binary("DIV", "DivOptions"),
    "EQUAL": _comparison("EQUAL", "EqualOptions"),
    "NOT_EQUAL": _comparison("NOT_EQUAL", "NotEqualOptions"),
    "LESS": _comparison("LESS", "LessOptions"),
    "LESS_EQUAL": _comparison("LESS_EQUAL", "LessEqualOptions"),
    "GREATER": _comparison("GREATER", "GreaterOptions"),
    "GREATER_EQUAL": _comparison("GREATER_EQUAL", "GreaterEqualOptions"),
    "LOGICAL_AND": _logical("LOGICAL_AND", "LogicalAndOptions"),
    "LOGICAL_OR": _logical("LOGICAL_OR", "LogicalOrOptions"),
    "LOGICAL_NOT": _logical("LOGICAL_NOT", "LogicalNotOptions"),
    "SELECT_V2": _select,
    "ADD_N": _add_n,
    "CAST": _cast,
    "BROADCAST_TO": _broadcast_to,
    "SUM": _reduction("SUM"),
    "REDUCE_MAX": _reduction("REDUCE_MAX", same=True),
    "REDUCE_MIN": _reduction("REDUCE_MIN", same=True),
    "REDUCE_ALL": _reduction("REDUCE_ALL"),
    "ARG_MAX": _arg("ARG_MAX", "ArgMaxOptions"),
    "ARG_MIN": _arg("ARG_MIN", "ArgMinOptions"),
    "CUMSUM": _cumsum,
    "GATHER": _gather,
    "GATHER_ND": _gather_nd,
    "EMBEDDING_LOOKUP": _embedding_lookup,
    "MIRROR_PAD": _mirror_pad,
    "REVERSE_V2": _reverse,
    "SPACE_TO_DEPTH": _depth("SPACE_TO_DEPTH", "SpaceToDepthOptions"),
    "DEPTH_TO_SPACE": _depth("DEPTH_TO_SPACE", "DepthToSpaceOptions"),
    "SPLIT_V": _split_v,
    "BATCH_MATMUL": _batch_matmul,
    "TRANSPOSE_CONV": _transpose_conv,
    "L2_NORMALIZATION": _l2_normalization,
    "LOG_SOFTMAX": _log_softmax,
    "DYNAMIC_UPDATE_SLICE": _dynamic_update_slice,
    "FILL": _fill,
}
BEYOND: dict[str, Callable[[Drawer], EncodedOperator]] = {
    "GELU": _gelu,
    "EXP": _unary("EXP"),
    "LOG": _unary("LOG"),
    "SQRT": _unary("SQRT"),
    "RELU_N1_TO_1": _unary("RELU_N1_TO_1"),
    "RELU_0_TO_1": _unary("RELU_0_TO_1"),
    "ADD": _integers("ADD", "AddOptions"),
    "SUB": _integers("SUB", "SubOptions"),
    "MUL": _integers("MUL", "MulOptions"),
    "SELECT": _select_alike,
    "TILE": _tile,
    "REDUCE_ANY": _reduction("REDUCE_ANY"),
}
"""What TFLite has and tflite-micro lacks; and arithmetic on int32, which both have."""
