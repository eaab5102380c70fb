"""The network of Arm's Mbed tutorial for CIFAR-10: three 5x5 convolutions and a fully connected layer.

12.3 million multiplications and 89 thousand weights. Batch normalisation stands after each convolution during
training only: `fold` merges it, and the normalisation of the input, into the convolutions.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

IMAGE_SIZE = 32
KERNEL_SIZE = 5
PADDING = 2
CHANNELS = (3, 32, 32, 64)
CLASSES = 10

_MEAN = (0.4914, 0.4822, 0.4465)
_STD = (0.2470, 0.2435, 0.2616)

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldedLayer:
    """A layer without normalisation. weights: convolution [OC,KH,KW,IC], fully connected [O,I]; bias [OC]."""

    weights: FloatArray
    bias: FloatArray


def max_pool(x: Tensor) -> Tensor:
    """3x3 maximum with stride 2, windows clipped at the lower right. [N,C,H,W] -> [N,C,H/2,W/2]."""
    return functional.max_pool2d(x, 3, stride=2, ceil_mode=True)


def average_pool(x: Tensor) -> Tensor:
    """3x3 mean with stride 2 over the pixels inside the image. [N,C,H,W] -> [N,C,H/2,W/2]."""
    return functional.avg_pool2d(x, 3, stride=2, ceil_mode=True, count_include_pad=False)


class CifarNet(nn.Module):
    """The network in training. Input: pixels in 0..1, float [N, 3, 32, 32]; output: logits [N, 10].

    The image is padded with black before it is normalised, so that folding the normalisation into the first
    convolution is exact at the border, too.
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(_STD).view(1, 3, 1, 1))
        self.convolutions = nn.ModuleList(
            nn.Conv2d(ic, oc, KERNEL_SIZE, padding=PADDING if index else 0, bias=False)
            for index, (ic, oc) in enumerate(pairwise(CHANNELS))
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(oc) for oc in CHANNELS[1:])
        self.classifier = nn.Linear(CHANNELS[-1] * 4 * 4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of a batch."""
        x = (functional.pad(x, (PADDING,) * 4) - self.mean) / self.std
        x = functional.relu(max_pool(self.norms[0](self.convolutions[0](x))))
        x = average_pool(functional.relu(self.norms[1](self.convolutions[1](x))))
        x = average_pool(functional.relu(self.norms[2](self.convolutions[2](x))))
        # The model file holds NHWC tensors: flatten in that order.
        logits: Tensor = self.classifier(x.permute(0, 2, 3, 1).flatten(1))
        return logits


def fold(net: CifarNet) -> list[FoldedLayer]:
    """Return the three convolutions and the classifier, normalisation merged; inputs are pixels in 0..1."""
    layers: list[FoldedLayer] = []
    for conv, norm in zip(net.convolutions, net.norms, strict=True):
        if not isinstance(conv, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d):
            raise TypeError(f"can't fold {norm} into {conv}")
        weights = _numpy(conv.weight)
        gain = _numpy(norm.weight) / np.sqrt(_numpy(norm.running_var) + norm.eps)
        bias = _numpy(norm.bias) - gain * _numpy(norm.running_mean)
        weights = weights * gain[:, None, None, None]
        if not layers:
            weights = weights / _numpy(net.std)
            bias = bias - (weights * _numpy(net.mean)).sum(axis=(1, 2, 3))
        layers.append(FoldedLayer(weights=weights.transpose(0, 2, 3, 1).copy(), bias=bias))
    layers.append(FoldedLayer(weights=_numpy(net.classifier.weight), bias=_numpy(net.classifier.bias)))
    return layers


def activations(layers: list[FoldedLayer], x: Tensor) -> list[Tensor]:
    """Return each layer's output in the folded network: rectified convolutions [N,C,H,W], then logits [N,10].

    `x` holds pixels in 0..1, float32 [N, 3, 32, 32]. The output of the first layer is taken before its
    pooling, as in the model file, where the rectifier is part of the convolution (a maximum and a rectifier
    commute).
    """
    outputs = []
    for layer, pool in zip(layers[:-1], (max_pool, average_pool, average_pool), strict=True):
        weights = torch.from_numpy(layer.weights.transpose(0, 3, 1, 2)).float()
        y = functional.relu(functional.conv2d(x, weights, torch.from_numpy(layer.bias).float(), padding=PADDING))
        outputs.append(y)
        x = pool(y)
    weights, bias = (torch.from_numpy(a).float() for a in (layers[-1].weights, layers[-1].bias))
    outputs.append(functional.linear(x.permute(0, 2, 3, 1).flatten(1), weights, bias))
    return outputs


def as_input(pixels: NDArray[np.uint8]) -> Tensor:
    """Return images uint8 [N, 32, 32, 3] as the network's input, float 0..1 [N, 3, 32, 32]."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255.0


def _numpy(tensor: Tensor | None) -> FloatArray:
    if tensor is None:
        raise ValueError("the network has no running statistics")
    array: FloatArray = tensor.detach().double().numpy()
    return array
