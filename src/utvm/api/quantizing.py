"""Float networks: quantised with typical inputs, judged, and ready for the road of int8 models."""

from __future__ import annotations

import resource
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.api.assembling import as_board
from utvm.api.costing import cost
from utvm.api.quantized import QuantizedModel
from utvm.api.stopwatch import Stopwatch
from utvm.arguments import checked_arguments
from utvm.boards import Board
from utvm.errors import UtvmError
from utvm.frontends import load
from utvm.frontends.inputs import check_identifiers
from utvm.frontends.torch import exported_graph, exported_module
from utvm.graph import DType, Graph
from utvm.passes import ChannelsLast, prepare_float
from utvm.progress import end, say
from utvm.quantization import (
    BoardCost,
    Dataset,
    Judgement,
    Keep,
    Method,
    Pixels,
    Quantized,
    ValueRange,
    check_labels,
    dataset_of,
    folded,
    judge,
    quantize_float,
    read_dataset,
)
from utvm.report import QuantizeReport

Source = str | Path | Graph | Any
"""A model file, a graph, a `torch.export.ExportedProgram`, or a `torch.nn.Module`."""

Samples = str | Path | NDArray[Any] | Sequence[Any] | Mapping[str, NDArray[Any]]
"""A file or folder, the array of the only input, or arrays by name (of labels too); lists stand for arrays."""

CALIBRATION_SAMPLES = 200


@checked_arguments
def quantize(
    model: Source,
    data: Samples,
    *,
    example_inputs: tuple[Any, ...] | None = None,
    evaluate: Samples | None = None,
    labels: str | Path | None = None,
    samples: int = CALIBRATION_SAMPLES,
    method: Method | str = Method.PERCENTILE,
    weights: Method | str = Method.MIN_MAX,
    correct: bool = True,
    equalize: bool = False,
    keep_accuracy: float | None = None,
    board: str | Path | Board | None = None,
    pixels: Pixels | None = None,
    fold_pixels: bool = False,
) -> QuantizedModel:
    """Quantise a float network to int8.

    Args:
        model: a float model file, a float graph, a `torch.export.ExportedProgram`, or a `torch.nn.Module`.
        example_inputs: what a module is called with, of one sample; needed for modules alone.
        data: typical inputs. `samples` of them are drawn for calibration.
        evaluate: inputs to judge by; `data` if None.
        labels: a file with the class of each sample that is judged by.
        samples: how many calibrate.
        method: how ranges of activations are chosen: min-max, percentile or least-squares.
        weights: how scales of weights are chosen: min-max or least-squares.
        correct: whether biases are corrected for what rounding does to means.
        equalize: whether the channels between layers are equalised first: for layers whose channels differ much.
        keep_accuracy: points of accuracy that may be lost; some operators become int16 or stay float32, the fewest,
            or with a board those that take the fewest cycles.
        board: where the network is to fit and run, for `keep_accuracy` and the report.
        pixels: what the network expects of bytes and pictures.
        fold_pixels: whether `pixels` go into the network, so that its input is a camera's bytes, uint8.

    Raises:
        UtvmError: the model or the data can't be read, or an operator has no int8 form.

    Example:
        quantised = utvm.quantize("float.onnx", samples)  # samples: float32, [count, *shape of the input]
        compiled = utvm.compile(quantised, "qemu-cortex-m7")
    """
    ranges, scales = _method(method), _method(weights)
    if not isinstance(samples, int) or samples < 1:
        raise UtvmError(f"{samples!r} samples can't calibrate: give 1 or more")
    if keep_accuracy is not None and not 0 <= keep_accuracy <= 100:
        raise UtvmError(f"{keep_accuracy} points of accuracy make no sense: give 0 to 100")
    if fold_pixels and pixels is None:
        raise UtvmError("there is nothing to fold: say what the network expects of pixels (--mean, --std)")
    watch = Stopwatch()
    with watch.stage("import"):
        prepared = float_network(model, example_inputs)
        graph = prepared.graph
        given = _dataset(data, prepared, pixels, labels if evaluate is None else None)
        judged_by = given if evaluate is None else _dataset(evaluate, prepared, pixels, labels)
        check_labels(graph, judged_by)
        for each in (given, judged_by):
            check_identifiers(graph, each.inputs)
        fixed: Mapping[str, ValueRange] = {}
        if fold_pixels and pixels is not None:
            changed = folded(graph, (given, judged_by), pixels)
            graph, fixed, (given, judged_by) = changed.graph, changed.fixed, changed.data
    target = None if board is None else as_board(board)
    keep = None
    if keep_accuracy is not None:
        price = None if target is None else partial(_cost, board=target)
        keep = Keep(points=float(keep_accuracy), data=judged_by, cost=price)
    with watch.stage("quantise"):
        quantised = quantize_float(
            graph,
            given.sample(samples),
            method=ranges,
            weights=scales,
            correct=correct,
            equalize=equalize,
            keep=keep,
            fixed=fixed,
            unsigned=fold_pixels,
            progress=say,
        )
    with watch.stage("judge"):
        judgement = judge(quantised.real, quantised.graph, judged_by, say)
    end()
    report = _report(prepared, quantised, judgement, min(samples, len(given)), watch)
    if target is not None:
        report = replace(report, board=target.name, cost=_cost(quantised.graph, target))
    report = replace(report, wanted=keep_accuracy)
    return QuantizedModel(graph=quantised.graph, file=quantised.file, report=report)


