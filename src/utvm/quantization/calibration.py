"""What a float network's tensors hold on typical data, and what rounding does to the means of its layers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.graph import DType, Graph, Tensor, Weighted
from utvm.graph.arithmetic import integer_range
from utvm.graph.reference.evaluation import evaluate_operator
from utvm.quantization.batches import Runner
from utvm.quantization.ranges import Distribution

Data = Mapping[str, NDArray[Any]]
Progress = Callable[[str], None]
_CORRECTION_SAMPLES = 100


def distributions(graph: Graph, data: Data, progress: Progress) -> dict[str, Distribution]:
    """Return the distribution of each activation over all samples."""
    found = {t.name: Distribution() for t in graph.tensors if not t.is_constant and t.dtype is DType.FLOAT32}
    count, done = len(next(iter(data.values()))), 0
    for some, values in Runner(graph).run(data, keep=True):
        for name, distribution in found.items():
            distribution.add(values[name])
        done += some
        progress(f"calibrating: {done} of {count} samples")
    return found


def bias_corrections(graph: Graph, quantised: Graph, data: Data, progress: Progress) -> dict[str, NDArray[np.float64]]:
    """Return how far rounding of inputs and weights moves the mean of each layer's channels, by layer name.

    Layers that read the same weights and bias, as steps of a loop do, get the mean of theirs: they share a bias still.

    Source: Nagel et al., Data-Free Quantization through Weight Equalization and Bias Correction (2019), section 4.2, in
    its empirical form.
    """
    layers = [op for op in graph.operators if isinstance(op, Weighted)]
    stored = {op.name: op for op in quantised.operators}
    sums: dict[str, NDArray[np.float64]] = {}
    rows: dict[str, int] = {}
    part = {name: array[:_CORRECTION_SAMPLES] for name, array in data.items()}
    done = 0
    for some, values in Runner(graph).run(part, keep=True):
        for op in layers:
            if op.x.is_constant:
                continue
            twin = stored[op.name]
            assert isinstance(twin, Weighted)
            quant = twin.weights.quant
            if quant is None:
                continue
            count = len(values[op.y.name]) // op.y.shape[0]
            moved = _sized(op, count)
            x = _rounded(values[op.x.name], twin.x)
            weights = quant.real(twin.weights.values).astype(np.float32)
            operands = [x, weights, *([] if op.bias is None else [op.bias.values])]
            (result,) = evaluate_operator(moved, operands, rough=True)
            error = (result.astype(np.float64) - values[op.y.name]).reshape(-1, op.y.shape[-1])
            sums[op.name] = sums.get(op.name, np.zeros(op.y.shape[-1])) + error.sum(axis=0)
            rows[op.name] = rows.get(op.name, 0) + len(error)
        done += some
        progress(f"correcting biases: {done} samples")
    return _shared(layers, {name: total / rows[name] for name, total in sums.items()})


def _shared(layers: Sequence[Weighted], moved: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """Return one value, the mean, for all layers that read the same weights and bias."""
    steps: dict[tuple[Tensor, Tensor | None], list[str]] = {}
    for op in layers:
        if op.name in moved:
            steps.setdefault((op.weights, op.bias), []).append(op.name)
    return {name: np.mean([moved[each] for each in names], axis=0) for names in steps.values() for name in names}


def _sized(op: Weighted, count: int) -> Weighted:
    """Return a layer for a batch of so many samples."""
    x = dataclasses.replace(op.x, shape=(op.x.shape[0] * count, *op.x.shape[1:]))
    y = dataclasses.replace(op.y, shape=(op.y.shape[0] * count, *op.y.shape[1:]))
    return dataclasses.replace(op, x=x, y=y)


def _rounded(values: NDArray[np.float32], tensor: Tensor) -> NDArray[np.float32]:
    """Return real values as a tensor of integers holds them."""
    least, most = integer_range(tensor.dtype)
    stored = np.clip(np.rint(values / np.float32(tensor.scale)) + tensor.zero_point, least, most) - tensor.zero_point
    return np.asarray(stored * np.float32(tensor.scale), np.float32)
