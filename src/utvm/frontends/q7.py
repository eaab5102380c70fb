"""Networks in CMSIS-NN's q7 form, from an .npz archive: the int8 CIFAR-10 CNN of Arm's Mbed tutorial.

Values are int8 without zero points; scales are powers of two, so requantisation is one shift with half-up rounding. The
archive holds `convN_w` [OC,KH,KW,IC], `convN_b`, `ip1_w` [10, H*W*C], `ip1_b`, and for each layer `NAME_out_rshift`
and `NAME_bias_lshift`; `mean` [32,32,3] is subtracted from the picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.frontends.archives import ArchiveError, read_archive
from utvm.frontends.errors import FrontendError
from utvm.graph import (
    AveragePool2D,
    AverageRounding,
    Conv2D,
    DType,
    FullyConnected,
    Graph,
    MaxPool2D,
    Operator,
    Padding,
    Quantization,
    Rounding,
    Tensor,
)

_LAYERS = ("conv1", "conv2", "conv3", "ip1")
_RELU = (0, 127)
_POOL = 3
_ONE = Quantization.per_tensor(1.0)


def q7_input(archive: Path, images: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Return the network's input for uint8 pictures [N,32,32,3]: the mean subtracted, saturated to int8."""
    mean = _arrays(archive)["mean"]
    centred = np.clip(images.astype(np.int16) - mean.astype(np.int16), -128, 127)
    return centred.astype(np.int8)


def load_q7(path: Path) -> Graph:
    """Import a q7 archive.

    Raises:
        FrontendError: it is not such an archive; all problems are listed.
    """
    arrays = _arrays(path)
    problems = _problems(arrays)
    if problems:
        raise FrontendError(path.name, problems)
    try:
        return _Builder(arrays, path.stem).graph()
    except (ValueError, IndexError, KeyError) as error:
        raise FrontendError(path.name, [f"the layers do not fit together: {error}"]) from error


def _arrays(path: Path) -> Mapping[str, NDArray[Any]]:
    try:
        return read_archive(path)
    except ArchiveError as error:
        raise FrontendError(str(path), [f"it can't be read as an .npz archive: {error}"]) from error


def _problems(arrays: Mapping[str, NDArray[Any]]) -> list[str]:
    found = []
    for layer in _LAYERS:
        for part, rank in (("w", 2 if layer.startswith("ip") else 4), ("b", 1)):
            array = arrays.get(f"{layer}_{part}")
            if array is None:
                found.append(f"the archive lacks {layer}_{part}")
            elif array.dtype != np.int8 or array.ndim != rank:
                found.append(
                    f"{layer}_{part} is {array.dtype}{list(array.shape)}, int8 of {rank} dimensions is expected"
                )
        for part in ("out_rshift", "bias_lshift"):
            shift = _shift(arrays, layer, part)
            if shift is None or not 0 <= shift <= 24:
                found.append(f"{layer}_{part} is {shift}, a shift of 0 to 24 is expected")
    return found


def _shift(arrays: Mapping[str, NDArray[Any]], layer: str, part: str) -> int | None:
    array = arrays.get(f"{layer}_{part}")
    if array is None and part in arrays and arrays[part].size == len(_LAYERS):
        return int(arrays[part].reshape(-1)[_LAYERS.index(layer)])
    return None if array is None or array.size != 1 else int(array.reshape(-1)[0])


class _Builder:
    """Builds the network layer by layer: conv, pool, ReLU as Arm orders them."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]], name: str) -> None:
        self.arrays = arrays
        self.name = name
        self.operators: list[Operator] = []

    def graph(self) -> Graph:
        size, channels = 32, int(self.arrays["conv1_w"].shape[3])
        x = image = _activation("image", (1, size, size, channels))
        for index, layer in enumerate(_LAYERS[:3], 1):
            x = self._convolution(layer, x)
            x = self._pool(f"pool{index}", x, maximum=index == 1)
        x = self._fully_connected("ip1", x)
        return Graph(name=self.name, operators=tuple(self.operators), inputs=(image,), outputs=(x,))

    def _convolution(self, layer: str, x: Tensor) -> Tensor:
        weights = self.arrays[f"{layer}_w"]
        out_channels, height, width, depth = weights.shape
        if depth != x.shape[3] or height % 2 == 0 or width % 2 == 0:
            raise ValueError(f"{layer}_w of shape {list(weights.shape)} on {x.shape[3]} channels")
        y = _activation(layer, (*x.shape[:3], out_channels))
        vertical, horizontal = height // 2, width // 2
        self.operators.append(
            Conv2D(
                name=layer,
                x=x,
                weights=self._weights(layer, weights),
                bias=self._bias(layer),
                y=y,
                padding=Padding(top=vertical, bottom=vertical, left=horizontal, right=horizontal),
                # ReLU after the maximum pool of the first layer commutes with it.
                clamp=_RELU,
                rounding=Rounding.HALF_UP_SHIFT,
            )
        )
        return y

    def _pool(self, name: str, x: Tensor, *, maximum: bool) -> Tensor:
        """3x3 windows, stride 2, clipped at the lower right border."""
        _, height, width, channels = x.shape
        out = (-(-(height - _POOL) // 2) + 1, -(-(width - _POOL) // 2) + 1)
        y = _activation(name, (1, *out, channels))
        padding = Padding(bottom=(out[0] - 1) * 2 + _POOL - height, right=(out[1] - 1) * 2 + _POOL - width)
        shape = {"filter": (_POOL, _POOL), "stride": (2, 2)}
        if maximum:
            self.operators.append(MaxPool2D(name=name, x=x, y=y, padding=padding, **shape))
        else:
            rounding = AverageRounding.TOWARD_ZERO
            self.operators.append(AveragePool2D(name=name, x=x, y=y, padding=padding, rounding=rounding, **shape))
        return y

    def _fully_connected(self, layer: str, x: Tensor) -> Tensor:
        weights = self.arrays[f"{layer}_w"]
        if weights.shape[1] != x.elements:
            raise ValueError(f"{layer}_w of shape {list(weights.shape)} on {x.elements} values")
        y = _activation("logits", (1, weights.shape[0]))
        self.operators.append(
            FullyConnected(
                name=layer,
                x=x,
                weights=self._weights(layer, weights),
                bias=self._bias(layer),
                y=y,
                rounding=Rounding.HALF_UP_SHIFT,
            )
        )
        return y

    def _weights(self, layer: str, values: NDArray[np.int8]) -> Tensor:
        """Return weights whose scale makes the layer's factor 2^-shift."""
        shift = _shift(self.arrays, layer, "out_rshift")
        assert shift is not None
        quant = Quantization.per_tensor(2.0**-shift)
        return Tensor(name=f"{layer}_w", shape=values.shape, dtype=DType.INT8, quant=quant, data=values.copy())

    def _bias(self, layer: str) -> Tensor:
        shift = _shift(self.arrays, layer, "bias_lshift")
        assert shift is not None
        values = self.arrays[f"{layer}_b"].astype(np.int32) << shift
        return Tensor(name=f"{layer}_b", shape=values.shape, dtype=DType.INT32, data=values.astype(np.int32))


def _activation(name: str, shape: tuple[int, ...]) -> Tensor:
    return Tensor(name=name, shape=shape, dtype=DType.INT8, quant=_ONE)
