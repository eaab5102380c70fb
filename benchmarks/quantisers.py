"""Accuracy of int8 networks by quantiser: µTVM's own, and onnxruntime's, PyTorch's pt2e and ai-edge-quantizer's.

Run `python benchmarks/quantisers.py [--shared DIR] [--kept DIR] [NAME ...]`; it writes a table to standard output. The
PyTorch networks are trained first, in minutes, where DIR has no weights of theirs. A peer that is not installed has no
row. Every int8 network is computed by µTVM's reference, whose arithmetic is tflite-micro's; `apart` is the largest
distance of its outputs, in steps, from what the peer itself computes: pairs in real numbers, operators in integers.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import utvm
from utvm.frontends.tflite_encoders import ENCODERS
from utvm.frontends.tflite_writer import Subgraph, write_subgraphs
from utvm.frontends.torch import exported_graph
from utvm.graph import DType, Graph
from utvm.passes import prepare_float
from utvm.quantization import Dataset
from utvm.quantization.batches import Runner
from utvm.quantization.tflite_forms import tflite_form

Array = NDArray[Any]
CALIBRATION = 200
APART = 1000
"""Inputs that are compared with real numbers."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Network:
    """A float network with samples as its file takes them.

    Attributes:
        source: what `utvm.quantize` takes.
        module: a PyTorch module, None where there is none.
        onnx: the file, None where it is no ONNX.
        tflite: the owners' float file, None where there is none.
        owners: the owners' int8 file.
    """

    name: str
    source: Any
    train: Array
    test: Array
    labels: Array
    module: Any = None
    onnx: Path | None = None
    tflite: Path | None = None
    owners: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What a quantiser reached: shares of right classes; `apart` in steps of the output; `megabytes` at most in use."""

    quantiser: str
    accuracy: float
    own_accuracy: float | None = None
    apart: int | None = None
    seconds: float | None = None
    megabytes: float | None = None


def has(package: str) -> bool:
    """Whether a peer is installed."""
    return importlib.util.find_spec(package) is not None


def run_int8(graph: Graph, x: Array) -> Array:
    """Return the stored outputs of an int8 graph on real inputs in the order of its file or of the graph."""
    (port,) = graph.inputs
    wanted = port.shape[1:]
    if x.shape[1:] != wanted:
        x = np.moveaxis(x, 1, -1)
    data = Dataset(inputs={port.name: x.reshape(len(x), *wanted)})
    if port.dtype is DType.FLOAT32:
        given: Mapping[str, Array] = data.inputs
    else:
        given = {port.name: np.clip(np.rint(x / port.scale) + port.zero_point, -128, 127).astype(np.int8)}
        given = {port.name: given[port.name].reshape(len(x), *wanted)}
    return next(iter(Runner(graph).joined(given).values())).reshape(len(x), -1)


def share(scores: Array, labels: Array) -> float:
    """Return the share of right classes in per cent."""
    return 100 * float((scores.reshape(len(labels), -1).argmax(axis=1) == labels).mean())


def own(network: Network) -> Iterator[Row]:
    """µTVM's quantiser."""
    for name, options in {
        "µTVM": {},
        "µTVM, least squares": {"method": "least-squares"},
        "µTVM, equalised": {"equalize": True},
    }.items():
        began = time.monotonic()
        made = utvm.quantize(
            network.source,
            network.train[:CALIBRATION],
            evaluate={"samples": network.test, "labels": network.labels},
            example_inputs=_example(network),
            **options,
        )
        found = made.report.judgement
        if name == "µTVM":
            yield Row(quantiser="float", accuracy=100 * (found.float_accuracy or 0))
        seconds = made.report.seconds["quantise"]
        megabytes = made.report.peak_bytes / 2**20
        yield Row(quantiser=name, accuracy=100 * (found.int8_accuracy or 0), seconds=seconds, megabytes=megabytes)
        print(f"  {name}: {time.monotonic() - began:.0f} s", flush=True)


def owners(network: Network) -> Iterator[Row]:
    """The owners' own int8 file."""
    if network.owners is not None:
        yield Row(
            quantiser="the owners' int8 file",
            accuracy=share(run_int8(utvm.load(network.owners), network.test), network.labels),
        )


def onnxruntime(network: Network) -> Iterator[Row]:
    """onnxruntime's static quantiser; by itself without optimisations: pairs in real numbers, operators in integers."""
    if network.onnx is None or not has("onnxruntime"):
        return
    import onnx
    import onnxruntime as ort
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    name = onnx.load(network.onnx).graph.input[0].name

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.samples = iter(network.train[:CALIBRATION])

        def get_next(self) -> dict[str, Array] | None:
            sample = next(self.samples, None)
            return None if sample is None else {name: sample[None]}

    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        quant_pre_process(str(network.onnx), str(before), skip_symbolic_shape=True)
        for what, form in {"pairs": QuantFormat.QDQ, "operators": QuantFormat.QOperator}.items():
            began = time.monotonic()
            quantize_static(
                *(str(before), str(after), Reader()),
                quant_format=form,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
            )
            seconds = time.monotonic() - began
            options = ort.SessionOptions()
            options.intra_op_num_threads = 1
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
            session = ort.InferenceSession(str(after), options, providers=["CPUExecutionProvider"])

            def real(x: Array, session: Any = session) -> Array:
                return np.concatenate([session.run(None, {name: each[None]})[0] for each in x])

            yield _compared(f"onnxruntime, {what}", network, utvm.load(after), real, seconds)


