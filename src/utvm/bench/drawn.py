"""Layers that no table has: graphs of one operator, drawn by a seed over all that TFLite can express, and corners."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from utvm.graph import (
    FULL_INT8,
    Add,
    AveragePool2D,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    Dequantize,
    DType,
    FullyConnected,
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
    ResizeBilinear,
    ResizeNearestNeighbor,
    Rounding,
    Softmax,
    Split,
    StridedSlice,
    Sub,
    Tensor,
    Transpose,
    same_padding,
)

_Choice = TypeVar("_Choice")

_DEVIATION = 73.9
"""The standard deviation of uniform int8 values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnLayer:
    """A graph of one operator. `kind` groups layers in tables, `name` says shapes and what is unusual."""

    kind: str
    name: str
    graph: Graph


def drawn_layers(seed: int = 0) -> list[DrawnLayer]:
    """Return about 190 layers: each kind's hand-picked corners, then drawn ones. Names are unique."""
    found: list[DrawnLayer] = []
    for kind, makers in _plan().items():
        for index, maker in enumerate(makers):
            draw = _Draw(rng=np.random.default_rng([seed, *kind.encode(), index]))
            op = maker(draw)
            graph = Graph(name="layer", inputs=op.activations, outputs=op.outputs, operators=(op,))
            found.append(DrawnLayer(kind=kind, name=f"{kind}{index}_{_described(op, draw)}", graph=graph))
    return found


def _described(op: Operator, draw: _Draw) -> str:
    def dims(shape: tuple[int, ...]) -> str:
        return "x".join(map(str, shape)) or "scalar"

    parts = [dims(op.activations[0].shape), "to", dims(op.outputs[0].shape)]
    return "_".join([*parts, *draw.notes])


