"""Networks that no file holds, for benchmarks: MobileNetV2, chains of distinct layers, and drawn small networks.

Weights are random: what is chosen for a layer and what it costs depends on shapes, scales and zero points.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from utvm.graph import (
    Add,
    AveragePool2D,
    Conv2D,
    DepthwiseConv2D,
    DType,
    FullyConnected,
    Graph,
    Operator,
    Padding,
    Quantization,
    Reshape,
    Tensor,
    same_padding,
)

_RELU6 = (-128, 127)
"""Of activations with zero point -128, whose scale is chosen for 0 to 6, as TFLite's converter does."""


class Builder:
    """A graph in the making. Methods return the tensor that the new operator makes."""

    def __init__(self, name: str, seed: int, shape: tuple[int, int, int]) -> None:
        self._name = name
        self._rng = np.random.default_rng(seed)
        self._operators: list[Operator] = []
        self._count = 0
        self.input = self._tensor((1, *shape))

    def conv(self, x: Tensor, channels: int, *, kernel: int = 1, stride: int = 1) -> Tensor:
        """Append a convolution with padding SAME."""
        padding, height, width = _same(x, kernel, stride)
        weights = self._weights((channels, kernel, kernel, x.shape[3]), axis=0)
        y = self._tensor((1, height, width, channels))
        return self._add(Conv2D, x=x, weights=weights, bias=self._bias(channels), y=y, clamp=_RELU6,
                         stride=(stride, stride), padding=padding)  # fmt: skip

    def depthwise(self, x: Tensor, *, kernel: int = 3, stride: int = 1) -> Tensor:
        """Append a depthwise convolution with padding SAME."""
        padding, height, width = _same(x, kernel, stride)
        weights = self._weights((1, kernel, kernel, x.shape[3]), axis=3)
        y = self._tensor((1, height, width, x.shape[3]))
        return self._add(DepthwiseConv2D, x=x, weights=weights, bias=self._bias(x.shape[3]), y=y, clamp=_RELU6,
                         stride=(stride, stride), padding=padding)  # fmt: skip

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        """Append an addition of equal shapes."""
        return self._add(Add, a=a, b=b, y=self._tensor(a.shape))

    def head(self, x: Tensor, classes: int) -> Graph:
        """Append global average pooling and a fully connected layer, and return the graph."""
        size = (x.shape[1], x.shape[2])
        pooled = self._add(AveragePool2D, x=x, y=self._tensor((1, 1, 1, x.shape[3]), x.quant), filter=size, stride=size)
        flat = self._add(Reshape, x=pooled, y=self._tensor((1, x.shape[3]), x.quant))
        scores = self._add(
            FullyConnected,
            x=flat,
            weights=self._weights((classes, x.shape[3]), axis=0, per_channel=False),
            bias=self._bias(classes),
            y=self._tensor((1, classes)),
        )
        return Graph(name=self._name, operators=tuple(self._operators), inputs=(self.input,), outputs=(scores,))

    def _add(self, make: Any, *, y: Tensor, **fields: Any) -> Tensor:
        self._operators.append(make(name=self._fresh(make.__name__), y=y, **fields))
        return y

    def _fresh(self, kind: str) -> str:
        self._count += 1
        return f"{kind}_{self._count}"

    def _tensor(self, shape: tuple[int, ...], quant: Quantization | None = None) -> Tensor:
        quant = quant or Quantization.per_tensor(self._rng.uniform(0.02, 0.03), -128)
        return Tensor(name=self._fresh("t"), shape=shape, dtype=DType.INT8, quant=quant)

    def _weights(self, shape: tuple[int, ...], *, axis: int, per_channel: bool = True) -> Tensor:
        data = self._rng.integers(-127, 128, shape).astype(np.int8)
        if not per_channel:
            quant = Quantization.per_tensor(0.004, 0)
        else:
            scales = tuple(float(np.float32(s)) for s in self._rng.uniform(0.001, 0.004, shape[axis]))
            quant = Quantization(scale=scales, zero_point=(0,) * len(scales), axis=axis)
        return Tensor(name=self._fresh("w"), shape=shape, dtype=DType.INT8, quant=quant, data=data)

    def _bias(self, channels: int) -> Tensor:
        data = self._rng.integers(-2000, 2000, channels).astype(np.int32)
        return Tensor(name=self._fresh("b"), shape=data.shape, dtype=DType.INT32, data=data)


