"""Graphs of one operator, made from the name of a recorded layer, with seeded weights and quantisation."""

from __future__ import annotations

import re
import zlib
from dataclasses import replace

import numpy as np

from utvm.graph import (
    Add,
    AveragePool2D,
    AverageRounding,
    Conv2D,
    DepthwiseConv2D,
    DType,
    FullyConnected,
    Graph,
    MaxPool2D,
    Operator,
    Padding,
    Quantization,
    Rounding,
    Softmax,
    Tensor,
    same_padding,
)

_CONV = re.compile(
    r"(?:conv\d?|pw\d*)\w*?_(?P<h>\d+)x(?P<w>\d+)x(?P<c>\d+)_(?P<o>\d+)(?:_k(?P<kh>\d+)(?:x(?P<kw>\d+))?(?:s(?P<s>\d))?)?$"
)
_DEPTHWISE = re.compile(r"dw\d*_(?P<h>\d+)x(?P<w>\d+)x(?P<c>\d+)(?:_s(?P<s>\d))?$")
_CONNECTED = re.compile(r"fc(?:_opt)?_(?P<i>\d+)_(?P<o>\d+)$")
_POOL = re.compile(r"(?P<kind>avgpool|pool)(?P<number>\d?)_(?P<h>\d+)x(?P<w>\d+)x(?P<c>\d+)$")
_ADD = re.compile(r"add_(?P<h>\d+)x(?P<w>\d+)x(?P<c>\d+)$")
_SOFTMAX = re.compile(r"softmax_(?P<n>\d+)$")


def layer_graph(name: str) -> Graph | None:
    """Return the operator that a recorded layer's name describes, int8, or None if it is not one of ours alone.

    Convolutions are padded to SAME, their weights are quantised per channel, those of fully connected layers per
    tensor (as CMSIS-NN 4.0.0 has them); legacy q7 layers (names from q7) shift by a power of two.
    Separate ReLU passes are None: here every layer clamps what it stores.
    """
    maker = _Maker(name)
    op = maker.operator()
    if op is None:
        return None
    return Graph(name=re.sub(r"\W", "_", name), inputs=op.activations, outputs=op.outputs, operators=(op,))