@dataclass(slots=True, kw_only=True)
class _Draw:
    """Everything random about one layer. `notes` collects what its name should say."""

    rng: np.random.Generator
    notes: list[str] = field(default_factory=list)

    def pick(self, *choices: _Choice) -> _Choice:
        return choices[int(self.rng.integers(len(choices)))]

    def zero(self) -> int:
        return self.pick(-128, -128, 0, 127, int(self.rng.integers(-128, 128)))

    def activation(self, name: str, shape: tuple[int, ...], zero: int | None = None, scale: float = 0.05) -> Tensor:
        quant = Quantization.per_tensor(scale, self.zero() if zero is None else zero)
        return Tensor(name=name, shape=shape, dtype=DType.INT8, quant=quant)

    def clamp(self, zero: int) -> tuple[int, int]:
        """None, ReLU, ReLU6 that ends anywhere, or ReLU_N1_TO_1."""
        kind = self.pick("none", "relu", "relu6", "relu6", "n1to1")
        wide = int(self.rng.integers(90, 250))
        limits = {
            "none": FULL_INT8,
            "relu": (zero, 127),
            "relu6": (zero, min(zero + wide, 127)),
            "n1to1": (max(zero - wide // 2, -128), min(zero + wide // 2, 127)),
        }[kind]
        low, high = limits
        if low >= high:
            return FULL_INT8
        if limits != FULL_INT8:
            self.notes.append(f"clamp{low}..{high}")
        return limits


_Maker = Callable[[_Draw], Operator]


def _weighted(
    draw: _Draw, kind: type[Conv2D | DepthwiseConv2D | FullyConnected], x: Tensor, shape: tuple[int, ...], axis: int
) -> dict[str, object]:
    """Return weights, bias, output quantisation, clamp and rounding by which outputs are neither flat nor clipped."""
    channels = shape[axis]
    taps = math.prod(shape) // channels
    typical = 1 / (_DEVIATION * math.sqrt(taps) * 1.2)
    y_zero, y_scale = draw.zero(), 0.05
    factors = np.full(1, typical) if kind is FullyConnected else typical * draw.rng.uniform(0.5, 1.5, channels)
    values = draw.rng.integers(-127, 128, shape)
    if kind is not FullyConnected and channels > 1 and draw.pick(False, False, True):
        odd = int(draw.rng.integers(channels))
        large = float(draw.pick(0.26, 0.5, 0.9, 1.0, 1.7, 4.0))
        along = [slice(None)] * len(shape)
        along[axis] = slice(odd, odd + 1)
        values[tuple(along)] = np.round(values[tuple(along)] * min(factors[odd] / large, 1.0))
        factors[odd] = large
        draw.notes.append(f"scale{large}")
    rounding = draw.pick(Rounding.DOUBLE, Rounding.DOUBLE, Rounding.DOUBLE, Rounding.DOUBLE, Rounding.SINGLE)
    if rounding is Rounding.SINGLE:
        draw.notes.append("single")
    scales = tuple(float(np.float32(factor * y_scale / x.scale)) for factor in factors)
    weights = Tensor(
        name="weights",
        shape=shape,
        dtype=DType.INT8,
        quant=Quantization(scale=scales, zero_point=(0,) * len(scales), axis=axis if len(scales) > 1 else None),
        data=values.astype(np.int8),
    )
    middle = values.reshape(-1, channels).sum(axis=0) if axis else values.reshape(channels, -1).sum(axis=1)
    wanted = draw.rng.uniform(-60, 60, channels) - y_zero * 0.7
    bias = np.round(wanted / np.resize(factors, channels) + (x.zero_point + 0.5) * middle)
    clamp = draw.clamp(y_zero)
    return {
        "weights": weights,
        "bias": Tensor(name="bias", shape=(channels,), dtype=DType.INT32, data=bias.astype(np.int32)),
        "y_quant": Quantization.per_tensor(y_scale, y_zero),
        "clamp": clamp,
        "rounding": rounding,
    }


def _conv(
    size: tuple[int, int, int],
    out: int,
    window: tuple[int, int] = (1, 1),
    *,
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
    batch: int = 1,
    same: bool = True,
    depthwise: bool = False,
) -> _Maker:
    """Return the maker of a convolution over `size` (height, width, channels)."""

    def make(draw: _Draw) -> Operator:
        height, width, channels = size
        x = draw.activation("x", (batch, *size))
        shape = (1, *window, out) if depthwise else (out, *window, channels // groups)
        kind = DepthwiseConv2D if depthwise else Conv2D
        found = _weighted(draw, kind, x, shape, 3 if depthwise else 0)
        spans = [(taps - 1) * step + 1 for taps, step in zip(window, dilation, strict=True)]
        if same:
            top, bottom, down = same_padding(height, spans[0], stride[0])
            left, right, across = same_padding(width, spans[1], stride[1])
        else:
            top = bottom = left = right = 0
            down, across = (height - spans[0]) // stride[0] + 1, (width - spans[1]) // stride[1] + 1
        quant = found.pop("y_quant")
        if window != (1, 1):
            draw.notes.insert(0, f"k{window[0]}x{window[1]}")
        for mark, value in (("s", stride), ("d", dilation)):
            if value != (1, 1):
                draw.notes.insert(1, f"{mark}{value[0]}x{value[1]}")
        if groups > 1:
            draw.notes.insert(0, f"g{groups}")
        return kind(
            name="op",
            x=x,
            y=Tensor(name="y", shape=(batch, down, across, out), dtype=DType.INT8, quant=quant),  # type: ignore[arg-type]
            stride=stride,
            dilation=dilation,
            padding=Padding(top=top, bottom=bottom, left=left, right=right),
            **found,  # type: ignore[arg-type]
        )

    return make


def _depthwise(
    size: tuple[int, int, int],
    window: tuple[int, int] = (3, 3),
    *,
    multiplier: int = 1,
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
    batch: int = 1,
    same: bool = True,
) -> _Maker:
    return _conv(
        size,
        size[2] * multiplier,
        window,
        stride=stride,
        dilation=dilation,
        batch=batch,
        same=same,
        depthwise=True,
    )


def _connected(inputs: int, units: int, batch: int = 1) -> _Maker:
    def make(draw: _Draw) -> Operator:
        x = draw.activation("x", (batch, inputs))
        found = _weighted(draw, FullyConnected, x, (units, inputs), 0)
        y = Tensor(name="y", shape=(batch, units), dtype=DType.INT8, quant=found.pop("y_quant"))  # type: ignore[arg-type]
        return FullyConnected(name="op", x=x, y=y, **found)  # type: ignore[arg-type]

    return make


def _pool(
    kind: type[MaxPool2D | AveragePool2D],
    size: tuple[int, int, int],
    window: tuple[int, int],
    stride: tuple[int, int],
    same: bool,
) -> _Maker:
    def make(draw: _Draw) -> Operator:
        height, width, channels = size
        x = draw.activation("x", (1, *size), zero=int(draw.rng.integers(-100, 100)))
        top = bottom = left = right = 0
        down, across = (height - window[0]) // stride[0] + 1, (width - window[1]) // stride[1] + 1
        if same:
            top, bottom, down = same_padding(height, window[0], stride[0])
            left, right, across = same_padding(width, window[1], stride[1])
        draw.notes.append(f"k{window[0]}x{window[1]}_s{stride[0]}x{stride[1]}")
        return kind(
            name="op",
            x=x,
            y=Tensor(name="y", shape=(1, down, across, channels), dtype=DType.INT8, quant=x.quant),
            filter=window,
            stride=stride,
            padding=Padding(top=top, bottom=bottom, left=left, right=right),
            clamp=draw.clamp(x.zero_point),
        )

    return make


def _binary(kind: type[Add | Sub | Mul], a: tuple[int, ...], b: tuple[int, ...]) -> _Maker:
    def make(draw: _Draw) -> Operator:
        one = draw.activation("a", a, scale=float(draw.rng.uniform(0.02, 0.08)))
        two = draw.activation("b", b, scale=float(draw.rng.uniform(0.02, 0.08)))
        wide = one.scale * two.scale * 90 if kind is Mul else one.scale + two.scale
        y_zero = int(draw.rng.integers(-100, 100))
        y = draw.activation("y", np.broadcast_shapes(a, b), y_zero, wide)
        draw.notes.append(f"b{'x'.join(map(str, b))}")
        return kind(name="op", a=one, b=two, y=y, clamp=draw.clamp(y_zero))

    return make


def _map(kind: type[Operator], shape: tuple[int, ...], **options: object) -> _Maker:
    """Return the maker of an operator with one operand that keeps its shape."""

    def make(draw: _Draw) -> Operator:
        x, y = draw.activation("x", shape, -3), draw.activation("y", shape, 9, 0.07)
        probability = Tensor(name="y", shape=shape, dtype=DType.INT8, quant=Quantization.per_tensor(1 / 256, -128))
        real = {name: Tensor(name=name, shape=shape, dtype=DType.FLOAT32) for name in ("x", "y")}
        if kind in (Logistic, Softmax):
            y = probability
        if kind is Dequantize:
            y = real["y"]
        if options.get("source") == "float":
            x = real["x"]
            draw.notes.append("float")
        return kind(name="op", x=x, y=y, **{k: v for k, v in options.items() if k != "source"})  # type: ignore[call-arg]

    return make


def _mean(shape: tuple[int, ...], axes: tuple[int, ...]) -> _Maker:
    def make(draw: _Draw) -> Operator:
        result = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
        draw.notes.append(f"axes{''.join(map(str, axes))}")
        return Mean(name="op", x=draw.activation("x", shape, 0), y=draw.activation("y", result, 0, 0.01), axes=axes)

    return make


def _moved(draw: _Draw, x: Tensor, shape: tuple[int, ...], name: str = "y") -> Tensor:
    return Tensor(name=name, shape=shape, dtype=DType.INT8, quant=x.quant)


def _transpose(shape: tuple[int, ...], perm: tuple[int, ...]) -> _Maker:
    def make(draw: _Draw) -> Operator:
        x = draw.activation("x", shape)
        draw.notes.append(f"perm{''.join(map(str, perm))}")
        return Transpose(name="op", x=x, y=_moved(draw, x, tuple(shape[p] for p in perm)), perm=perm)

    return make


def _concatenation(shapes: tuple[tuple[int, ...], ...], axis: int) -> _Maker:
    def make(draw: _Draw) -> Operator:
        first = draw.activation("x0", shapes[0])
        xs = (first, *(_moved(draw, first, shape, f"x{i}") for i, shape in enumerate(shapes[1:], 1)))
        total = sum(shape[axis] for shape in shapes)
        y = _moved(draw, first, (*shapes[0][:axis], total, *shapes[0][axis + 1 :]))
        draw.notes.append(f"axis{axis}_of{len(shapes)}")
        return Concatenation(name="op", xs=xs, y=y, axis=axis)

    return make


def _split(shape: tuple[int, ...], axis: int, parts: int) -> _Maker:
    def make(draw: _Draw) -> Operator:
        x = draw.activation("x", shape)
        one = (*shape[:axis], shape[axis] // parts, *shape[axis + 1 :])
        ys = tuple(_moved(draw, x, one, f"y{index}") for index in range(parts))
        draw.notes.append(f"axis{axis}_of{parts}")
        return Split(name="op", x=x, ys=ys, axis=axis)

    return make


def _pad(shape: tuple[int, ...], paddings: tuple[tuple[int, int], ...]) -> _Maker:
    def make(draw: _Draw) -> Operator:
        x = draw.activation("x", shape)
        result = tuple(size + before + after for size, (before, after) in zip(shape, paddings, strict=True))
        return Pad(name="op", x=x, y=_moved(draw, x, result), paddings=paddings, value=x.zero_point)

    return make


def _slice(shape: tuple[int, ...], begin: tuple[int, ...], result: tuple[int, ...], strides: tuple[int, ...]) -> _Maker:
    def make(draw: _Draw) -> Operator:
        x = draw.activation("x", shape)
        draw.notes.append(f"by{'x'.join(map(str, strides))}")
        return StridedSlice(name="op", x=x, y=_moved(draw, x, result), begin=begin, strides=strides)

    return make


def _resize(
    kind: type[ResizeBilinear | ResizeNearestNeighbor], shape: tuple[int, ...], size: tuple[int, int]
) -> _Maker:
    def make(draw: _Draw) -> Operator:
        x = draw.activation("x", shape)
        return kind(name="op", x=x, y=_moved(draw, x, (shape[0], *size, shape[3])))

    return make


def _drawn(count: int, make: _Maker) -> Iterator[_Maker]:
    for _ in range(count):
        yield make


_CHANNELS = (3, 5, 8, 10, 12, 16, 20, 24, 27, 32, 40, 48, 64, 72, 96)
_WIDE = (64, 96, 120, 144, 192, 240, 320, 384)


def _any_pointwise(draw: _Draw) -> Operator:
    side = int(draw.pick(4, 7, 8, 10, 12, 14))
    return _conv((side, side + draw.pick(0, 0, 1, 3), draw.pick(*_CHANNELS)), draw.pick(*_CHANNELS))(draw)


def _wide_pointwise(draw: _Draw) -> Operator:
    return _conv((draw.pick(4, 6, 7), draw.pick(4, 7, 8), draw.pick(*_WIDE)), draw.pick(10, 16, 24, 32, 40, 56, 80))(
        draw
    )


def _any_conv(draw: _Draw) -> Operator:
    window = draw.pick((3, 3), (3, 3), (5, 5), (1, 3), (3, 1), (1, 5), (7, 1), (2, 2), (3, 5), (7, 7))
    stride = draw.pick((1, 1), (1, 1), (2, 2), (1, 2), (2, 1), (3, 3))
    dilation = draw.pick((1, 1), (1, 1), (1, 1), (2, 2), (1, 2)) if stride == (1, 1) else (1, 1)
    size = (draw.pick(8, 11, 14, 16), draw.pick(8, 9, 13, 16), draw.pick(1, 2, 3, 4, 5, 8, 12, 16, 24))
    out, same = draw.pick(4, 6, 7, 8, 12, 16, 24, 32), draw.pick(True, True, False)
    return _conv(size, out, window, stride=stride, dilation=dilation, same=same)(draw)


def _any_depthwise(draw: _Draw) -> Operator:
    window = draw.pick((3, 3), (3, 3), (5, 5), (1, 3), (3, 1), (7, 7), (2, 2), (1, 9), (4, 4))
    stride = draw.pick((1, 1), (1, 1), (2, 2), (1, 2), (3, 3))
    dilation = draw.pick((1, 1), (1, 1), (1, 1), (2, 2)) if stride == (1, 1) else (1, 1)
    size = (draw.pick(7, 8, 12, 15, 16), draw.pick(7, 9, 12, 16), draw.pick(*_CHANNELS[:12]))
    return _depthwise(size, window, stride=stride, dilation=dilation, multiplier=draw.pick(1, 1, 1, 1, 2, 3))(draw)


def _any_connected(draw: _Draw) -> Operator:
    inputs = draw.pick(12, 30, 64, 77, 100, 128, 250, 256, 512, 640)
    units = draw.pick(1, 2, 3, 5, 10, 12, 17, 32, 64, 128)
    return _connected(inputs, units, draw.pick(1, 1, 1, 2, 3))(draw)


def _any_pool(draw: _Draw) -> Operator:
    window = draw.pick((2, 2), (3, 3), (2, 1), (1, 4), (5, 5), (3, 2))
    stride = draw.pick((1, 1), (2, 2), window, (2, 1))
    size = (draw.pick(8, 11, 16), draw.pick(8, 13, 16), draw.pick(*_CHANNELS[:12]))
    return _pool(draw.pick(MaxPool2D, AveragePool2D), size, window, stride, draw.pick(True, False))(draw)


def _plan() -> dict[str, list[_Maker]]:
    """Kind → makers: corners first."""
    image = (1, 16, 16, 16)
    return {
        "pointwise": [
            _conv((10, 10, 64), 10),
            _conv((1, 1, 64), 100),
            _conv((12, 12, 3), 7),
            _conv((8, 8, 1), 16),
            _conv((16, 16, 16), 1),
            _conv((8, 8, 32), 16, stride=(2, 2)),
            _conv((8, 8, 32), 32, batch=2),
            *_drawn(14, _any_pointwise),
        ],
        "wide": [_conv((6, 6, 144), 24), _conv((5, 5, 240), 40), _conv((7, 7, 576), 96), *_drawn(5, _wide_pointwise)],
        "conv": [
            _conv((24, 24, 3), 16, (3, 3), stride=(2, 2)),
            _conv((24, 24, 1), 8, (5, 5)),
            _conv((49, 10, 1), 64, (10, 4), stride=(2, 2)),
            _conv((16, 16, 8), 8, (3, 3), stride=(4, 4)),
            _conv((12, 12, 16), 16, (3, 3), dilation=(3, 3)),
            _conv((12, 12, 5), 7, (3, 3)),
            _conv((1, 128, 16), 16, (1, 3)),
            _conv((1, 128, 16), 16, (1, 3), dilation=(1, 4)),
            _conv((1, 64, 40), 24, (1, 9), stride=(1, 2)),
            _conv((9, 9, 12), 12, (3, 3), batch=3),
            _conv((4, 4, 32), 32, (4, 4), same=False),
            _conv((16, 16, 4), 4, (11, 11)),
            *_drawn(24, _any_conv),
        ],
        "groups": [
            _conv((12, 12, 16), 16, (3, 3), groups=2),
            _conv((12, 12, 16), 32, (3, 3), groups=4),
            _conv((10, 10, 24), 24, (1, 1), groups=3),
            _conv((8, 8, 12), 12, (3, 3), groups=4, stride=(2, 2)),
        ],
        "depthwise": [
            _depthwise((16, 16, 96), stride=(2, 2)),
            _depthwise((7, 7, 64), (7, 7), same=False),
            _depthwise((1, 100, 32), (1, 5)),
            _depthwise((5, 5, 256)),
            _depthwise((16, 16, 1), multiplier=8),
            _depthwise((12, 12, 8), multiplier=4),
            _depthwise((12, 12, 13)),
            _depthwise((16, 16, 16), dilation=(4, 4)),
            _depthwise((8, 8, 24), batch=2),
            _depthwise((12, 12, 8), stride=(4, 4)),
            *_drawn(22, _any_depthwise),
        ],
        "connected": [_connected(1024, 10), _connected(64, 1), _connected(7, 500), *_drawn(13, _any_connected)],
        "pool": [
            _pool(AveragePool2D, (7, 7, 64), (7, 7), (7, 7), False),
            _pool(MaxPool2D, (16, 16, 1), (2, 2), (2, 2), False),
            _pool(AveragePool2D, (12, 12, 20), (3, 3), (1, 1), True),
            *_drawn(11, _any_pool),
        ],
        "two": [
            _binary(Add, image, image),
            _binary(Sub, image, image),
            _binary(Mul, image, image),
            _binary(Add, image, (1, 1, 1, 16)),
            _binary(Mul, image, (1, 1, 1, 16)),
            _binary(Mul, image, (1, 16, 16, 1)),
            _binary(Mul, image, (1, 1, 1, 1)),
            _binary(Add, (1, 13, 11, 7), (1, 13, 11, 7)),
            _binary(Add, (1, 1000), (1, 1000)),
            _binary(Mul, (1, 999), (1, 999)),
        ],
        "one": [
            _map(Quantize, image),
            _map(Quantize, (1, 49, 10, 1)),
            _map(Logistic, image),
            _map(Relu, image),
            _map(LeakyRelu, image, alpha=0.1),
            _map(LeakyRelu, (1, 1001), alpha=0.3),
        ],
        "float": [
            _map(Quantize, image, source="float"),
            _map(Quantize, (1, 1023), source="float"),
            _map(Dequantize, image),
            _map(Dequantize, (1, 1001)),
        ],
        "mean": [
            _mean((1, 7, 7, 64), (1, 2)),
            _mean((1, 16, 16, 24), (1, 2)),
            _mean((1, 25, 5, 64), (1,)),
            _mean((1, 16, 16, 16), (3,)),
            _mean((1, 16, 16, 16), (2,)),
            _mean((1, 1000, 12), (1,)),
            _mean((1, 13, 11, 7), (1, 2)),
            _mean((1, 49, 40), (2,)),
        ],
        "bilinear": [
            _resize(ResizeBilinear, (1, 8, 8, 16), (16, 16)),
            _resize(ResizeBilinear, (1, 7, 7, 5), (10, 13)),
            _resize(ResizeBilinear, (1, 12, 12, 1), (24, 24)),
        ],
        "softmax": [_map(Softmax, (1, 10)), _map(Softmax, (1, 1000)), _map(Softmax, (1, 50, 12))],
        "move": [
            _transpose((1, 16, 16, 16), (0, 3, 1, 2)),
            _transpose((1, 16, 16, 16), (0, 2, 1, 3)),
            _transpose((1, 49, 40), (0, 2, 1)),
            _transpose((1, 13, 11, 7), (0, 3, 2, 1)),
            _concatenation(((1, 12, 12, 16), (1, 12, 12, 16)), 3),
            _concatenation(((1, 12, 12, 5), (1, 12, 12, 7), (1, 12, 12, 3)), 3),
            _concatenation(((1, 12, 12, 16), (1, 6, 12, 16)), 1),
            _concatenation(((1, 12, 12, 10), (1, 12, 12, 6)), 3),
            _split((1, 12, 12, 32), 3, 2),
            _split((1, 12, 12, 15), 3, 3),
            _split((1, 12, 12, 16), 1, 4),
            _pad((1, 14, 14, 16), ((0, 0), (1, 1), (1, 1), (0, 0))),
            _pad((1, 14, 14, 3), ((0, 0), (1, 2), (3, 1), (0, 0))),
            _pad((1, 14, 14, 5), ((0, 0), (0, 0), (0, 0), (1, 2))),
            _slice((1, 16, 16, 16), (0, 2, 2, 0), (1, 12, 12, 16), (1, 1, 1, 1)),
            _slice((1, 16, 16, 12), (0, 0, 0, 4), (1, 16, 16, 8), (1, 1, 1, 1)),
            _slice((1, 16, 16, 12), (0, 0, 0, 0), (1, 8, 8, 12), (1, 2, 2, 1)),
            _resize(ResizeNearestNeighbor, (1, 8, 8, 16), (16, 16)),
            _resize(ResizeNearestNeighbor, (1, 8, 8, 5), (16, 16)),
        ],
    }