def float_network(model: Source, example_inputs: tuple[Any, ...] | None = None) -> ChannelsLast:
    """Return a float model after the passes of float networks; see `quantize`.

    Raises:
        UtvmError: it can't be read, or is no float network.
    """
    graph = _float_graph(model, example_inputs)
    strange = [t for t in (*graph.inputs, *graph.outputs) if t.dtype not in (DType.FLOAT32, DType.INT32)]
    made = {t.dtype for op in graph.operators for t in op.outputs}
    if strange or DType.FLOAT32 not in made or not made <= {DType.FLOAT32, DType.BOOL, DType.INT32}:
        what = f"'{strange[0].name}' is {strange[0].dtype}" if strange else "a part of it computes in integers"
        raise UtvmError(f"{graph.name} is no float32 network ({what}): it needs no quantising, compile it as it is")
    return prepare_float(graph)


def _cost(graph: Graph, board: Board) -> BoardCost:
    found = cost(graph, board)
    fits = found.arena_bytes <= found.ram_bytes and found.flash_bytes <= found.storage_bytes
    return BoardCost(cycles=found.cycles, arena_bytes=found.arena_bytes, flash_bytes=found.flash_bytes, fits=fits)


def _method(name: Method | str) -> Method:
    try:
        return Method(name)
    except ValueError:
        raise UtvmError(f"no method is named '{name}'; there are: {', '.join(Method)}") from None


def _float_graph(model: Source, example_inputs: tuple[Any, ...] | None) -> Graph:
    if isinstance(model, Graph):
        return model
    if isinstance(model, str | Path):
        return load(Path(model))
    # Without the package imported there is no object of it.
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(model, torch.nn.Module | torch.export.ExportedProgram):
        raise UtvmError(
            f"a {type(model).__name__} is no model: give a file, a graph, a torch.nn.Module or an ExportedProgram"
        )
    if isinstance(model, torch.nn.Module):
        if example_inputs is None:
            raise UtvmError("a module is traced with example inputs: give example_inputs=(tensor,), of one sample")
        return exported_graph(exported_module(model, example_inputs), name=type(model).__name__.lower())
    return exported_graph(model)


def _dataset(data: Samples, prepared: ChannelsLast, pixels: Pixels | None, labels: str | Path | None) -> Dataset:
    inputs, orders = prepared.graph.inputs, prepared.inputs
    if isinstance(data, str | Path):
        return read_dataset(Path(data), inputs, orders, pixels=pixels, labels=None if labels is None else Path(labels))
    named = data if isinstance(data, Mapping) else {inputs[0].name: data}
    try:
        arrays = {name: np.asarray(values) for name, values in named.items()}
    except Exception as error:
        raise UtvmError(f"the data are no arrays ({type(error).__name__}): give numpy arrays of numbers") from error
    return dataset_of(arrays, inputs, orders, pixels=pixels)


def _report(
    prepared: ChannelsLast, quantised: Quantized, judgement: Judgement, samples: int, watch: Stopwatch
) -> QuantizeReport:
    graph = quantised.graph
    reordered = tuple(name for name in (*prepared.inputs, *prepared.outputs))
    return QuantizeReport(
        model=graph.name,
        calibrated=samples,
        judgement=judgement,
        inputs=graph.inputs,
        outputs=graph.outputs,
        reordered=reordered,
        file_bytes=len(quantised.file),
        seconds=watch.seconds,
        distributions=quantised.distributions,
        kept=quantised.kept,
        peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )
