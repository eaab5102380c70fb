"""What int8 loses: accuracy where labels are given, agreement, and signal to noise layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.frontends.inputs import quantised_values
from utvm.graph import DType, Graph, Tensor
from utvm.quantization.batches import Runner
from utvm.quantization.dataset import Dataset, DatasetError

_LAYER_SAMPLES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedLayer:
    """How close a tensor of the int8 network is to the float one's.

    Attributes:
        name: the tensor; `kind` is the operator that makes it.
        snr: power of the float values over that of the error, in dB; infinite where nothing differs.
        low, high: real values that its eight bits cover.
    """

    name: str
    kind: str
    snr: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What was found on `samples` samples.

    Attributes:
        float_accuracy, int8_accuracy: shares of labels that the largest output names; None without labels.
        agreement: share of samples for which both name the same; None where an output is no row of scores.
        snr: of all outputs together, in dB.
    """

    samples: int
    float_accuracy: float | None
    int8_accuracy: float | None
    agreement: float | None
    snr: float
    layers: tuple[JudgedLayer, ...]


def judge(graph: Graph, quantised: Graph, data: Dataset, progress: Callable[[str], None]) -> Judgement:
    """Compare a float graph with its int8 form on samples."""
    inputs = quantised_inputs(quantised, data)
    progress(f"running {len(data)} samples in float")
    real = Runner(graph).joined(
        data.inputs, progress=lambda done: progress(f"running in float: {done} of {len(data)} samples")
    )
    progress(f"running {len(data)} samples in int8")
    stored = Runner(quantised).joined(
        inputs, progress=lambda done: progress(f"running in int8: {done} of {len(data)} samples")
    )
    outputs = {t.name: real_values(stored[t.name], t) for t in quantised.outputs}
    first = graph.outputs[0]
    float_accuracy = int8_accuracy = agreement = None
    if has_classes(graph):
        float_class, int8_class = (_classes(first, values[first.name], len(data)) for values in (real, outputs))
        agreement = _share(float_class, int8_class)
        if data.labels is not None and float_class.shape == data.labels.shape:
            float_accuracy, int8_accuracy = _share(float_class, data.labels), _share(int8_class, data.labels)
    return Judgement(
        samples=len(data),
        float_accuracy=float_accuracy,
        int8_accuracy=int8_accuracy,
        agreement=agreement,
        snr=_snr([(real[name], values) for name, values in outputs.items()]),
        layers=_layers(graph, quantised, data.sample(_LAYER_SAMPLES), progress),
    )


def check_labels(graph: Graph, data: Dataset) -> None:
    """Refuse classes that a row of scores does not have.

    Raises:
        DatasetError: with the range that is expected.
    """
    output = graph.outputs[0]
    if data.labels is None or output.dtype is DType.INT32 or not has_classes(graph):
        return
    low, high = int(data.labels.min()), int(data.labels.max())
    if low < 0 or high >= output.elements:
        raise DatasetError(
            f"the labels go from {low} to {high}, and the network has {output.elements} classes: 0 to "
            f"{output.elements - 1} are expected"
        )


def lost_points(quantised: Graph, data: Dataset, real: NDArray[Any]) -> float:
    """Return the points of accuracy that are lost; of agreement with the float network where no labels are known.

    Args:
        quantised: the form to judge.
        data: samples; `real` has the output of the float network on them, a row of scores each.
    """
    (y,) = quantised.outputs
    stored = Runner(quantised).joined(quantised_inputs(quantised, data))[y.name]
    chosen, wanted = (_classes(y, values, len(data)) for values in (stored, real))
    if data.labels is None or data.labels.shape != wanted.shape:
        return 100 * (1 - _share(chosen, wanted))
    return 100 * (_share(wanted, data.labels) - _share(chosen, data.labels))


def has_classes(graph: Graph) -> bool:
    """Whether the only output of a graph is a row of scores, or classes themselves."""
    if len(graph.outputs) != 1:
        return False
    (y,) = graph.outputs
    return y.dtype is DType.INT32 or (y.shape[-1:] == (y.elements,) and y.elements > 1)


def _classes(output: Tensor, values: NDArray[Any], count: int) -> NDArray[Any]:
    """Return the class of each of `count` samples, or of each pixel of them where the output has these."""
    rows = values.reshape(count, -1)
    if output.dtype is not DType.INT32:
        return np.asarray(rows.argmax(axis=1))
    return rows[:, 0] if rows.shape[1] == 1 else rows


def _share(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Return the share of equal elements."""
    return float(np.mean(a == b))


def quantised_inputs(quantised: Graph, data: Dataset) -> dict[str, NDArray[Any]]:
    """Return samples in the units of an int8 graph's inputs."""
    return {
        t.name: data.inputs[t.name] if t.quant is None else quantised_values(data.inputs[t.name], t)
        for t in quantised.inputs
    }


def _layers(graph: Graph, quantised: Graph, data: Dataset, progress: Callable[[str], None]) -> tuple[JudgedLayer, ...]:
    known = {t.name: t for t in graph.tensors}
    kinds = {t.name: op.kind for op in quantised.operators for t in op.outputs}
    names = [t for t in quantised.tensors if t.name in known and not t.is_constant and t.quant is not None]
    signal, noise = dict.fromkeys(kinds, 0.0), dict.fromkeys(kinds, 0.0)
    int8_runner, done = Runner(quantised), 0
    progress(f"comparing layers on {len(data)} samples")
    for some, real in Runner(graph).run(data.inputs, keep=True):
        part = Dataset(inputs={name: array[done : done + some] for name, array in data.inputs.items()})
        stored = int8_runner.joined(quantised_inputs(quantised, part), keep=True)
        for tensor in names:
            if tensor.name in kinds:
                value = real[tensor.name].astype(np.float64)
                signal[tensor.name] += float((value**2).sum())
                noise[tensor.name] += float(((real_values(stored[tensor.name], tensor) - value) ** 2).sum())
        done += some
        progress(f"comparing layers: {done} of {len(data)} samples")
    return tuple(
        JudgedLayer(
            name=t.name,
            kind=kinds[t.name],
            snr=_decibels(signal[t.name], noise[t.name]),
            low=t.scale * (-128 - t.zero_point),
            high=t.scale * (127 - t.zero_point),
        )
        for t in names
        if t.name in kinds
    )


def real_values(values: NDArray[Any], tensor: Tensor) -> NDArray[np.float64]:
    """Return stored values as real numbers."""
    return values.astype(np.float64) if tensor.quant is None else tensor.quant.real(values)


def _snr(pairs: list[tuple[NDArray[np.generic], NDArray[np.float64]]]) -> float:
    signal = sum(float((real.astype(np.float64) ** 2).sum()) for real, _ in pairs)
    noise = sum(float(((stored - real.astype(np.float64)) ** 2).sum()) for real, stored in pairs)
    return _decibels(signal, noise)


def _decibels(signal: float, noise: float) -> float:
    return float("inf") if noise == 0 else float("-inf") if signal == 0 else 10 * float(np.log10(signal / noise))
