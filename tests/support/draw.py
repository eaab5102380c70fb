"""Random graphs of one operator, for property-based tests: every operator, its corners included.

`graph_with(kind)` is a strategy of graphs, `case_with(kind)` one of graphs with inputs; `draw_graph(draw, kind)` serves
composite strategies. With `tflite=True` only what a .tflite file can say is drawn: SAME and VALID padding, fused
activations instead of any clamp, equal splits, TFLite's rounding.

Hypothesis draws a seed and how large dimensions may be; numpy draws the rest evenly, so that most examples are neither
trivial nor saturated. A failing example shrinks by its size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.support.draw_weighted import conv2d, depthwise, fully_connected
from tests.support.drawer import Array, Draw, Drawer, new_drawer
from utvm.graph import (
    Add,
    AveragePool2D,
    AverageRounding,
    BatchToSpace,
    Concatenation,
    Dequantize,
    DType,
    Graph,
    LeakyRelu,
    Logistic,
    MaxPool2D,
    Mean,
    Mul,
    Operator,
    Pad,
    Padding,
    Quantization,
    Quantize,
    Relu,
    Relu6,
    Reshape,
    ResizeBilinear,
    ResizeNearestNeighbor,
    Softmax,
    SpaceToBatch,
    Split,
    StridedSlice,
    Sub,
    Tanh,
    Tensor,
    Transpose,
)

PROBABILITY = Quantization.per_tensor(1 / 256, -128)


def draw_graph(draw: Draw, kind: str, *, tflite: bool = False) -> Graph:
    """Return a graph of one operator of `kind`, the name of its class."""
    d = new_drawer(draw, tflite)
    op = _MAKERS[kind](d)
    return Graph(name="drawn", operators=(op,), inputs=tuple(dict.fromkeys(op.activations)), outputs=op.outputs)


def draw_inputs(draw: Draw, graph: Graph) -> list[Array]:
    """Return one array for each input of the graph; int8 ones cover the whole range or its ends."""
    d = new_drawer(draw, tflite=False)
    return [d.float32(graph, t.shape) if t.dtype is DType.FLOAT32 else d.bytes(t) for t in graph.inputs]


@st.composite
def graph_with(draw: Draw, kind: str, *, tflite: bool = False) -> Graph:
    """Strategy of graphs of one operator."""
    return draw_graph(draw, kind, tflite=tflite)


@st.composite
def case_with(draw: Draw, kind: str, *, tflite: bool = False) -> tuple[Graph, list[Array]]:
    """Strategy of graphs of one operator with inputs."""
    graph = draw_graph(draw, kind, tflite=tflite)
    return graph, draw_inputs(draw, graph)


@st.composite
def operators(draw: Draw, *, tflite: bool = False) -> Operator:
    """Strategy of operators of any kind."""
    return draw_graph(draw, draw(st.sampled_from(KINDS)), tflite=tflite).operators[0]


# Two operands


def _binary(make: type[Add] | type[Sub] | type[Mul]) -> Callable[[Drawer], Operator]:
    def drawn(d: Drawer) -> Operator:
        shape = d.shape(largest=d.pick(6, 6, 10))
        other = d.pick(shape, (1,), shape[-1:], tuple(d.pick(1, size) for size in shape))
        mine = tuple(d.pick(size, size, 1) for size in shape)
        result = tuple(int(size) for size in np.broadcast_shapes(mine, other))
        a = d.tensor("a", mine)
        ratio = d.pick(1.0, 2.0, 0.5, d.log_uniform(2**-6, 2**6))
        b = d.tensor("b", other, Quantization.per_tensor(a.scale * ratio, d.zero_point()))
        match d.pick("both", "both", "constant a", "constant b", "same"):
            case "constant a":
                a = _constant(d, a)
            case "constant b":
                b = _constant(d, b)
            case "same":
                b, result = a, mine
        widest = a.scale * b.scale * 64 if make is Mul else max(a.scale, b.scale)
        far = 1.0 if d.tflite else d.log_uniform(2**-8, 2**8)
        scale = widest * d.pick(1.0, 2.0, d.log_uniform(0.25, 4.0), far)
        y = Quantization.per_tensor(scale, d.zero_point())
        if d.flag():
            a, b = b, a
        return make(name="op", a=a, b=b, y=d.tensor("y", result, y), clamp=d.clamp(y))

    return drawn


def _constant(d: Drawer, tensor: Tensor) -> Tensor:
    return Tensor(
        name=tensor.name, shape=tensor.shape, dtype=tensor.dtype, quant=tensor.quant, data=d.int8(tensor.shape)
    )


# Pooling


def _pool(d: Drawer) -> dict[str, Any]:
    shape = d.integer(1, 2), d.size(12), d.size(12), d.size(9)
    return _pool_fields(d, shape, (d.integer(1, 4), d.integer(1, 4)))


def pool_of(d: Drawer, kind: str, shape: tuple[int, int, int, int], window: tuple[int, int]) -> Operator:
    """Return a pooling of `kind` of an input of `shape`."""
    fields = _pool_fields(d, shape, window)
    if kind == "MaxPool2D":
        return MaxPool2D(**fields)
    return AveragePool2D(**fields, rounding=_average_rounding(d))


def _pool_fields(d: Drawer, shape: tuple[int, int, int, int], window: tuple[int, int]) -> dict[str, Any]:
    stride = (d.integer(1, 3), d.integer(1, 3))
    batch, height, width, channels = shape
    padding, output = _pool_padding(d, (height, width), window, stride)
    x = d.tensor("x", shape)
    assert x.quant is not None
    y = d.tensor("y", (batch, *output, channels), x.quant)
    clamp = d.clamp(x.quant)
    return {"name": "op", "x": x, "y": y, "filter": window, "stride": stride, "padding": padding, "clamp": clamp}


def _pool_padding(
    d: Drawer, size: tuple[int, int], window: tuple[int, int], stride: tuple[int, int]
) -> tuple[Padding, tuple[int, int]]:
    """As `_spatial`, but each window has a pixel inside the input; also sizes rounded up."""
    if d.tflite or d.flag():
        if any(k > extent for k, extent in zip(window, size, strict=True)):
            return _same(size, window, stride)
        return _same(size, window, stride) if d.flag() else _valid(size, window, stride)
    amounts, output = [], []
    for extent, k, step in zip(size, window, stride, strict=True):
        before = d.integer(0, k - 1)
        out = d.integer(1, (extent - 1 + before) // step + 1)
        amounts += [before, max(0, (out - 1) * step + k - before - extent)]
        output.append(out)
    return Padding(top=amounts[0], bottom=amounts[1], left=amounts[2], right=amounts[3]), (output[0], output[1])


def _same(size: tuple[int, int], window: tuple[int, int], stride: tuple[int, int]) -> tuple[Padding, tuple[int, int]]:
    height, width = -(-size[0] // stride[0]), -(-size[1] // stride[1])
    rows = max((height - 1) * stride[0] + window[0] - size[0], 0)
    columns = max((width - 1) * stride[1] + window[1] - size[1], 0)
    padding = Padding(top=rows // 2, bottom=rows - rows // 2, left=columns // 2, right=columns - columns // 2)
    return padding, (height, width)


def _valid(size: tuple[int, int], window: tuple[int, int], stride: tuple[int, int]) -> tuple[Padding, tuple[int, int]]:
    return Padding(), ((size[0] - window[0]) // stride[0] + 1, (size[1] - window[1]) // stride[1] + 1)


def _average_pool(d: Drawer) -> Operator:
    return AveragePool2D(rounding=_average_rounding(d), **_pool(d))


def _average_rounding(d: Drawer) -> AverageRounding:
    return AverageRounding.HALF_AWAY if d.tflite else d.pick(*AverageRounding)


def _mean(d: Drawer) -> Operator:
    shape = d.shape(largest=9)
    axes = tuple(axis for axis in range(len(shape)) if d.flag()) or (d.integer(0, len(shape) - 1),)
    kept = d.flag()
    result = tuple(1 if axis in axes else size for axis, size in enumerate(shape) if kept or axis not in axes)
    return Mean(name="op", x=d.tensor("x", shape), y=d.tensor("y", result), axes=axes)


# One operand


def _softmax(d: Drawer) -> Operator:
    shape = (*d.shape(0, 3, 4), d.pick(1, 2, d.integer(1, 12), d.integer(1, 200)))
    x = d.tensor("x", shape, Quantization.per_tensor(d.log_uniform(2**-14, 2.0), d.zero_point()))
    beta = d.pick(1.0, 1.0, 0.5, 3.0, 0.1)
    return Softmax(name="op", x=x, y=d.tensor("y", shape, PROBABILITY), beta=float(np.float32(beta)))


def _logistic(d: Drawer) -> Operator:
    shape = d.shape()
    x = d.tensor("x", shape, Quantization.per_tensor(d.log_uniform(2**-12, 4.0), d.zero_point()))
    return Logistic(name="op", x=x, y=d.tensor("y", shape, PROBABILITY))


def _tanh(d: Drawer) -> Operator:
    shape = d.shape()
    x = d.tensor("x", shape, Quantization.per_tensor(d.log_uniform(2**-12, 4.0), d.zero_point()))
    return Tanh(name="op", x=x, y=d.tensor("y", shape, Quantization.per_tensor(1 / 128, 0)))


def _relu(d: Drawer) -> Operator:
    shape = d.shape()
    return Relu(name="op", x=d.tensor("x", shape), y=d.tensor("y", shape))


def _relu6(d: Drawer) -> Operator:
    x = d.tensor("x", d.shape())
    return Relu6(name="op", x=x, y=d.tensor("y", x.shape, x.quant))


def _leaky_relu(d: Drawer) -> Operator:
    shape = d.shape()
    alpha = float(np.float32(d.pick(0.1, 0.01, 0.25, 0.0, 1.0, 1.5, -0.5)))
    return LeakyRelu(name="op", x=d.tensor("x", shape), y=d.tensor("y", shape), alpha=alpha)


def _quantize(d: Drawer) -> Operator:
    shape = d.shape()
    source, target = d.pick(("float32", "int8"), ("int8", "int8"), ("uint8", "int8"), ("int8", "uint8"))
    x = Tensor(name="x", shape=shape, dtype=DType.FLOAT32) if source == "float32" else _bytes(d, "x", shape, source)
    return Quantize(name="op", x=x, y=_bytes(d, "y", shape, target))


def _bytes(d: Drawer, name: str, shape: tuple[int, ...], dtype: str) -> Tensor:
    """A tensor of int8 or uint8; half of the time at int8's scale shifted by 128, as converters write the ends."""
    quant = d.quantization()
    if dtype == "uint8":
        quant = Quantization.per_tensor(quant.scale[0], quant.zero_point[0] + 128)
    return Tensor(name=name, shape=shape, dtype=DType(dtype), quant=quant)