class _Maker:
    """Draws the tensors of one layer."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.legacy = name.startswith("q7")
        self.generator = np.random.default_rng(zlib.crc32(name.encode()))

    def operator(self) -> Operator | None:
        if (found := _DEPTHWISE.search(self.name)) is not None:
            return self._depthwise(found)
        if (found := _CONNECTED.search(self.name)) is not None:
            return self._connected(int(found["i"]), int(found["o"]))
        if (found := _POOL.search(self.name)) is not None:
            return self._pool(found)
        if (found := _ADD.search(self.name)) is not None:
            shape = (1, int(found["h"]), int(found["w"]), int(found["c"]))
            return Add(name="add", a=self._tensor("a", shape), b=self._tensor("b", shape), y=self._tensor("y", shape))
        if (found := _SOFTMAX.search(self.name)) is not None:
            output = Quantization.per_tensor(1 / 256, -128)
            y = Tensor(name="y", shape=(1, int(found["n"])), dtype=DType.INT8, quant=output)
            return None if self.legacy else Softmax(name="softmax", x=self._tensor("x", y.shape), y=y)
        if (found := _CONV.search(self.name)) is not None:
            return self._conv(found)
        return None

    def _tensor(self, name: str, shape: tuple[int, ...]) -> Tensor:
        scale, zero = (1 / 128, 0) if self.legacy else (0.02 + 0.01 * len(name) + 0.005 * (name == "b"), -3)
        return Tensor(name=name, shape=shape, dtype=DType.INT8, quant=Quantization.per_tensor(scale, zero))

    def _weights(
        self, shape: tuple[int, ...], channels: int, axis: int | None
    ) -> tuple[Tensor, Tensor, Quantization, Rounding]:
        """Return weights, bias, a quantisation of the output by which it is neither flat nor clipped, the rounding.

        `axis` is that of the channels, each with a scale of its own; None is one scale for all.
        """
        taps = int(np.prod(shape)) // channels
        values = self.generator.integers(-127, 128, shape, dtype=np.int8)
        bias = self.generator.integers(-2000, 2000, channels, dtype=np.int32)
        if self.legacy:
            quant = Quantization.per_tensor(1 / 128)
            shift = int(np.ceil(np.log2(np.sqrt(taps) * 74 * 74 / 50)))
            out = Quantization.per_tensor(2.0**shift / 128 / 128)
            rounding = Rounding.HALF_UP_SHIFT
        else:
            scales = self.generator.uniform(0.002, 0.004, channels).astype(np.float32)
            quant = Quantization.per_tensor(float(scales[0]))
            if axis is not None:
                quant = Quantization(scale=tuple(map(float, scales)), zero_point=(0,) * channels, axis=axis)
            out = Quantization.per_tensor(float(np.sqrt(taps) * 74 * 74 / 50 * 0.003 * 0.03), -4)
            rounding = Rounding.DOUBLE
        weights = Tensor(name="weights", shape=shape, dtype=DType.INT8, quant=quant, data=values)
        return weights, Tensor(name="bias", shape=(channels,), dtype=DType.INT32, data=bias), out, rounding

    def _conv(self, found: re.Match[str]) -> Operator:
        channels, out = int(found["c"]), int(found["o"])
        rows = int(found["kh"] or 1)
        kernel = rows, int(found["kw"] or rows)
        tensors = self._weights((out, *kernel, channels), out, 0)
        return self._window(found, Conv2D, "conv", kernel, out, *tensors)

    def _depthwise(self, found: re.Match[str]) -> Operator:
        channels = int(found["c"])
        tensors = self._weights((1, 3, 3, channels), channels, 3)
        return self._window(found, DepthwiseConv2D, "depthwise", (3, 3), channels, *tensors)

    def _window(
        self,
        found: re.Match[str],
        kind: type[Conv2D | DepthwiseConv2D],
        name: str,
        kernel: tuple[int, int],
        out: int,
        weights: Tensor,
        bias: Tensor,
        quant: Quantization,
        rounding: Rounding,
    ) -> Operator:
        """Return a convolution padded to SAME of the input and stride that a name says."""
        height, width, channels, stride = int(found["h"]), int(found["w"]), int(found["c"]), int(found["s"] or 1)
        (down, across), padding = _same((height, width), kernel, stride)
        x = self._tensor("x", (1, height, width, channels))
        return kind(
            name=name,
            x=x,
            weights=weights,
            bias=_scaled(bias, x, weights),
            y=Tensor(name="y", shape=(1, down, across, out), dtype=DType.INT8, quant=quant),
            stride=(stride, stride),
            padding=padding,
            rounding=rounding,
        )

    def _connected(self, inputs: int, units: int) -> Operator:
        weights, bias, quant, rounding = self._weights((units, inputs), units, None)
        x = self._tensor("x", (1, inputs))
        return FullyConnected(
            name="connected",
            x=x,
            weights=weights,
            bias=_scaled(bias, x, weights),
            y=Tensor(name="y", shape=(1, units), dtype=DType.INT8, quant=quant),
            rounding=rounding,
        )

    def _pool(self, found: re.Match[str]) -> Operator:
        height, width, channels = int(found["h"]), int(found["w"]), int(found["c"])
        x = self._tensor("x", (1, height, width, channels))
        if found["kind"] == "avgpool" and not found["number"]:
            y = Tensor(name="y", shape=(1, 1, 1, channels), dtype=DType.INT8, quant=x.quant)
            return AveragePool2D(name="pool", x=x, y=y, filter=(height, width), stride=(height, width))
        (down, across), padding = _same((height, width), (3, 3), 2)
        y = Tensor(name="y", shape=(1, down, across, channels), dtype=DType.INT8, quant=x.quant)
        if found["kind"] == "avgpool":
            rounding = AverageRounding.TOWARD_ZERO if self.legacy else AverageRounding.HALF_AWAY
            return AveragePool2D(
                name="pool", x=x, y=y, filter=(3, 3), stride=(2, 2), padding=padding, rounding=rounding
            )
        return MaxPool2D(name="pool", x=x, y=y, filter=(3, 3), stride=(2, 2), padding=padding)


def _scaled(bias: Tensor, x: Tensor, weights: Tensor) -> Tensor:
    """Return the bias with its scales, which BakeNN asks for: those of the products."""
    assert weights.quant is not None
    scales = tuple(x.scale * scale for scale in weights.quant.scale)
    axis = None if weights.quant.axis is None else 0
    return replace(bias, quant=Quantization(scale=scales, zero_point=(0,) * len(scales), axis=axis))


def _same(size: tuple[int, int], taps: tuple[int, int], stride: int) -> tuple[tuple[int, int], Padding]:
    """Return the outputs down and across, and the padding, of TensorFlow's SAME."""
    top, bottom, down = same_padding(size[0], taps[0], stride)
    left, right, across = same_padding(size[1], taps[1], stride)
    return (down, across), Padding(top=top, bottom=bottom, left=left, right=right)
