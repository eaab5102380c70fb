"""Float networks become int8 files: exact to tflite-micro, close to the float network, said in a report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tflite

import utvm
from tests.support.loops import Recurrent
from tests.support.onnx_files import convnet, expected, model, node
from tests.support.oracle import Oracle
from tests.support.typed import typed_file
from utvm.cli import main
from utvm.errors import UtvmError
from utvm.frontends import load_tflite
from utvm.frontends.builder import GraphBuilder
from utvm.frontends.onnx import load_onnx
from utvm.frontends.tflite_writer import write_tflite
from utvm.graph import Add, DType, Elementwise, FullyConnected, Gather, Graph, Relu, Tanh, Tensor
from utvm.graph.functions import function
from utvm.graph.reference import evaluate
from utvm.passes import prepare_float
from utvm.quantization import Method, ValueRange
from utvm.quantization.quantizer import quantize_graph
from utvm.quantization.tflite_forms import tflite_form

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(0, 1, (60, 3, 16, 12)).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, samples of it in its own order, and the float network's classes as labels."""
    path = tmp_path_factory.mktemp("quantize")
    made = convnet()
    (path / "net.onnx").write_bytes(made.SerializeToString())
    labels = np.array([expected(made, image[None]).argmax() for image in IMAGES])
    np.savez(path / "samples.npz", images=IMAGES, labels=labels, classes=np.array(["a", "b", "c", "d", "e"]))
    return path