def _dequantize(d: Drawer) -> Operator:
    x = _bytes(d, "x", d.shape(), d.pick("int8", "uint8"))
    return Dequantize(name="op", x=x, y=Tensor(name="y", shape=x.shape, dtype=DType.FLOAT32))


# Movement


def _reshape(d: Drawer) -> Operator:
    x = d.tensor("x", d.shape())
    sizes = list(x.shape)
    while len(sizes) > 1 and d.flag():
        sizes[-2:] = [sizes[-2] * sizes[-1]]
    shape = (1, *sizes) if d.flag() and len(sizes) < 4 else tuple(sizes)
    return Reshape(name="op", x=x, y=d.tensor("y", shape, x.quant))


def _pad(d: Drawer) -> Operator:
    x = d.tensor("x", d.shape())
    paddings = tuple((d.integer(0, 3), d.integer(0, 3)) if d.flag() else (0, 0) for _ in x.shape)
    shape = tuple(size + before + after for size, (before, after) in zip(x.shape, paddings, strict=True))
    value = d.pick(x.zero_point, d.integer(-128, 127))
    return Pad(name="op", x=x, y=d.tensor("y", shape, x.quant), paddings=paddings, value=value)


def _concatenation(d: Drawer) -> Operator:
    shape, quant = d.shape(), d.quantization()
    axis = d.integer(0, len(shape) - 1)
    sizes = [d.integer(1, 5) for _ in range(d.integer(1, 4))]
    xs = [d.tensor(f"x{i}", (*shape[:axis], n, *shape[axis + 1 :]), quant) for i, n in enumerate(sizes)]
    if len(xs) > 1 and d.integer(0, 3) == 0:
        xs[-1] = _constant(d, xs[-1])
    y = d.tensor("y", (*shape[:axis], sum(sizes), *shape[axis + 1 :]), quant)
    return Concatenation(name="op", xs=tuple(xs), y=y, axis=axis)


