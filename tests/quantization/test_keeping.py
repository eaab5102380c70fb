"""Equalisation, operators that stay float, preprocessing inside the network, the page, and an interrupt."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

import utvm
from tests.support.onnx_files import model, node
from tests.support.oracle import Oracle
from utvm.cli import main
from utvm.frontends import load_tflite
from utvm.frontends.builder import GraphBuilder
from utvm.frontends.onnx import load_onnx
from utvm.frontends.tflite_writer import write_tflite
from utvm.graph import Conv2D, DepthwiseConv2D, DType, Graph, Padding, Relu
from utvm.graph.reference import evaluate
from utvm.passes import prepare_float
from utvm.quantization import BoardCost, Dataset, Kept, Method, Pixels, folded
from utvm.quantization.calibration import distributions
from utvm.quantization.equalization import equalized
from utvm.quantization.keeping import keep_accuracy
from utvm.quantization.kept_types import has_int16
from utvm.quantization.quantizer import quantize_graph
from utvm.quantization.tflite_forms import tflite_form


def drawn(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


def network(uneven: float) -> Graph:
    """Return layers on [1,3,8,8] whose channels differ by up to `uneven`, with a row of scores."""
    rng = np.random.default_rng(0)
    wide = np.geomspace(1, uneven, 8).astype(np.float32)
    constants = {
        "a": drawn(rng, 8, 3, 3, 3) * wide[:, None, None, None],
        "b": drawn(rng, 8) * wide,
        "d": drawn(rng, 8, 1, 3, 3),
        "p": drawn(rng, 8, 8, 1, 1) / wide[None, :, None, None],
        "f": drawn(rng, 5, 8),
    }
    nodes = [
        *(node("Conv", ["x", "a", "b"], ["1"], pads=[1, 1, 1, 1]), node("Relu", ["1"], ["2"])),
        *(node("Conv", ["2", "d"], ["3"], group=8, pads=[1, 1, 1, 1]), node("LeakyRelu", ["3"], ["4"], alpha=0.1)),
        *(node("Conv", ["4", "p"], ["5"]), node("Relu", ["5"], ["6"]), node("GlobalAveragePool", ["6"], ["7"])),
        *(node("Flatten", ["7"], ["8"]), node("Gemm", ["8", "f"], ["y"], transB=1)),
    ]
    return load_onnx(model(nodes, (1, 3, 8, 8), constants).SerializeToString(), name="uneven")


SAMPLES = np.random.default_rng(1).normal(size=(60, 8, 8, 3)).astype(np.float32)


def test_equalising_keeps_the_function_and_loses_less() -> None:
    graph = prepare_float(network(1000)).graph
    made = equalized(graph, {"x": SAMPLES}, lambda text: None)
    assert made != graph
    got, wanted = (evaluate(each, [SAMPLES[:1]])["y"] for each in (made, graph))
    np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-3)
    plain, better = (
        utvm.quantize(network(1000), SAMPLES, equalize=each).report.judgement.snr for each in (False, True)
    )
    assert better > plain + 6


def shared_weights() -> Graph:
    """Return three layers on [1,6,6,4] that read the same weights, as a float .tflite file may have them."""
    builder = GraphBuilder("shared")
    x = builder.input("x", (1, 6, 6, 4))
    values = (
        drawn(np.random.default_rng(0), 4, 1, 1, 4) * np.geomspace(1, 100, 4, dtype=np.float32)[:, None, None, None]
    )
    weights, y = builder.constant(values), x
    for _ in range(3):
        layer = builder.add(
            Conv2D, x.shape, x=y, weights=weights, bias=None, stride=(1, 1), dilation=(1, 1), padding=Padding()
        )
        y = builder.unary(Relu, layer)
    return builder.graph([("y", y)])


def test_weights_of_several_layers_stay_as_they_are() -> None:
    graph, samples = shared_weights(), {"x": drawn(np.random.default_rng(1), 9, 6, 6, 4)}
    assert equalized(graph, samples, lambda text: None) == graph
    pixels = Pixels(mean=(1.0, 2.0, 3.0, 4.0), std=(1.0, 2.0, 3.0, 4.0))
    made = folded(graph, (Dataset(inputs=samples),), pixels)
    assert not any(isinstance(op, DepthwiseConv2D) for op in made.graph.operators)
    raw = made.data[0].inputs["x"][:1]
    got, wanted = (evaluate(each, [x])["y"] for each, x in ((made.graph, raw), (graph, samples["x"][:1])))
    np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-2)


def choose(lost: Callable[[Kept], float], cost: Callable[[Kept], BoardCost | None]) -> tuple[Kept, ...]:
    """Return the choices among layers a and b, the noisier first, where each loses and costs what functions say."""
    graph = prepare_float(network(300)).graph
    a, b = [op for op in graph.operators if isinstance(op, Conv2D)][:2]
    tried: list[Kept] = []

    def make(types: Mapping[str, DType]) -> Graph:
        wide, real = (
            tuple({a.name: "a", b.name: "b"}[name] for name, dtype in types.items() if dtype is each)
            for each in (DType.INT16, DType.FLOAT32)
        )
        tried.append(Kept(wide=wide, real=real, lost=0, cost=None))
        return graph

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("utvm.quantization.keeping.lost_points", lambda *_: lost(tried[-1]))
        patch.setattr("utvm.quantization.keeping.by_noise", lambda *_: [(a,), (b,)])
        priced = None if cost(Kept(lost=0, cost=None)) is None else lambda made: cost(tried[-1])
        found = keep_accuracy(graph, make, Dataset(inputs={"x": SAMPLES}), 1.0, priced, lambda text: None)
    short = {a.name: "a", b.name: "b"}
    return tuple(
        dataclasses.replace(each, wide=tuple(map(short.get, each.wide)), real=tuple(map(short.get, each.real)))
        for each in found
    )


def priced(cycles: int, *, fits: bool = True) -> BoardCost:
    return BoardCost(cycles=cycles, arena_bytes=0, flash_bytes=0, fits=fits)


def test_a_choice_that_does_not_fit_is_not_taken() -> None:
    """Operator b alone in float32 keeps accuracy as a and b do, but does not fit; int16 keeps none."""
    choices = choose(
        lambda each: 9.0 if each.wide or not each.real else 5.0 if each.real == ("a",) else 0.0,
        lambda each: priced(1, fits=(each.real, each.wide) != (("b",), ())),
    )
    assert (choices[-1].real, choices[-1].wide) == (("a", "b"), ())
    assert [choice.real for choice in choices if not choice.fits] == [("b",)]


def test_the_fastest_choice_is_taken() -> None:
    """All but int8 keeps accuracy: int16 is taken where it is the faster, or where no board says which is."""

    def lost(each: Kept) -> float:
        return 0.0 if each.types else 9.0

    assert choose(lost, lambda each: priced(2 + len(each.wide) + 9 * len(each.real)))[-1].wide == ("a",)
    assert choose(lost, lambda each: priced(2 + 9 * len(each.wide) + len(each.real)))[-1].real == ("a",)
    without = choose(lost, lambda each: None)
    assert without[-1].wide == ("a",)
    assert not any(each.real for each in without)


def test_an_operator_in_float_becomes_int16_where_it_may() -> None:
    """Operator a has to be float32, and b at least int16."""
    choices = choose(
        lambda each: 0.0 if each.real[:1] == ("a",) and len(each.types) == 2 else 9.0,
        lambda each: priced(2 + len(each.wide) + 9 * len(each.real)),
    )
    assert (choices[-1].real, choices[-1].wide) == (("a",), ("b",))


@pytest.fixture(scope="module")
def kept() -> utvm.QuantizedModel:
    """A network of operators in int8 and in int16."""
    return utvm.quantize(network(300), SAMPLES, keep_accuracy=2, board="qemu-cortex-m7")


def stored(graph: Graph, x: np.ndarray) -> np.ndarray:
    quant = graph.inputs[0].quant
    assert quant is not None
    return np.clip(np.rint(x / quant.scale[0]) + quant.zero_point[0], -128, 127).astype(np.int8)[None]


def test_the_fewest_operators_are_not_int8(kept: utvm.QuantizedModel) -> None:
    assert kept.report.cost is not None
    assert kept.report.cost.fits
    (first, *_, taken) = kept.report.kept
    assert first.types == {}
    assert first.lost > 2 >= taken.lost
    assert taken.wide
    assert taken.cost is not None
    wide = [op for op in kept.graph.operators if op.outputs[0].dtype is DType.INT16]
    assert len(taken.wide) <= len(wide) < len(kept.graph.operators)
    assert all(t.dtype is DType.INT8 for t in (*kept.graph.inputs, *kept.graph.outputs))
    compiled = utvm.compile(kept.graph, "qemu-cortex-m7")
    oracle = Oracle(kept.file)
    with utvm.connect("qemu-cortex-m7") as session:
        for x in SAMPLES[:2]:
            got = utvm.Model(session, compiled).run(stored(kept.graph, x)).outputs
            np.testing.assert_array_equal(next(iter(got.values())), evaluate(kept.graph, [stored(kept.graph, x)])["y"])
            np.testing.assert_array_equal(next(iter(got.values())), oracle.run(stored(kept.graph, x))[0])


def test_any_types_beside_each_other_are_exact() -> None:
    """Operators drawn to be int8, int16 or float32 compute what tflite-micro does, but sums of float32."""
    rng = np.random.default_rng(3)
    constants = {
        **{"a": drawn(rng, 6, 3, 3, 3), "d": drawn(rng, 6, 1, 3, 3), "k": drawn(rng, 6, 1, 1), "f": drawn(rng, 5, 12)},
        **{"z": np.array([2, 3], np.int64), "two": np.array(2.0, np.float32)},
    }
    nodes = [
        *(node("Conv", ["x", "a"], ["1"], pads=[1, 1, 1, 1], strides=[2, 2]), node("Clip", ["1", "", "two"], ["2"])),
        *(node("Conv", ["2", "d"], ["3"], group=6, pads=[1, 1, 1, 1]), node("Sigmoid", ["3"], ["4"])),
        *(node("MaxPool", ["4"], ["5"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]), node("Mul", ["5", "3"], ["6"])),
        *(node("Tanh", ["6"], ["7"]), node("Add", ["7", "k"], ["8"]), node("Sub", ["8", "2"], ["9"])),
        *(node("Concat", ["9", "5"], ["10"], axis=1), node("LeakyRelu", ["10"], ["11"], alpha=0.2)),
        *(
            node("AveragePool", ["11"], ["12"], kernel_shape=[2, 2]),
            node("ReduceMean", ["12", "z"], ["13"], keepdims=0),
        ),
        *(node("Gemm", ["13", "f"], ["14"], transB=1), node("Softmax", ["14"], ["y"])),
    ]
    net = load_onnx(model(nodes, (1, 3, 8, 8), constants).SerializeToString(), name="mixed")
    graph = prepare_float(net).graph
    seen = distributions(graph, {"x": SAMPLES}, lambda text: None)
    ranges = {name: found.range(Method.MIN_MAX) for name, found in seen.items()}
    by_type = {DType.INT8: ranges, DType.INT16: ranges}
    for chances in ((0.0, 1.0, 0.0), *([(0.3, 0.7, 0.0)] * 3), *([(0.4, 0.4, 0.2)] * 3)):
        types = rng.choice(np.array((DType.INT8, DType.INT16, DType.FLOAT32), object), len(graph.operators), p=chances)
        kept = {op.name: dtype for op, dtype in zip(graph.operators, types, strict=True)}
        for op in graph.operators:
            if kept[op.name] is DType.INT16 and not has_int16(op):
                kept[op.name] = DType.FLOAT32
        file = write_tflite(tflite_form(quantize_graph(graph, by_type, weights=Method.MIN_MAX, kept=kept)))
        made = load_tflite(file)
        assert {op.outputs[0].dtype for op in made.operators} >= set(kept.values())
        most = 0 if DType.FLOAT32 not in kept.values() else 1
        oracle = Oracle(file)
        for x in SAMPLES[:3]:
            got = next(iter(evaluate(made, [stored(made, x)]).values()))
            assert np.abs(got.astype(int) - oracle.run(stored(made, x))[0]).max() <= most


@pytest.mark.parametrize(
    "pixels", [Pixels(mean=(127.6,), std=(50.0,)), Pixels(mean=(124, 116, 104), std=(58.0, 57.0, 57.5))]
)
@pytest.mark.parametrize("pads", [0, 1])
def test_bytes_of_a_camera_go_straight_in(pixels: Pixels, pads: int) -> None:
    rng = np.random.default_rng(0)
    constants = {"w": drawn(rng, 4, 3, 3, 3)}
    net = load_onnx(
        model([node("Conv", ["x", "w"], ["y"], pads=[pads] * 4)], (1, 3, 8, 8), constants).SerializeToString()
    )
    pictures = rng.integers(0, 256, (30, 8, 8, 3)).astype(np.uint8)
    graph = utvm.quantize(net, pictures, pixels=pixels, fold_pixels=True).graph
    assert graph.inputs[0].dtype is DType.UINT8
    several = len(pixels.mean) > 1
    assert any(isinstance(op, DepthwiseConv2D) for op in graph.operators) == (several and pads == 1)
    (y,) = graph.outputs
    assert y.quant is not None
    for picture in pictures[:4]:
        got = evaluate(graph, [picture[None]])["y"]
        real = evaluate(net, [pixels.of(picture).transpose(2, 0, 1)[None]])["y"].transpose(0, 2, 3, 1)
        assert np.abs(y.quant.real(got) - real).max() < 4 * y.scale


def test_what_makes_no_sense_is_refused() -> None:
    net = load_onnx(model([node("Add", ["x", "x"], ["y"])], (1, 8, 8, 3), {}).SerializeToString())
    for says, options in {
        "nothing to fold": {"fold_pixels": True},
        "0 to 255": {"pixels": Pixels(mean=(-3.0,)), "fold_pixels": True},
        "do not fit input": {"pixels": Pixels(mean=(1.0, 2.0)), "fold_pixels": True},
        "0 to 100": {"keep_accuracy": -1},
        "no row of scores": {"keep_accuracy": 1},
    }.items():
        with pytest.raises(utvm.UtvmError, match=says):
            utvm.quantize(net, SAMPLES, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("float")
    constants = {"w": drawn(np.random.default_rng(0), 5, 12)}
    nodes = [node("Gemm", ["x", "w"], ["m"], transB=1, name="<y>"), node("Tanh", ["m"], ["y"])]
    made = model(nodes, (1, 12), constants)
    (folder / "net.onnx").write_bytes(made.SerializeToString())
    np.savez(folder / "data.npz", x=drawn(np.random.default_rng(1), 40, 12))
    return folder


def command(files: Path, folder: Path) -> list[str]:
    """Return how the network is quantised into a folder."""
    return ["quantize", str(files / "net.onnx"), "--data", str(files / "data.npz"), "-o", str(folder / "q.tflite")]


def test_the_page(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    more = ["--keep-accuracy", "100", "--board", "qemu-cortex-m7", "--html", str(page)]
    assert main([*command(files, tmp_path), *more]) == 0
    assert "all operators are int8" in capsys.readouterr().out
    text = page.read_text(encoding="utf-8")
    assert text.count("<rect") > 10
    assert "<y>" not in text
    assert "modelled cycles" in text


def test_an_interrupt_leaves_nothing(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(text: str) -> None:
        assert "samples" in text
        raise KeyboardInterrupt

    monkeypatch.setattr("utvm.api.quantizing.say", interrupted)
    assert main([*command(files, tmp_path), "--html", str(tmp_path / "page.html")]) == 130
    assert list(tmp_path.iterdir()) == []