def mobilenet_v2(size: int = 96, width: float = 0.35) -> Graph:
    """Return MobileNetV2 (Sandler et al. 2018, table 2): 53 layers with weights, channels in multiples of 8."""

    def channels(count: int) -> int:
        return max(8, int(count * width + 4) // 8 * 8)

    net = Builder("mobilenet_v2", 1, (size, size, 3))
    x = net.conv(net.input, channels(32), kernel=3, stride=2)
    for expansion, count, repeats, stride in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    ):  # fmt: skip
        for repeat in range(repeats):
            step = stride if repeat == 0 else 1
            inside = x if expansion == 1 else net.conv(x, expansion * x.shape[3])
            narrow = net.conv(net.depthwise(inside, stride=step), channels(count))
            x = net.add(x, narrow) if step == 1 and x.shape == narrow.shape else narrow
    return net.head(net.conv(x, max(1280, channels(1280))), 1000)


def chain(layers: int) -> Graph:
    """Return a chain of so many convolutions, 3x3, 1x1 and depthwise in turn, no two of one shape."""
    net = Builder(f"chain_{layers}", 2, (16, 16, 8))
    x = net.input
    for layer in range(layers):
        channels = 8 + 4 * (layer // 3 % 30)
        match layer % 3:
            case 0:
                x = net.conv(x, channels, kernel=3)
            case 1:
                x = net.conv(x, channels + 2)
            case _:
                x = net.depthwise(x)
    return net.head(x, 10)


def residual(layers: int) -> Graph:
    """Return about so many layers in residual blocks: 3x3, 1x1 and an addition; every third block widens before."""
    net = Builder(f"residual_{layers}", 3, (24, 24, 8))
    x, block, count = net.conv(net.input, 12, kernel=3), 0, 1
    while count < layers:
        if block % 3 == 2:
            x, count = net.conv(x, x.shape[3] + 8, stride=2 if block in (5, 14) else 1), count + 1
        x = net.add(x, net.conv(net.conv(x, x.shape[3] + 4 * (block % 4), kernel=3), x.shape[3]))
        block, count = block + 1, count + 3
    return net.head(x, 10)


def branching(layers: int) -> Graph:
    """Return about so many layers in blocks of three branches of unlike depth, whose sum the next block reads."""
    net = Builder(f"branching_{layers}", 4, (20, 20, 8))
    x, block, count = net.conv(net.input, 16, kernel=3), 0, 1
    while count < layers:
        channels = 16 + 6 * (block % 9)
        short = net.conv(x, channels)
        deep = net.conv(net.depthwise(net.conv(x, channels + 8)), channels)
        wide = net.conv(net.depthwise(x, kernel=5), channels)
        x = net.add(net.add(short, wide), deep)
        block, count = block + 1, count + 8
    return net.head(x, 10)


def drawn(seed: int) -> Graph:
    """Return a small network as a search over architectures draws them: a stem, two to five stages, a head."""
    rng = np.random.default_rng(seed)

    def pick(*choices: int) -> int:
        return int(rng.choice(choices))

    net = Builder(f"drawn_{seed}", seed, (pick(16, 24, 32, 49), pick(10, 16, 32), pick(1, 3)))
    x = net.conv(net.input, pick(8, 12, 16, 24, 32), kernel=pick(3, 5), stride=pick(1, 2))
    for _ in range(pick(2, 3, 4, 5)):
        channels, stride = pick(8, 12, 16, 20, 24, 32, 48, 64), pick(1, 1, 2)
        match pick(0, 1, 2):
            case 0:
                x = net.conv(x, channels, kernel=3, stride=stride)
            case 1:
                x = net.conv(net.depthwise(x, kernel=pick(3, 5), stride=stride), channels)
            case _:
                inner = net.conv(x, x.shape[3] * pick(2, 4))
                narrow = net.conv(net.depthwise(inner), x.shape[3])
                x = net.add(x, narrow)
    return net.head(x, pick(2, 10, 12))


def _same(x: Tensor, kernel: int, stride: int) -> tuple[Padding, int, int]:
    top, bottom, height = same_padding(x.shape[1], kernel, stride)
    left, right, width = same_padding(x.shape[2], kernel, stride)
    return Padding(top=top, bottom=bottom, left=left, right=right), height, width