def _split(d: Drawer) -> Operator:
    shape, quant = d.shape(), d.quantization()
    axis, parts = d.integer(0, len(shape) - 1), d.integer(1, 4)
    sizes = [d.integer(1, 4)] * parts if d.tflite else [d.integer(1, 4) for _ in range(parts)]
    x = d.tensor("x", (*shape[:axis], sum(sizes), *shape[axis + 1 :]), quant)
    ys = tuple(d.tensor(f"y{i}", (*shape[:axis], n, *shape[axis + 1 :]), quant) for i, n in enumerate(sizes))
    return Split(name="op", x=x, ys=ys, axis=axis)


def _strided_slice(d: Drawer) -> Operator:
    x = d.tensor("x", d.shape(largest=9))
    begin, strides, shrink, kept = [], [], [], []
    for axis, size in enumerate(x.shape):
        first = d.integer(0, size - 1)
        if d.integer(0, 4) == 0:
            begin.append(first)
            strides.append(1)
            shrink.append(axis)
            continue
        stride = d.pick(1, 1, 2, 3, -1, -2)
        room = (size - 1 - first) // stride if stride > 0 else first // -stride
        begin.append(first)
        strides.append(stride)
        kept.append(d.integer(1, room + 1))
    y = d.tensor("y", tuple(kept), x.quant)
    return StridedSlice(name="op", x=x, y=y, begin=tuple(begin), strides=tuple(strides), shrink=tuple(shrink))


