"""Cases of families whose vectors have many lanes: drawn layers, and layers wide enough for loops of blocks."""

import math
from dataclasses import replace

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from tests.kernels.support import Case
from tests.support.draw import case_with, pool_of
from tests.support.draw_weighted import conv2d_of, depthwise_of, fully_connected_of
from tests.support.drawer import Drawer
from utvm.cores import Core
from utvm.graph import (
    Add,
    BatchMatMul,
    Concatenation,
    Conv2D,
    DType,
    FullyConnected,
    Graph,
    Mean,
    Mul,
    Operator,
    Pad,
    Padding,
    Quantization,
    Reduction,
    ResizeBilinear,
    ResizeNearestNeighbor,
    Rounding,
    SpaceToBatch,
    StridedSlice,
    Sub,
    Tensor,
    Transpose,
)
from utvm.graph.functions import reducer
from utvm.kernels import KernelFamily


@st.composite
def cases(
    draw: st.DrawFn, kind: str, family: KernelFamily, core: Core, *, wide: bool = False, int16: bool = False
) -> Case:
    """One operator that the family takes, in any legal config.

    Args:
        draw, kind, family, core: of which.
        wide: whether it has many channels and taps.
        int16: whether its activations are int16.
    """
    if wide or int16:
        d = Drawer(np.random.default_rng(draw(st.integers(0, 2**32 - 1))), tflite=False, largest=12)
    if wide:
        op = wide_operator(d, kind)
        graph = Graph(name="wide", operators=(op,), inputs=op.activations, outputs=op.outputs)
        inputs = [d.bytes(x) for x in op.activations]
    else:
        graph, inputs = draw(case_with(kind))
    if int16:
        graph, inputs = with_int16(d, graph)
    (op,) = graph.operators
    assume(family.applies(op, core))
    config = {knob: draw(st.sampled_from(choices)) for knob, choices in family.space(op, core).items()}
    assume(family.legal(op, core, config))
    return Case(graph, family, config, inputs)


def with_int16(d: Drawer, graph: Graph) -> tuple[Graph, list[np.ndarray]]:
    """Return a graph of one operator with activations of int16, values 256 times as fine, and inputs for it."""
    (op,) = graph.operators
    bias = getattr(op, "bias", None)

    def finer(tensor: Tensor) -> Tensor:
        if tensor is bias:
            if isinstance(op, Conv2D | FullyConnected) and d.integer(0, 3) == 0:
                return replace(tensor, quant=None, data=d.rng.integers(-(2**31), 2**31, tensor.shape).astype(np.int32))
            # Some leave 32 bits.
            data = tensor.values.astype(np.int64) * d.pick(256, 256, 1 << 14) + d.rng.integers(0, 256, tensor.shape)
            return replace(tensor, quant=None, dtype=DType.INT64, data=data)
        if tensor is getattr(op, "weights", None) or tensor.quant is None:
            return tensor
        data = d.int16(tensor.shape) if tensor.is_constant else None
        return replace(tensor, dtype=DType.INT16, quant=Quantization.per_tensor(tensor.scale / 256), data=data)

    changed = {tensor: finer(tensor) for tensor in dict.fromkeys((*op.inputs, *op.outputs))}
    clamps = (-32768, 32767), (-128, 127), (0, 32767), (0, d.integer(0, 32767)), (-d.integer(0, 32768), 21000)
    others: dict[str, object] = {"clamp": d.pick(*clamps)} if hasattr(op, "clamp") else {}
    if isinstance(getattr(op, "rounding", None), Rounding):
        others["rounding"] = Rounding.DOUBLE
    wider = replace(op.with_tensors(changed), **others)
    inputs = tuple(dict.fromkeys(wider.activations))
    made = Graph(name="int16", operators=(wider,), inputs=inputs, outputs=wider.outputs)
    return made, [d.int16(x.shape) if x.dtype is DType.INT16 else np.zeros(x.shape, x.dtype.value) for x in inputs]


