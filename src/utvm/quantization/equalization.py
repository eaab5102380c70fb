"""Cross-layer equalisation: factors on the channels between two layers, so that one scale suits all of them.

Source: Nagel et al., Data-Free Quantization through Weight Equalization and Bias Correction (2019), section 4.1.
Weights have one scale for each output channel here. So the ranges of the activation between two layers are weighed
against those of the weights that read it. A depthwise layer has a scale for each channel that it reads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.graph import (
    AveragePool2D,
    Conv2D,
    DepthwiseConv2D,
    Graph,
    LeakyRelu,
    MaxPool2D,
    Mean,
    Operator,
    Pad,
    Relu,
    Reshape,
    Tensor,
    Weighted,
)
from utvm.quantization.batches import Runner

_MOST = 64.0
"""Channels are scaled by this at most, and by its inverse at least."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """A layer, the tensor that the next one reads, and that next layer."""

    first: Weighted
    between: Tensor
    second: Weighted


def equalized(graph: Graph, data: Mapping[str, NDArray[Any]], progress: Callable[[str], None]) -> Graph:
    """Return a float graph that computes the same, with the channels between its layers equalised.

    Args:
        graph: float32, images [N,H,W,C].
        data: some typical inputs.
        progress: called with one line of text now and then.
    """
    pairs = _pairs(graph)
    if not pairs:
        return graph
    ranges = {pair.between: np.zeros(pair.between.shape[-1]) for pair in pairs}
    done = 0
    for some, values in Runner(graph).run(data, keep=True):
        for tensor, most in ranges.items():
            rows = np.abs(values[tensor.name]).reshape(-1, tensor.shape[-1])
            np.maximum(most, rows.max(axis=0), out=most)
        done += some
        progress(f"equalising channels: {done} samples")
    weights: dict[Operator, NDArray[np.float64]] = {}
    biases: dict[Operator, NDArray[np.float64]] = {}
    for pair in pairs:
        for op in (pair.first, pair.second):
            weights.setdefault(op, op.weights.values.astype(np.float64))
            if op.bias is not None:
                biases.setdefault(op, op.bias.values.astype(np.float64))
    for pair in pairs:
        factors = _factors(ranges[pair.between], pair.second, weights[pair.second])
        weights[pair.first] = weights[pair.first] / _along_outputs(pair.first, factors)
        if pair.first in biases:
            biases[pair.first] = biases[pair.first] / factors
        # Dimension 3 is the input of Conv2D and the channels of DepthwiseConv2D, dimension 1 the input of the third.
        weights[pair.second] = weights[pair.second] * factors
    changed: dict[Tensor, Tensor] = {}
    for op in {pair.first: 0 for pair in pairs} | {pair.second: 0 for pair in pairs}:
        changed[op.weights] = dataclasses.replace(op.weights, data=weights[op].astype(np.float32))
        if op.bias is not None:
            changed[op.bias] = dataclasses.replace(op.bias, data=biases[op].astype(np.float32))
    return graph.rewrite(tensors=changed)


def _factors(most: NDArray[np.float64], second: Weighted, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return by what each channel between two layers is divided."""
    if isinstance(second, DepthwiseConv2D):
        wanted = most.copy()
    else:
        read = np.abs(weights).reshape(-1, weights.shape[-1]).max(axis=0)
        wanted = np.where(read > 0, np.sqrt(most / np.where(read > 0, read, 1)), 0)
    alive = wanted > 0
    if not alive.any():
        return np.ones_like(wanted)
    middle = float(np.exp(np.log(wanted[alive]).mean()))
    return np.where(alive, np.clip(wanted / middle, 1 / _MOST, _MOST), 1.0)


def _along_outputs(op: Weighted, factors: NDArray[np.float64]) -> NDArray[np.float64]:
    return factors if isinstance(op, DepthwiseConv2D) else factors.reshape(-1, *[1] * (len(op.weights.shape) - 1))


def _pairs(graph: Graph) -> list[_Pair]:
    found = []
    for first in graph.operators:
        if not isinstance(first, Weighted) or not _plain(graph, first):
            continue
        tensor = first.y
        while True:
            readers = graph.consumers.get(tensor, ())
            if len(readers) != 1 or tensor in graph.outputs:
                break
            (reader,) = readers
            if isinstance(reader, Weighted):
                if reader.x is tensor and _reads_channels(graph, reader, first.y.shape[-1]):
                    found.append(_Pair(first=first, between=tensor, second=reader))
                break
            if not _keeps_channels(reader):
                break
            (tensor,) = reader.outputs
    return found


def _plain(graph: Graph, op: Weighted) -> bool:
    """Whether weights and bias are constants of one operator alone."""
    return all(t.is_constant and graph.consumers[t] == (op,) for t in (op.weights, op.bias) if t is not None)


def _reads_channels(graph: Graph, op: Weighted, channels: int) -> bool:
    """Whether the last dimension of an operator's input, and of its weights, are the channels made before."""
    grouped = isinstance(op, Conv2D) and op.groups != 1
    return _plain(graph, op) and not grouped and op.x.shape[-1] == channels == op.weights.shape[-1]


def _keeps_channels(op: Operator) -> bool:
    """Whether a factor on a channel before an operator is the same factor behind it."""
    if isinstance(op, Reshape):
        return op.x.shape[-1] == op.y.shape[-1]
    if isinstance(op, Mean):
        return op.x.shape[-1] == op.y.shape[-1] and len(op.x.shape) - 1 not in op.axes
    if isinstance(op, Pad):
        return op.value == 0 and not any(op.paddings[-1])
    return isinstance(op, Relu | LeakyRelu | MaxPool2D | AveragePool2D)
