"""Activation ranges for quantisation, from the float network's outputs on training images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from dataset import CLASSES, Images
from network import FoldedLayer, activations, as_input
from numpy.typing import NDArray

from utvm.graph import Quantization

LEVELS = 255
_CANDIDATES = np.linspace(0.30, 1.0, 71)
_SAMPLES = 1_000_000


def calibration_images(training: Images, per_class: int = 100) -> Images:
    """Return the first `per_class` training images of each class."""
    chosen = [np.flatnonzero(training.labels == c)[:per_class] for c in range(len(CLASSES))]
    return training.take(np.concatenate(chosen))


@torch.no_grad()
def calibrate(layers: list[FoldedLayer], images: Images) -> list[Quantization]:
    """Return the quantisation of each layer's output, in the order of `layers`.

    Rectified outputs span 0 to the upper limit with the least mean squared error; logits span their full
    range, since an order among clipped logits would be lost.
    """
    *rectified, logits = activations(layers, as_input(images.pixels))
    return [*(_rectified(y.numpy()) for y in rectified), _spanning(logits.numpy())]


def error_of_limit(values: NDArray[np.float32], limit: float) -> float:
    """Return the mean squared error of non-negative values quantised to 0..limit in 255 steps."""
    step = limit / LEVELS
    quantised = np.clip(np.rint(values / step), 0, LEVELS) * step
    return float(np.mean(np.square(quantised - values)))


def _rectified(values: NDArray[np.float32]) -> Quantization:
    positive = values[values > 0]
    sample = positive[:: max(1, positive.size // _SAMPLES)]
    limits: Sequence[float] = (_CANDIDATES * float(positive.max())).tolist()
    best = min(limits, key=lambda limit: error_of_limit(sample, limit))
    return Quantization.per_tensor(best / LEVELS, -128)


def _spanning(values: NDArray[np.float32]) -> Quantization:
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    scale = (high - low) / LEVELS
    return Quantization.per_tensor(scale, round(-128 - low / scale))