def _transpose(d: Drawer) -> Operator:
    x = d.tensor("x", d.shape())
    perm = tuple(int(axis) for axis in d.rng.permutation(len(x.shape)))
    return Transpose(name="op", x=x, y=d.tensor("y", tuple(x.shape[p] for p in perm), x.quant), perm=perm)


def _space_to_batch(d: Drawer) -> Operator:
    images, channels, block, batch, margin = _blocks(d, padded=not d.tflite)
    plane = [size * b - m for size, b, m in zip(batch, block, _both(margin), strict=True)]
    x = d.tensor("x", (images, *plane, channels))
    y = d.tensor("y", (images * block[0] * block[1], *batch, channels), x.quant)
    return SpaceToBatch(name="op", x=x, y=y, block=block, padding=margin)


def _batch_to_space(d: Drawer) -> Operator:
    images, channels, block, batch, margin = _blocks(d)
    plane = [size * b - m for size, b, m in zip(batch, block, _both(margin), strict=True)]
    x = d.tensor("x", (images * block[0] * block[1], *batch, channels))
    return BatchToSpace(name="op", x=x, y=d.tensor("y", (images, *plane, channels), x.quant), block=block, crop=margin)


def _blocks(d: Drawer, *, padded: bool = True) -> tuple[int, int, tuple[int, int], tuple[int, int], Padding]:
    """Images, channels, a block, how many blocks, and a margin that leaves at least one pixel.

    tflite-micro never sets what it pads with, so files for it have no margin.
    """
    block, batch = (d.integer(1, 3), d.integer(1, 3)), (d.size(5), d.size(5))
    margins: list[int] = []
    for size, step in zip(batch, block, strict=True):
        before = d.integer(0, min(4, size * step - 1)) if padded else 0
        margins += [before, d.integer(0, min(4, size * step - 1 - before)) if padded else 0]
    padding = Padding(top=margins[0], bottom=margins[1], left=margins[2], right=margins[3])
    return d.integer(1, 2), d.size(9), block, batch, padding


def _both(margin: Padding) -> tuple[int, int]:
    return margin.top + margin.bottom, margin.left + margin.right


def _resize(make: type[ResizeNearestNeighbor] | type[ResizeBilinear], d: Drawer) -> Operator:
    batch, height, width, channels = d.integer(1, 2), d.size(9), d.size(9), d.size(9)
    x = d.tensor("x", (batch, height, width, channels))
    y = d.tensor("y", (batch, d.integer(1, 12), d.integer(1, 12), channels), x.quant)
    align, half = d.pick((False, False), (True, False), (False, True))
    return make(name="op", x=x, y=y, align_corners=align, half_pixel_centers=half)


_MAKERS: dict[str, Callable[[Drawer], Operator]] = {
    "Conv2D": conv2d,
    "DepthwiseConv2D": depthwise,
    "FullyConnected": fully_connected,
    "Add": _binary(Add),
    "Sub": _binary(Sub),
    "Mul": _binary(Mul),
    "MaxPool2D": lambda d: MaxPool2D(**_pool(d)),
    "AveragePool2D": _average_pool,
    "Mean": _mean,
    "Softmax": _softmax,
    "Logistic": _logistic,
    "Tanh": _tanh,
    "Relu": _relu,
    "Relu6": _relu6,
    "LeakyRelu": _leaky_relu,
    "Reshape": _reshape,
    "Pad": _pad,
    "Concatenation": _concatenation,
    "Split": _split,
    "StridedSlice": _strided_slice,
    "Transpose": _transpose,
    "ResizeNearestNeighbor": lambda d: _resize(ResizeNearestNeighbor, d),
    "ResizeBilinear": lambda d: _resize(ResizeBilinear, d),
    "SpaceToBatch": _space_to_batch,
    "BatchToSpace": _batch_to_space,
    "Quantize": _quantize,
    "Dequantize": _dequantize,
}

KINDS: tuple[str, ...] = tuple(_MAKERS)
"""The names of all operators."""
