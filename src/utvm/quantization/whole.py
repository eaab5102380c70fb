"""The whole way: calibrate, quantise, correct, write as TFLite."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from utvm.frontends import FrontendError, load_tflite
from utvm.frontends.tflite_writer import write_tflite
from utvm.graph import DType, Graph, Softmax, Weighted
from utvm.quantization.calibration import bias_corrections, distributions
from utvm.quantization.dataset import Dataset
from utvm.quantization.equalization import equalized
from utvm.quantization.judging import has_classes
from utvm.quantization.keeping import BoardCost, Kept, Types, keep_accuracy
from utvm.quantization.kept_types import carried_sums, float_alone
from utvm.quantization.pixels import bytes_in
from utvm.quantization.quantizer import QuantizationError, quantize_graph
from utvm.quantization.ranges import Distribution, Method, ValueRange
from utvm.quantization.tflite_forms import tflite_form

_REACH = 24.0
"""How far below the largest score of all samples another one may count."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Quantized:
    """An int8 network.

    Attributes:
        real: the float graph that it was made of; equalised where asked.
        file: a .tflite file; `graph` is that file as read again.
        distributions: what calibration saw, by the float graph's tensors.
        kept: the choices of operators in int16 and float32 that were measured; the last was taken.
    """

    real: Graph
    graph: Graph
    file: bytes
    distributions: Mapping[str, Distribution]
    kept: tuple[Kept, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Keep:
    """How much accuracy is kept.

    Attributes:
        points: of accuracy that may be lost, in per cent of samples.
        data: samples to judge by.
        cost: what a network costs on the user's board; None where none was named.
    """

    points: float
    data: Dataset
    cost: Callable[[Graph], BoardCost] | None = None


def quantize_float(
    graph: Graph,
    data: Dataset,
    *,
    method: Method = Method.PERCENTILE,
    weights: Method = Method.MIN_MAX,
    correct: bool = True,
    equalize: bool = False,
    keep: Keep | None = None,
    fixed: Mapping[str, ValueRange] | None = None,
    unsigned: bool = False,
    progress: Callable[[str], None] = lambda text: None,
) -> Quantized:
    """Quantise a float graph whose images are [N,H,W,C].

    Args:
        graph: as `prepare_float` returns it.
        data: typical inputs, some hundred.
        method: how ranges of activations follow from what calibration saw; inputs and outputs keep all of it.
        weights: how scales of weights are chosen, one for each output channel.
        correct: whether biases make up for the means that rounding moves.
        equalize: whether the channels between layers are equalised first.
        keep: how much accuracy is kept by operators in int16 and float32; None keeps none.
        fixed: ranges of inputs that are known.
        unsigned: whether inputs are bytes without a sign, as of a camera.
        progress: called with one line of text now and then.

    Raises:
        QuantizationError: an operator has no int8 form, a value of the network is not finite, or accuracy can't be
            kept.
    """
    if equalize:
        graph = equalized(graph, data.inputs, progress)
    seen = distributions(graph, data.inputs, progress)
    progress("choosing ranges")
    ends = {t.name for t in (*graph.inputs, *graph.outputs)}
    ranges = {name: found.range(Method.MIN_MAX if name in ends else method) for name, found in seen.items()}
    ranges |= _scores(graph, ranges)
    # 16 bits have room for all that was seen.
    wide = {name: found.range(Method.MIN_MAX) for name, found in seen.items()}
    by_type = {DType.INT8: ranges | dict(fixed or {}), DType.INT16: wide | dict(fixed or {})}
    always = dict.fromkeys(float_alone(graph), DType.FLOAT32)
    usual = dict.fromkeys(carried_sums(graph), DType.INT16)

    @cache
    def corrections(dtype: DType) -> Mapping[str, NDArray[np.float64]]:
        """Return what is taken from biases where all layers with weights have a type."""
        progress("quantising, to correct biases")
        layers = {op.name: dtype for op in graph.operators if isinstance(op, Weighted)}
        quantised = quantize_graph(graph, by_type, weights=weights, kept=usual | layers | always)
        return bias_corrections(graph, quantised, data.inputs, progress)

    def make(types: Types) -> Graph:
        taken: dict[str, NDArray[np.float64]] = {}
        if correct:
            taken.update(corrections(DType.INT8))
            for name in (name for name, dtype in types.items() if dtype is DType.INT16):
                if name in taken:
                    taken[name] = corrections(DType.INT16)[name]
        return quantize_graph(graph, by_type, weights=weights, corrections=taken, kept={**usual, **types, **always})

    choices: tuple[Kept, ...] = ()
    if keep is not None:
        if not has_classes(graph):
            raise QuantizationError(f"{graph.name} has no row of scores as its output: no accuracy can be kept")
        choices = keep_accuracy(graph, make, keep.data, keep.points, keep.cost, progress)
    made = make(choices[-1].types if choices else {})
    progress("writing the file and reading it again")
    try:
        file = write_tflite(tflite_form(bytes_in(made) if unsigned else made))
        read = load_tflite(file, name=graph.name)
    except FrontendError as error:
        raise QuantizationError(f"the int8 network can't be written: {error}") from error
    return Quantized(real=graph, graph=read, file=file, distributions=seen, kept=choices)


def _scores(graph: Graph, ranges: Mapping[str, ValueRange]) -> dict[str, ValueRange]:
    """Return closer ranges of what only a softmax reads: further below the largest value it gives 0 in eight bits."""
    found = {}
    for op in graph.operators:
        if isinstance(op, Softmax) and op.x.name in ranges and graph.consumers[op.x] == (op,):
            seen = ranges[op.x.name]
            found[op.x.name] = ValueRange(low=min(0.0, max(seen.low, seen.high - _REACH)), high=seen.high)
    return found