def pt2e_program(module: Any, samples: Array) -> tuple[Any, Any]:
    """Return a module as pt2e with the XNNPACK quantiser quantises it, and its program."""
    import torch
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.testing.pt2e._xnnpack_quantizer import XNNPACKQuantizer, get_symmetric_quantization_config

    example = torch.tensor(samples[:1])
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(torch.export.export(module, (example,)).module(), quantizer)
    for sample in samples:
        prepared(torch.tensor(sample[None]))
    converted = convert_pt2e(prepared)
    return converted, torch.export.export(converted, (example,))


def pt2e(network: Network) -> Iterator[Row]:
    """PyTorch's pt2e; run by itself in real numbers."""
    if network.module is None or not has("torchao"):
        return
    import torch

    began = time.monotonic()
    converted, program = pt2e_program(network.module, network.train[:CALIBRATION])
    seconds = time.monotonic() - began

    def real(x: Array) -> Array:
        with torch.no_grad():
            return np.concatenate([converted(torch.tensor(each[None])).numpy() for each in x])

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.pt2"
        torch.export.save(program, path)
        graph = utvm.load(path)
    assert len(graph.operators) == len(exported_graph(program).operators)
    yield _compared("PyTorch pt2e", network, graph, real, seconds)


def ai_edge(network: Network) -> Iterator[Row]:
    """ai-edge-quantizer, static int8, on a float .tflite file."""
    if not has("ai_edge_quantizer"):
        return
    from ai_edge_quantizer import quantizer, recipe

    with tempfile.TemporaryDirectory() as folder:
        path, made = network.tflite, Path(folder) / "int8.tflite"
        if path is None or not _has_signature(path):
            path = Path(folder) / "float.tflite"
            path.write_bytes(_with_signature(_float_graph(network)))
        graph = utvm.load(path)
        (port,) = graph.inputs
        train = network.train[:CALIBRATION]
        train = train if train.shape[1:] == port.shape[1:] else np.moveaxis(train, 1, -1)
        began = time.monotonic()
        tool = quantizer.Quantizer(str(path), recipe.static_wi8_ai8())
        keys = _signature(path)
        samples = [{keys[1]: each.reshape(port.shape).astype(np.float32)} for each in train]
        result = tool.quantize(tool.calibrate({keys[0]: samples}))
        made.write_bytes(bytes(result.quantized_model))
        seconds = time.monotonic() - began
        scores = run_int8(utvm.load(made), network.test)
    yield Row(quantiser="ai-edge-quantizer", accuracy=share(scores, network.labels), seconds=seconds)


def bakenn(network: Network) -> Iterator[Row]:
    """BakeNN's own quantiser of PyTorch modules, computed by its reference."""
    if network.module is None:
        return
    import torch
    from bakenn import compile_torch_ptq, dequantize_output, quantize_input, run_reference

    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        samples = [torch.tensor(each[None]) for each in network.train[:CALIBRATION]]
        made = compile_torch_ptq(network.module, samples[0], samples, folder)
        seconds = time.monotonic() - began
        plan = made.plan
        some = min(len(network.test), 500)
        scores = [
            dequantize_output(plan, run_reference(plan, quantize_input(plan, x[None]))) for x in network.test[:some]
        ]
    yield Row(
        quantiser=f"BakeNN ({some} samples)", accuracy=share(np.array(scores), network.labels[:some]), seconds=seconds
    )


def _with_signature(graph: Graph) -> bytes:
    """Return a float file with the signature that ai-edge-quantizer asks for."""
    graph = tflite_form(graph)
    operators = [ENCODERS[type(op)](op) for op in graph.operators]
    part = Subgraph(name="main", inputs=graph.inputs, outputs=graph.outputs, operators=operators)
    return write_subgraphs([part], {"serving_default": 0})


def _has_signature(path: Path) -> bool:
    from ai_edge_litert.interpreter import Interpreter

    return bool(Interpreter(str(path)).get_signature_list())


def _signature(path: Path) -> tuple[str, str]:
    """Return the names of the first signature and of its first input."""
    from ai_edge_litert.interpreter import Interpreter

    listed = Interpreter(str(path)).get_signature_list()
    key = next(iter(listed))
    return key, listed[key]["inputs"][0]


def _float_graph(network: Network) -> Graph:
    if network.module is not None:
        from utvm.frontends.torch import exported_module

        return prepare_float(exported_graph(exported_module(network.module, _example(network) or ()))).graph
    return prepare_float(utvm.load(network.source)).graph