@pytest.mark.parametrize("ranges", ["min-max", "percentile", "least-squares"])
def test_the_command(folder: Path, ranges: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "net.int8.tflite"
    given = [str(folder / "net.onnx"), "--data", str(folder / "samples.npz"), "-o", str(out), "--ranges", ranges]
    assert main(["quantize", *given, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["float_accuracy"] == 1.0
    assert report["int8_accuracy"] == report["agreement"] >= 0.9
    assert report["snr_db"] > 25
    assert {layer["operator"] for layer in report["layers"]} >= {"Conv2D", "DepthwiseConv2D", "Add", "FullyConnected"}
    assert report["inputs"][0]["shape"] == [1, 16, 12, 3]
    assert main(["quantize", *given]) == 0
    text = capsys.readouterr().out
    assert "accuracy" in text
    assert "channels are last" in text


def test_the_file_is_what_tflite_micro_computes(folder: Path) -> None:
    made = utvm.quantize(folder / "net.onnx", IMAGES)
    oracle = Oracle(made.file)
    x = made.graph.inputs[0]
    for image in IMAGES[:8]:
        stored = np.clip(np.rint(image.transpose(1, 2, 0)[None] / x.scale) + x.zero_point, -128, 127).astype(np.int8)
        (got,) = oracle.run(stored)
        np.testing.assert_array_equal(got, evaluate(made.graph, [stored])["y"])


def test_data_that_do_not_fit(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(**arrays: np.ndarray) -> str:
        np.savez(tmp_path / "samples.npz", **arrays)
        given = ["--data", str(tmp_path / "samples.npz"), "-o", str(tmp_path / "o.tflite")]
        assert main(["quantize", str(folder / "net.onnx"), *given]) == 2
        return capsys.readouterr().err

    assert "[samples, 3, 16, 12] is expected" in said(images=np.zeros((4, 3, 9, 9), np.float32))
    assert "int8, whose scale is not known" in said(x=np.zeros((4, 3, 16, 12), np.int8))
    assert "not finite" in said(x=np.full((4, 3, 16, 12), np.nan, np.float32))
    x = np.zeros((4, 3, 16, 12), np.float32)
    assert "int64[3]; one whole number" in said(x=x, labels=np.arange(3))
    assert "float64[4]; one whole number" in said(x=x, labels=np.full(4, 0.5))
    assert "0 to 4 are expected" in said(x=x, labels=np.full(4, 5))
    assert "x (its type object is none of numbers)" in said(x=np.array([{}] * 4, object))
    int8 = Path(utvm.__file__).parent / "example" / "cifar10_cnn.tflite"
    assert main(["quantize", str(int8), "--data", str(tmp_path), "-o", str(tmp_path / "o.tflite")]) == 2
    assert "no float32 network" in capsys.readouterr().err


def test_data_for_several_inputs_are_told_all_at_once(tmp_path: Path) -> None:
    builder = GraphBuilder("two")
    a, b = builder.input("a", (1, 6)), builder.input("b", (1, 3, 6))
    graph = builder.graph([("y", builder.add(Add, b.shape, a=a, b=b))])
    x = np.ones((4, 6), np.float32)
    both = r"'a' of shape \[samples, 6\] and 'b' of shape \[samples, 3, 6\] are expected"
    with pytest.raises(UtvmError, match=both):
        utvm.quantize(graph, {"a": x})
    with pytest.raises(UtvmError, match="samples 4 of 'a', 2 of 'b'; as many of each"):
        utvm.quantize(graph, {"a": x, "b": np.ones((2, 3, 6), np.float32)})
    (tmp_path / "picture.png").touch()
    with pytest.raises(UtvmError, match=both):
        utvm.quantize(graph, tmp_path)
    with pytest.raises(UtvmError, match=r"has x\?\[31m \[4, 6\]; "):
        utvm.quantize(graph, {"x\x1b[31m": x})


def test_names_of_a_file_do_not_reach_the_terminal() -> None:
    builder = GraphBuilder("one")
    x = builder.input("x", (1, 6))
    graph = builder.graph([("y", builder.unary(Relu, x))])
    for values in (np.ones((4, 6), np.int8), np.full((4, 6), np.nan, np.float32), np.ones((4, 6), np.complex64)):
        with pytest.raises(UtvmError) as error:
            utvm.quantize(graph, {"a\x1b[31m": values})
        assert str(error.value).isprintable()


@pytest.mark.parametrize("form", ["rows", "floats", "column"])
def test_classes_in_other_forms(form: str) -> None:
    labels = np.arange(40) % 5
    given = {"rows": np.eye(5)[labels], "floats": labels.astype(np.float32), "column": labels[:, None]}[form]
    graph = graph_of([node("Identity", ["x"], ["y"])], (1, 5))
    x = np.eye(5, dtype=np.float32)[labels]
    assert utvm.quantize(graph, {"x": x, "labels": given}).report.judgement.int8_accuracy == 1


def test_other_commands_quantise_first_and_say_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["cost", str(folder / "net.onnx"), "--board", "qemu-cortex-m7"]
    assert main([*command, "--data", str(folder / "samples.npz"), "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["model"] == "net"
    assert "net quantised to int8 on 60 samples: accuracy" in told.err
    assert main(command) == 0
    assert "quantised" not in capsys.readouterr().err


def drawn(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def graph_of(nodes: list[object], shape: tuple[int, ...], **constants: np.ndarray) -> Graph:
    return load_onnx(model(nodes, shape, constants).SerializeToString(), name="made")


@pytest.mark.parametrize("batch", [(), (1,), (2,), (3, 4)])
def test_batches_and_outputs_of_any_shape(batch: tuple[int, ...]) -> None:
    shape, sample = (*batch, 6), ((6,) if batch == (1,) else (*batch, 6))
    for kept in (0, 1):
        nodes = [node("Relu", ["x"], ["r"]), node("ReduceMean", ["r"], ["y"], keepdims=kept)]
        made = utvm.quantize(graph_of(nodes, shape), drawn(20, *sample))
        assert made.graph.inputs[0].shape == shape
        assert made.graph.outputs[0].shape == (1,) * (kept * len(shape))
        assert made.report.judgement.snr > 25
    made = utvm.quantize(graph_of([node("Identity", ["x"], ["y"])], shape), drawn(20, *sample))
    assert [t.name for t in made.graph.outputs] == ["y"]


def test_an_image_of_two_goes_through_layers() -> None:
    graph = graph_of([node("Conv", ["x", "w"], ["y"])], (2, 3, 5, 4), w=drawn(4, 3, 3, 3))
    made = utvm.quantize(graph, drawn(9, 2, 3, 5, 4))
    assert made.graph.inputs[0].shape == (2, 5, 4, 3)
    assert made.report.judgement.snr > 25


def test_values_that_float32_does_not_hold() -> None:
    graph = graph_of([node("Mul", ["x", "x"], ["y"])], (1, 4))
    with pytest.raises(UtvmError, match="'y' has values that are not finite on a sample"):
        utvm.quantize(graph, np.full((3, 4), 1e30, np.float32))


def test_a_sigmoid_of_nothing_but_zeros() -> None:
    graph = graph_of(
        [node("Mul", ["x", "zero"], ["m"]), node("Sigmoid", ["m"], ["y"])], (1, 4), zero=np.zeros(1, np.float32)
    )
    assert utvm.quantize(graph, drawn(5, 4)).report.judgement.snr > 40


def test_arguments_that_make_no_sense() -> None:
    graph = graph_of([node("Relu", ["x"], ["y"])], (1, 5, 3))
    for samples in (0, -3):
        with pytest.raises(UtvmError, match="give 1 or more"):
            utvm.quantize(graph, drawn(4, 5, 3), samples=samples)
    with pytest.raises(UtvmError, match="do not fit pixels"):
        utvm.quantize(graph, np.ones((4, 5, 3), np.uint8), pixels=utvm.quantization.Pixels(mean=(1.0, 2.0)))
    with pytest.raises(UtvmError, match="above 0"):
        utvm.quantization.Pixels(std=())
    with pytest.raises(UtvmError, match="no arrays"):
        utvm.quantize(graph, [[1.0, 2.0], [1.0]])
    assert utvm.quantize(graph, list(drawn(4, 5, 3))).report.calibrated == 4


def test_functions_and_borders_are_what_tflite_micro_computes() -> None:
    nodes = [
        *(node("Pad", ["x", "pads"], ["0"], mode="reflect"), node("Conv", ["0", "a"], ["1"], strides=[2, 2])),
        *(node("HardSwish", ["1"], ["2"]), node("PRelu", ["2", "s"], ["3"]), node("Clip", ["3", "low", "high"], ["4"])),
        *(node("ConvTranspose", ["4", "t"], ["5"], strides=[2, 2], pads=[1, 1, 1, 1]), node("Elu", ["5"], ["6"])),
        *(
            node("ReduceMax", ["6", "last"], ["7"]),
            node("Expand", ["7", "sizes"], ["8"]),
            node("Max", ["6", "8"], ["9"]),
        ),
        *(node("Softplus", ["9"], ["10"]), node("ReduceSum", ["10", "last"], ["11"], keepdims=0)),
        *(node("Flatten", ["11"], ["12"]), node("Gemm", ["12", "f"], ["y"], transB=1)),
    ]
    numbers = {
        "low": np.float32(-0.25),
        "high": np.float32(1.5),
        "last": np.array([3]),
        "sizes": np.array([1, 4, 8, 8]),
    }
    pads = np.array([0, 0, 1, 1, 0, 0, 1, 1])
    weights = {"a": drawn(6, 3, 3, 3), "s": drawn(6, 1, 1), "t": drawn(6, 4, 4, 4), "f": drawn(5, 32)}
    graph = graph_of(nodes, (1, 3, 8, 8), **weights, **numbers, pads=pads)
    quantised = utvm.quantize(graph, drawn(40, 3, 8, 8))
    assert quantised.report.judgement.snr > 20
    oracle = Oracle(quantised.file)
    (x,) = quantised.graph.inputs
    for _ in range(4):
        given = np.random.default_rng(0).integers(-128, 128, x.shape, np.int8)
        (got,) = oracle.run(given)
        np.testing.assert_array_equal(got, evaluate(quantised.graph, [given])["y"])


def test_conditions_stay_bool_beside_float() -> None:
    nodes = [
        *(node("Greater", ["x", "c"], ["over"]), node("Mul", ["x", "c"], ["less"])),
        node("Where", ["over", "x", "less"], ["y"]),
    ]
    made = utvm.quantize(graph_of(nodes, (1, 6), c=np.float32(0.25)), drawn(20, 6))
    assert made.report.judgement.snr > 25


@pytest.mark.parametrize("bound", [1e12, 3.0])
def test_bounds_need_no_room_of_their_own(bound: float) -> None:
    """What divides by a length is bounded far beyond all values; the bound also stands in a sum in int8."""
    nodes = [
        *(node("Mul", ["x", "x"], ["s"]), node("ReduceSum", ["s", "one"], ["l"]), node("Sqrt", ["l"], ["r"])),
        *(node("Reciprocal", ["r"], ["i"]), node("Min", ["i", "most"], ["m"]), node("Mul", ["x", "m"], ["y"])),
    ]
    most = np.array(bound, np.float32)
    assert utvm.quantize(graph_of(nodes, (1, 8), one=np.array([1]), most=most), drawn(30, 8)).report.judgement.snr > 30
    nodes = [node("Max", ["x", "least"], ["m"]), node("Exp", ["m"], ["e"]), node("Sub", ["e", "least"], ["y"])]
    graph = graph_of(nodes, (1, 8), least=np.array(-bound if bound < 9 else -1e3, np.float32))
    assert utvm.quantize(graph, drawn(30, 8)).report.judgement.snr > 25


def test_gelu_of_a_file_stays_as_it_is() -> None:
    builder = GraphBuilder("gelu")
    x = builder.input("x", (1, 6))
    for name in ("Gelu", "GeluTanh"):
        y = builder.add(Elementwise, x.shape, function=function(name), xs=(x,))
        graph = utvm.quantize(builder.graph([("y", y)]), drawn(20, 6)).graph
        assert name in {op.kind for op in graph.operators}


def test_classes_as_places_of_maxima(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nodes = [node("CumSum", ["x", "one"], ["c"]), node("Gemm", ["c", "f"], ["s"], transB=1)]
    made = model([*nodes, node("ArgMax", ["s"], ["y"], axis=1)], (1, 6), {"one": np.array(1), "f": drawn(4, 6)})
    x = drawn(50, 6)
    (tmp_path / "net.onnx").write_bytes(made.SerializeToString())
    np.savez(tmp_path / "data.npz", x=x, labels=np.array([expected(made, each[None]).item() for each in x]))
    given = [str(tmp_path / "net.onnx"), "--data", str(tmp_path / "data.npz"), "-o", str(tmp_path / "o.tflite")]
    assert main(["quantize", *given, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["float_accuracy"] == 1
    assert report["int8_accuracy"] == report["agreement"] > 0.8
    graph, oracle = utvm.load(tmp_path / "o.tflite"), Oracle((tmp_path / "o.tflite").read_bytes())
    for _ in range(4):
        stored = np.random.default_rng(0).integers(-128, 128, (1, 6), np.int8)
        np.testing.assert_array_equal(evaluate(graph, [stored])["y"], oracle.run(stored)[0])


def test_layers_of_any_padding_may_stay_float() -> None:
    nodes = [
        *(node("Conv", ["x", "a"], ["1"], strides=[2, 2], pads=[1, 1, 1, 1]), node("Relu", ["1"], ["2"])),
        *(node("MaxPool", ["2"], ["3"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),),
        *(node("GlobalAveragePool", ["3"], ["4"]), node("Flatten", ["4"], ["y"])),
    ]
    graph = prepare_float(graph_of(nodes, (1, 3, 8, 8), a=drawn(6, 3, 3, 3))).graph
    read = load_tflite(write_tflite(tflite_form(graph)))
    given = drawn(1, 8, 8, 3)
    results = [next(iter(evaluate(each, [given]).values())) for each in (graph, read)]
    np.testing.assert_allclose(*results, rtol=1e-5, atol=1e-6)


def test_codes_of_operators_in_the_newer_field_alone(folder: Path) -> None:
    made = utvm.quantize(folder / "net.onnx", IMAGES)
    data = bytearray(made.file)
    file = tflite.Model.GetRootAsModel(data, 0)
    for index in range(file.OperatorCodesLength()):
        table = file.OperatorCodes(index)._tab
        data[table.Pos + table.Offset(4)] = 0
    kinds = [[op.kind for op in graph.operators] for graph in (load_tflite(bytes(data)), made.graph)]
    assert kinds[0] == kinds[1]


def test_steps_of_a_loop_share_their_scales() -> None:
    case = next(
        c for c in (Recurrent(np.random.default_rng(s), real=True, listed=True) for s in range(9)) if c.steps > 4
    )
    rng = np.random.default_rng(1)
    data = rng.normal(size=(40, *case.x.shape)).astype(np.float32)
    made = utvm.quantize(load_tflite(case.model), data).graph
    states = [op for op in made.operators if op.kind == "Tanh"][1:]
    assert len(states) == case.steps - 1
    assert len({op.inputs[0].quant for op in states}) == 1
    layers = [op for op in made.operators if op.kind == "FullyConnected"]
    assert len({op.inputs[1] for op in layers}) <= 2
    file = write_tflite(made)
    quant = made.inputs[0].quant
    assert quant is not None
    x = np.clip(np.rint(data[0] / quant.scale[0]) + quant.zero_point[0], -128, 127).astype(np.int8)
    (want,) = Oracle(file).run(x)
    np.testing.assert_array_equal(next(iter(evaluate(made, [x]).values())), want)


def test_what_is_gathered_by_several_indices_keeps_its_scale() -> None:
    file, inputs = typed_file("GATHER_ND", DType.FLOAT32, 2)
    made = utvm.quantize(load_tflite(file), np.stack([inputs[0]] * 4))
    gathered = next(op for op in made.graph.operators if op.kind == "GatherNd")
    assert {t.dtype for t in (gathered.inputs[0], gathered.outputs[0])} == {DType.INT8}
    given = [np.full(t.shape, 5, t.dtype.value) for t in made.graph.inputs]
    (want,) = evaluate(made.graph, given).values()
    np.testing.assert_array_equal(Oracle(write_tflite(made.graph)).run(*given)[0].reshape(want.shape), want)


def test_weights_that_others_read_too() -> None:
    """A table of places gives rows, and is the weights of the layer that makes scores."""
    builder, table = GraphBuilder("tied"), drawn(7, 6)
    places = builder.input("places", (1,), DType.INT32)
    weights = builder.constant(table)
    rows = builder.add(Gather, (1, 6), x=weights, indices=places, axis=0)
    y = builder.add(FullyConnected, (1, 7), x=rows, weights=weights, bias=None)
    made = utvm.quantize(builder.graph([("y", y)]), np.arange(20).reshape(20, 1) % 7)
    assert made.report.judgement.snr > 30
    assert len({t.name for t in made.graph.tensors}) == len(made.graph.tensors)


@pytest.mark.parametrize(("kept", "taken"), [(DType.INT16, "a/wide"), (DType.FLOAT32, "a/real")])
def test_names_that_conversions_would_take(kept: DType, taken: str) -> None:
    x, a, b, y = (Tensor(name=name, shape=(1, 6), dtype=DType.FLOAT32) for name in ("x", "a", taken, "y"))
    operators = (Tanh(name="1", x=x, y=a), Tanh(name="2", x=a, y=b), Add(name="3", a=a, b=b, y=y))
    graph = Graph(name="g", operators=operators, inputs=(x,), outputs=(y,))
    ranges = {t.name: ValueRange(low=-2, high=2) for t in graph.tensors}
    by_type = {DType.INT8: ranges, DType.INT16: ranges}
    made = quantize_graph(graph, by_type, weights=Method.MIN_MAX, kept={"1": kept})
    assert {"a", taken} < {t.name for t in made.tensors}