def wide_operator(d: Drawer, kind: str) -> Operator:
    def many(most: int) -> int:
        return min(most, d.pick(d.integer(1, most), 16 * d.integer(1, 6), 16 * d.integer(1, 6) + 1))

    batch, height, width = d.integer(1, 2), d.size(12), d.size(12)
    match kind:
        case "Conv2D":
            groups = d.pick(1, 1, 1, 2, 3)
            depth, channels = many(100 // groups), groups * many(40)
            window = (d.integer(1, 5), d.integer(1, 5)) if d.integer(0, 3) else (1, 1)
            return conv2d_of(d, (batch, height, width, groups * depth), (channels, *window, depth))
        case "DepthwiseConv2D":
            channels, window = many(40), (d.integer(1, 16), d.integer(1, 16))
            return depthwise_of(d, (batch, height, width, channels), (1, *window, channels * d.pick(1, 1, 2)))
        case "Add" | "Sub" | "Mul":
            return wide_binary(d, kind, (batch, height, width, many(40)))
        case "MaxPool2D" | "AveragePool2D":
            size = d.integer(1, 20), d.integer(1, 20)
            return pool_of(
                d, kind, (batch, *size, many(40)), d.pick(size, (d.integer(1, size[0]), d.integer(1, size[1])))
            )
        case "Mean" | "Sum" | "ReduceMax" | "ReduceMin":
            return wide_reduction(d, kind)
        case "BatchMatMul":
            return wide_product(d)
        case "ResizeBilinear":
            return wide_resize(d, ResizeBilinear, (batch, d.integer(1, 6), d.integer(1, 6), many(80)))
        case "ResizeNearestNeighbor":
            return wide_resize(d, ResizeNearestNeighbor, (batch, d.integer(1, 6), d.integer(1, 6), many(80)))
        case "Transpose" | "StridedSlice" | "Pad" | "Concatenation" | "SpaceToBatch":
            return wide_move(d, kind)
        case _:
            return fully_connected_of(d, (batch, d.pick(many(100), d.integer(1, 700))), many(70))


def wide_reduction(d: Drawer, kind: str) -> Operator:
    """Return a reduction over any axes, of which sides are few or many."""
    shape = tuple(d.pick(d.integer(1, 5), d.integer(1, 40)) for _ in range(d.integer(2, 4)))
    while math.prod(shape) > 1 << 13:
        shape = tuple(-(-size // 2) for size in shape)
    axes = tuple(axis for axis in range(len(shape)) if d.flag()) or (d.integer(0, len(shape) - 1),)
    left = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    x = d.tensor("x", shape)
    count = math.prod(shape) // math.prod(left)
    scale = x.scale * (d.log_uniform(0.5, 4.0) if kind == "Mean" else count * d.log_uniform(0.1, 2.0))
    quant = Quantization.per_tensor(scale, d.zero_point()) if kind in ("Mean", "Sum") else x.quant
    y = d.tensor("y", left, quant)
    if kind == "Mean":
        return Mean(name="op", x=x, y=y, axes=axes)
    return Reduction(name="op", x=x, y=y, axes=axes, reducer=reducer(kind))


def wide_product(d: Drawer) -> Operator:
    """Return a product of matrices, either of them turned, in batches of which either may repeat."""
    rows, depth, columns = d.integer(1, 9), d.pick(d.integer(1, 70), 16 * d.integer(1, 4)), d.integer(4, 24)
    batches = tuple(d.integer(1, 3) for _ in range(d.integer(0, 2)))
    turned_a, turned_b = d.flag(), d.flag()
    left = tuple(d.pick(size, 1) for size in batches)
    right = batches if left != batches else tuple(d.pick(size, 1) for size in batches)
    a = d.tensor("a", (*left, *((depth, rows) if turned_a else (rows, depth))))
    b = d.tensor("b", (*right, *((columns, depth) if turned_b else (depth, columns))))
    quant = Quantization.per_tensor(a.scale * b.scale * d.log_uniform(0.4, 400), d.zero_point())
    y = d.tensor("y", (*batches, rows, columns), quant)
    biases = d.rng.integers(-(2**15), 2**15, columns).astype(np.int32)
    bias = Tensor(name="bias", shape=(columns,), dtype=DType.INT32, data=biases) if d.flag() else None
    return BatchMatMul(name="op", a=a, b=b, y=y, turned_a=turned_a, turned_b=turned_b, bias=bias, clamp=d.clamp(quant))


def wide_move(d: Drawer, kind: str) -> Operator:
    """Return a movement of some thousands of bytes at most: long sides, sides of few, sides of fours."""
    sizes = [d.pick(d.integer(1, 7), d.integer(14, 20), 4 * d.integer(1, 12), 2, 4) for _ in range(3)]
    while math.prod(sizes) > 1 << 14:
        sizes[sizes.index(max(sizes))] //= 2
    shape = tuple(sizes) if d.flag() else (d.integer(1, 3), *sizes)
    x = d.tensor("x", shape)
    last = len(shape) - 1
    match kind:
        case "Transpose":
            perm = tuple(int(axis) for axis in d.rng.permutation(len(shape)))
            y = d.tensor("y", tuple(shape[axis] for axis in perm), x.quant)
            return Transpose(name="op", x=x, y=y, perm=perm)
        case "StridedSlice":
            strides = tuple(d.pick(1, 1, 2, 3, -1, -2) for _ in shape)
            begin = tuple(
                d.integer(0, size // 2) if step > 0 else size - 1 - d.integer(0, size // 2)
                for size, step in zip(shape, strides, strict=True)
            )
            rooms = [
                size - first if step > 0 else first + 1 for size, first, step in zip(shape, begin, strides, strict=True)
            ]
            extents = tuple(-(-room // abs(step)) for room, step in zip(rooms, strides, strict=True))
            y = d.tensor("y", extents, x.quant)
            return StridedSlice(name="op", x=x, y=y, begin=begin, strides=strides, shrink=())
        case "Pad":
            paddings = tuple((d.integer(0, 3), d.integer(0, 3)) if d.flag() else (0, 0) for _ in shape)
            padded = tuple(size + sum(both) for size, both in zip(shape, paddings, strict=True))
            y = d.tensor("y", padded, x.quant)
            return Pad(name="op", x=x, y=y, paddings=paddings, value=x.zero_point)
        case "Concatenation":
            axis = d.integer(0, last)
            most = min(40, (1 << 14) * shape[axis] // math.prod(shape))
            parts = [d.integer(1, most) for _ in range(d.integer(1, 3))]
            xs = tuple(
                d.tensor(f"x{n}", (*shape[:axis], size, *shape[axis + 1 :]), x.quant) for n, size in enumerate(parts)
            )
            y = d.tensor("y", (*shape[:axis], sum(parts), *shape[axis + 1 :]), x.quant)
            return Concatenation(name="op", xs=xs, y=y, axis=axis)
        case _:
            block, images, channels = (d.integer(1, 3), d.integer(1, 3)), d.integer(1, 2), d.integer(1, 40)
            plane = d.integer(1, 6), d.integer(1, 6)
            x = d.tensor("x", (images, plane[0] * block[0], plane[1] * block[1], channels))
            y = d.tensor("y", (images * block[0] * block[1], *plane, channels), x.quant)
            return SpaceToBatch(name="op", x=x, y=y, block=block, padding=Padding())


def wide_resize(
    d: Drawer, make: type[ResizeBilinear | ResizeNearestNeighbor], shape: tuple[int, int, int, int]
) -> Operator:
    """Return a resizing, half of the time by whole numbers."""
    batch, height, width, channels = shape
    times = d.integer(1, 4), d.integer(1, 4)
    size = d.pick((height * times[0], width * times[1]), (d.integer(1, 20), d.integer(1, 20)))
    x = d.tensor("x", shape)
    y = d.tensor("y", (batch, *size, channels), x.quant)
    align, half = d.pick((False, False), (True, False), (False, True))
    return make(name="op", x=x, y=y, align_corners=align, half_pixel_centers=half)


def wide_binary(d: Drawer, kind: str, shape: tuple[int, int, int, int]) -> Operator:
    """Return an operator on two operands of which one may be a row, an image's rows or an image for all."""
    other = d.pick(shape, shape[-1:], (1, *shape[1:]), (shape[0], 1, 1, shape[3]), (1, shape[1], 1, shape[3]))
    a, b = d.tensor("a", shape), d.tensor("b", other)
    quant = Quantization.per_tensor(
        d.log_uniform(0.25, 4.0) * a.scale * (b.scale * 64 if kind == "Mul" else 1), d.zero_point()
    )
    if d.flag():
        a, b = b, a
    make: type[Add | Sub | Mul] = {"Add": Add, "Sub": Sub, "Mul": Mul}[kind]
    return make(name="op", a=a, b=b, y=d.tensor("y", shape, quant), clamp=d.clamp(quant))