def _compared(name: str, network: Network, graph: Graph, real: Callable[[Array], Array], seconds: float) -> Row:
    stored = run_int8(graph, network.test)
    (y,) = graph.outputs
    scores = real(network.test)
    steps = np.rint(scores[:APART].reshape(-1, stored.shape[1]) / y.scale) + y.zero_point
    return Row(
        quantiser=name,
        accuracy=share(stored, network.labels),
        own_accuracy=share(scores, network.labels),
        apart=int(np.abs(stored[:APART].astype(np.int64) - steps).max()),
        seconds=seconds,
    )


def _example(network: Network) -> tuple[Any, ...] | None:
    if network.module is None:
        return None
    import torch

    return (torch.tensor(network.train[:1]),)


def files(shared: Path) -> Iterator[Network]:
    """Yield the networks that lie beside this project."""
    from torch_networks import pictures_of

    models = shared / "models"
    train, _, test, labels = pictures_of(shared / "data", 400)
    planes = [x.transpose(0, 3, 1, 2).astype(np.float32) for x in (train, test)]
    arm = models / "cifar10_arm" / "cifar10_cnn_float.onnx"
    yield Network(name="Arm's CIFAR-10 CNN", source=arm, train=planes[0], test=planes[1], labels=labels, onnx=arm)
    resnet = models / "mlperf_tiny_float" / "ic_resnet8_float.tflite"
    yield Network(
        name="MLPerf Tiny ResNet8",
        source=resnet,
        train=train.astype(np.float32),
        test=test.astype(np.float32),
        labels=labels,
        tflite=resnet,
        owners=models / "mlperf_tiny" / "ic_resnet8_int8.tflite",
    )
    with np.load(shared / "data" / "kws" / "test_500.npz") as found:
        words, labels = found["features"].astype(np.float32), found["labels"].astype(np.int64)
    int8 = models / "mlperf_tiny" / "kws_dscnn_int8.tflite"
    (port,) = utvm.load(int8).inputs
    words = ((words - port.zero_point) * port.scale).astype(np.float32)
    hybrid = models / "mlperf_tiny_float" / "kws_dscnn_float.tflite"
    yield Network(
        name="MLPerf Tiny DS-CNN", source=hybrid, train=words, test=words, labels=labels, tflite=hybrid, owners=int8
    )


def modules(shared: Path, kept: Path, wanted: Callable[[str], bool]) -> Iterator[Network]:
    """Yield the PyTorch networks, trained."""
    import torch
    from torch_networks import NETWORKS, Task, trained

    torch.set_num_threads(1)
    tasks: dict[Any, Task] = {}
    for name, (_, data, _) in NETWORKS.items():
        if not wanted(f"PyTorch, {name}"):
            continue
        if data not in tasks:
            tasks[data] = data(shared / "data")
        task = tasks[data]
        module = trained(name, task, kept)
        onnx = None
        if has("onnxscript"):
            onnx = kept / f"{name}.onnx"
            torch.onnx.export(module, (torch.tensor(task.train[:1]),), str(onnx), dynamo=True, external_data=False)
        yield Network(
            name=f"PyTorch, {name}",
            source=module,
            train=task.train[np.random.default_rng(0).permutation(len(task.train))],
            test=task.test,
            labels=task.test_labels,
            module=module,
            onnx=onnx,
        )


def table(name: str, rows: Sequence[Row]) -> str:
    """Return a network's rows."""
    lines = []
    for row in rows:
        own_accuracy = "" if row.own_accuracy is None else f"{row.own_accuracy:.2f}"
        apart = "" if row.apart is None else str(row.apart)
        seconds = "" if row.seconds is None else f"{row.seconds:.1f}"
        memory = "" if row.megabytes is None else f"{row.megabytes:.0f}"
        values = f"{row.accuracy:.2f} | {own_accuracy} | {apart} | {seconds} | {memory}"
        lines.append(f"| {name} | {row.quantiser} | {values} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    parser.add_argument("--kept", type=Path, default=Path("build"), help="where trained weights are kept")
    parser.add_argument("--count", type=int, default=5000, help="samples to judge by")
    parser.add_argument("names", nargs="*", help="parts of names of networks; all if none")
    arguments = parser.parse_args()
    arguments.kept.mkdir(parents=True, exist_ok=True)
    texts = [
        "| network | quantiser | accuracy in % | by itself | apart | seconds | MB at most |",
        "|---|---|---|---|---|---|---|",
    ]

    def wanted(name: str) -> bool:
        return not arguments.names or any(part in name for part in arguments.names)

    sources = [files(arguments.shared), *([modules(arguments.shared, arguments.kept, wanted)] if has("torch") else [])]
    for network in (network for source in sources for network in source):
        if not wanted(network.name):
            continue
        count = arguments.count
        network = replace(network, test=network.test[:count], labels=network.labels[:count])
        print(network.name, flush=True)
        rows: list[Row] = []
        for peer in (own, owners, onnxruntime, pt2e, ai_edge, bakenn):
            try:
                rows += peer(network)
            except Exception as error:
                print(f"  {peer.__name__} fails: {type(error).__name__}: {str(error)[:300]}", flush=True)
        texts.append(table(network.name, rows))
        print(texts[-1], flush=True)
    print("\n".join(texts))


if __name__ == "__main__":
    main()
