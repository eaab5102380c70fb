"""The whole way: calibrate, quantise, correct, write as TFLite."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from utvm.frontends import FrontendError, load_tflite
from utvm.frontends.tflite_writer import write_tflite
from utvm.graph import Graph
from utvm.quantization.calibration import bias_corrections, distributions
from utvm.quantization.dataset import Dataset
from utvm.quantization.quantizer import QuantizationError, quantize_graph
from utvm.quantization.ranges import Distribution, Method, Range
from utvm.quantization.tflite_form import tflite_form


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Quantized:
    """An int8 network.

    Attributes:
        file: a .tflite file; `graph` is that file as read again.
        distributions: what calibration saw, by the float graph's tensors.
    """

    graph: Graph
    file: bytes
    distributions: Mapping[str, Distribution]


def quantize_float(
    graph: Graph,
    data: Dataset,
    *,
    method: Method = Method.PERCENTILE,
    weights: Method = Method.MIN_MAX,
    correct: bool = True,
    progress: Callable[[str], None] = lambda text: None,
) -> Quantized:
    """Quantise a float graph whose images are [N,H,W,C].

    Args:
        graph: as `prepare_float` returns it.
        data: typical inputs, some hundred.
        method: how ranges of activations follow from what calibration saw; inputs and outputs keep all of it.
        weights: how scales of weights are chosen, one for each output channel.
        correct: whether biases make up for the means that rounding moves.
        progress: called with one line of text now and then.

    Raises:
        QuantizationError: an operator has no int8 form, or a value of the network is not finite.
    """
    seen = distributions(graph, data.inputs, progress)
    ends = {t.name for t in (*graph.inputs, *graph.outputs)}
    ranges: dict[str, Range] = {
        name: found.range(Method.MIN_MAX if name in ends else method) for name, found in seen.items()
    }
    quantised = quantize_graph(graph, ranges, weights=weights)
    if correct:
        corrections = bias_corrections(graph, quantised, data.inputs, progress)
        quantised = quantize_graph(graph, ranges, weights=weights, corrections=corrections)
    try:
        file = write_tflite(tflite_form(quantised))
        return Quantized(graph=load_tflite(file, name=graph.name), file=file, distributions=seen)
    except FrontendError as error:
        raise QuantizationError(f"the int8 network can't be written: {error}") from error
