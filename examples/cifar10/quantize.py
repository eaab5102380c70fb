"""Quantise the trained network to int8: python quantize.py [--data ...] [--checkpoint checkpoint.pt].

Quantisation is that of TFLite's specification (https://ai.google.dev/edge/litert/models/quantization_spec):
activations int8 with a scale and zero point, weights int8 symmetric (one scale a channel for convolutions,
one for the whole fully connected layer), bias int32 with the scale of input times weights. The input is the
pixel minus 128; normalisation is part of the first convolution. The output is the ten logits.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from calibrate import calibrate, calibration_images
from dataset import CLASSES, DataError, load_training, split_validation
from network import IMAGE_SIZE, PADDING, CifarNet, FoldedLayer, fold
from tflite_file import write_tflite

from utvm.graph import (
    AveragePool2D,
    Conv2D,
    DType,
    FullyConnected,
    Graph,
    MaxPool2D,
    Operator,
    Padding,
    Quantization,
    Tensor,
)

HERE = Path(__file__).parent
POOLS = (MaxPool2D, AveragePool2D, AveragePool2D)


def main() -> int:
    """Parse the command line and quantise."""
    parser = argparse.ArgumentParser(description="Quantise the CIFAR-10 network and write its .tflite.")
    parser.add_argument("--data", type=Path, help="folder or archive of the training images (default: download)")
    parser.add_argument("--cache", type=Path, default=HERE / "data", help="where a download is kept")
    parser.add_argument("--checkpoint", type=Path, default=HERE / "checkpoint.pt")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "cifar10_cnn.tflite")
    options = parser.parse_args()
    torch.set_num_threads(2)
    try:
        training, _ = split_validation(load_training(options.data, options.cache))
    except DataError as error:
        print(f"quantize.py: {error}", file=sys.stderr)
        return 2
    net = CifarNet()
    net.load_state_dict(torch.load(options.checkpoint, weights_only=True))
    layers = fold(net)
    ranges = calibrate(layers, calibration_images(training))
    graph = build_graph(layers, ranges)
    print(graph, end="")
    write_tflite(graph, options.output)
    options.output.with_name("labels.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    return 0


def build_graph(layers: list[FoldedLayer], ranges: list[Quantization]) -> Graph:
    """Return the int8 network; `ranges` are those of the layers' outputs."""
    image = Tensor(
        name="image",
        shape=(1, IMAGE_SIZE, IMAGE_SIZE, 3),
        dtype=DType.INT8,
        quant=Quantization.per_tensor(1.0 / 255.0, -128),
    )
    operators: list[Operator] = []
    x, size = image, IMAGE_SIZE
    for number, (layer, quant, pool) in enumerate(zip(layers[:-1], ranges[:-1], POOLS, strict=True), start=1):
        channels = layer.weights.shape[0]
        weights, bias = _parameters(f"conv{number}", layer, x, per_channel=True)
        name = f"conv{number}"
        y = Tensor(name=f"{name}_out", shape=(1, size, size, channels), dtype=DType.INT8, quant=quant)
        around = Padding(top=PADDING, bottom=PADDING, left=PADDING, right=PADDING)
        operators.append(Conv2D(name=name, x=x, weights=weights, bias=bias, y=y, padding=around))
        size //= 2
        pooled = Tensor(name=f"pool{number}_out", shape=(1, size, size, channels), dtype=DType.INT8, quant=quant)
        after = Padding(bottom=1, right=1)
        operators.append(pool(name=f"pool{number}", x=y, y=pooled, filter=(3, 3), stride=(2, 2), padding=after))
        x = pooled
    weights, bias = _parameters("classifier", layers[-1], x, per_channel=False)
    logits = Tensor(name="logits", shape=(1, len(CLASSES)), dtype=DType.INT8, quant=ranges[-1])
    operators.append(FullyConnected(name="classifier", x=x, weights=weights, bias=bias, y=logits))
    return Graph(name="cifar10_cnn", operators=tuple(operators), inputs=(image,), outputs=(logits,))


def _parameters(name: str, layer: FoldedLayer, x: Tensor, *, per_channel: bool) -> tuple[Tensor, Tensor]:
    """Return int8 weights and int32 bias; the scales are rounded to float32 before they are used."""
    channels = layer.weights.shape[0]
    peaks = np.abs(layer.weights.reshape(channels, -1)).max(axis=1)
    if not per_channel:
        peaks = peaks.max(keepdims=True)
    scales = (np.maximum(peaks, 1e-6) / 127.0).astype(np.float32).astype(np.float64)
    spread = scales.reshape(-1, *[1] * (layer.weights.ndim - 1))
    weights = np.clip(np.rint(layer.weights / spread), -127, 127).astype(np.int8)
    bias_scales = (scales * x.scale).astype(np.float32).astype(np.float64)
    bias = np.rint(layer.bias / bias_scales).astype(np.int32)
    return (
        Tensor(
            name=f"{name}_weights",
            shape=weights.shape,
            dtype=DType.INT8,
            quant=_symmetric(scales),
            data=weights,
        ),
        Tensor(name=f"{name}_bias", shape=bias.shape, dtype=DType.INT32, quant=_symmetric(bias_scales), data=bias),
    )


def _symmetric(scales: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Quantization:
    return Quantization(
        scale=tuple(scales.tolist()), zero_point=(0,) * scales.size, axis=0 if scales.size > 1 else None
    )


if __name__ == "__main__":
    sys.exit(main())
