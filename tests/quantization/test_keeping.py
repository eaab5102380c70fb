"""Equalisation, operators that stay float, preprocessing inside the network, the page, and an interrupt."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest

import utvm
from tests.support.onnx_files import model, node
from utvm.cli import main
from utvm.frontends.builder import GraphBuilder
from utvm.frontends.onnx import load_onnx
from utvm.graph import Conv2D, DepthwiseConv2D, DType, Graph, Padding, Relu
from utvm.graph.reference import evaluate
from utvm.passes import prepare_float
from utvm.quantization import BoardCost, Dataset, Pixels, folded
from utvm.quantization.equalization import equalized
from utvm.quantization.keeping import keep_accuracy


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


def test_a_choice_that_does_not_fit_is_not_taken() -> None:
    """Operator b alone in float32 keeps accuracy as a and b do, but does not fit."""
    graph = prepare_float(network(300)).graph
    data = Dataset(inputs={"x": SAMPLES})
    tried: list[tuple[str, ...]] = []

    def make(kept: Collection[str]) -> Graph:
        tried.append(tuple(kept))
        return graph

    def cost(made: Graph) -> BoardCost:
        return BoardCost(cycles=None, arena_bytes=0, flash_bytes=0, fits=tried[-1] != ("b",))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("utvm.quantization.keeping.lost_points", lambda *_: {(): 9.0, ("a",): 5.0}.get(tried[-1], 0.0))
        patch.setattr("utvm.quantization.keeping._by_noise", lambda *_: ["a", "b"])
        choices = keep_accuracy(graph, make, data, 1.0, cost, lambda text: None)
    assert choices[-1].names == ("a", "b")
    assert [choice.names for choice in choices if not choice.fits] == [("b",)]


def test_the_fewest_operators_stay_float() -> None:
    made = utvm.quantize(network(300), SAMPLES, keep_accuracy=2, board="qemu-cortex-m7")
    assert made.report.cost is not None
    assert made.report.cost.fits
    (first, *_, taken) = made.report.kept
    assert first.names == ()
    assert first.lost > 2 >= taken.lost
    assert taken.names
    assert taken.cost is not None
    real = [op for op in made.graph.operators if op.outputs[0].dtype is DType.FLOAT32]
    assert len(taken.names) <= len(real) < len(made.graph.operators)
    assert all(t.dtype is DType.INT8 for t in (*made.graph.inputs, *made.graph.outputs))
    compiled = utvm.compile(made.graph, "qemu-cortex-m7")
    with utvm.connect("qemu-cortex-m7") as session:
        for x in SAMPLES[:2]:
            quant = made.graph.inputs[0].quant
            assert quant is not None
            stored = np.clip(np.rint(x / quant.scale[0]) + quant.zero_point[0], -128, 127).astype(np.int8)[None]
            got = utvm.Model(session, compiled).run(stored).outputs
            np.testing.assert_array_equal(next(iter(got.values())), evaluate(made.graph, [stored])["y"])


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
