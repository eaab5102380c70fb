"""ONNX files: what they compute is what the onnx package says, and damaged or hostile ones give one clear error."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.onnx_files import convnet, expected, model, node, onnx
from utvm.cli import main
from utvm.frontends import FrontendError, load
from utvm.frontends.onnx import load_onnx
from utvm.graph import Transpose
from utvm.graph.reference import evaluate
from utvm.passes import prepare_float

COUNTED = {"count_include_pad": 1}
RNG = np.random.default_rng(0)


def same(made: Any, shape: tuple[int, ...]) -> None:
    """Compare an imported model, before and after the passes of float networks, with the package's evaluator."""
    x = RNG.standard_normal(shape).astype(np.float32)
    wanted = expected(made, x)
    graph = load_onnx(made.SerializeToString(), name="made")
    np.testing.assert_allclose(evaluate(graph, [x])["y"], wanted, rtol=1e-4, atol=1e-5)
    prepared = prepare_float(graph)
    moved = x.transpose(prepared.inputs["x"]) if "x" in prepared.inputs else x
    turned = wanted.transpose(prepared.outputs["y"]) if "y" in prepared.outputs else wanted
    np.testing.assert_allclose(evaluate(prepared.graph, [moved])["y"], turned, rtol=1e-4, atol=1e-5)


def test_a_network_as_pytorch_exports_it() -> None:
    same(convnet(), (1, 3, 16, 12))
    simple = prepare_float(load_onnx(convnet().SerializeToString())).graph
    assert not any(isinstance(op, Transpose) for op in simple.operators)
    assert [op.kind for op in simple.operators].count("DepthwiseConv2D") == 1, "the normalisation is in the weights"


@pytest.mark.parametrize(
    ("nodes", "shape", "constants"),
    [
        ([node("Conv", ["x", "w"], ["y"], group=2, dilations=[2, 1])], (1, 4, 9, 7), {"w": (6, 2, 3, 2)}),
        ([node("Conv", ["x", "w"], ["y"], auto_pad="SAME_LOWER", strides=[2, 3])], (1, 2, 9, 7), {"w": (3, 2, 4, 2)}),
        ([node("Conv", ["x", "w", "b"], ["y"], pads=[2, 0], dilations=[2])], (1, 4, 9), {"w": (5, 4, 3), "b": (5,)}),
        ([node("AveragePool", ["x"], ["y"], kernel_shape=[3, 2], pads=[1, 0, 1, 1], **COUNTED)], (1, 2, 8, 7), {}),
        ([node("AveragePool", ["x"], ["y"], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)], (1, 2, 8, 7), {}),
        ([node("MatMul", ["x", "w"], ["m"]), node("Add", ["b", "m"], ["y"])], (1, 5, 6), {"w": (6, 3), "b": (3,)}),
        ([node("Softmax", ["x"], ["y"], axis=1)], (1, 5, 3, 2), {}),
        ([node("MatMul", ["x", "w"], ["m"]), node("Softmax", ["m"], ["y"])], (2, 5, 6), {"w": (2, 6, 3)}),
        (
            [node("Resize", ["x", "", "", "s"], ["y"], mode="cubic", coordinate_transformation_mode="asymmetric")],
            (1, 2, 5, 7), {"s": np.array([1, 2, 8, 4])},
        ),
        ([node("ArgMax", ["x"], ["a"], axis=1), node("Squeeze", ["a", "d"], ["y"])], (2, 5, 3), {"d": np.array([1])}),
        ([node("ArgMin", ["x"], ["a"], axis=-1, keepdims=0), node("Cast", ["a"], ["y"], to=7)], (2, 5, 3), {}),
        ([node("CumSum", ["x", "axis"], ["y"], reverse=1, exclusive=1)], (2, 5, 3), {"axis": np.array(-2)}),
        ([node("Trilu", ["x", "k"], ["t"], upper=0), node("Sign", ["t"], ["y"])], (2, 5, 4), {"k": np.array(1)}),
        ([node("GatherND", ["x", "at"], ["y"])], (3, 4, 5), {"at": np.array([[[0, 3], [2, -1]], [[1, 1], [0, 3]]])}),
        ([node("Gemm", ["x", "w", "b"], ["y"])], (3, 4), {"w": (4, 5), "b": (3, 5)}),
        ([node("Abs", ["x"], ["a"]), node("Pow", ["a", "e"], ["y"])], (3, 4), {"e": np.array([1.7], np.float32)}),
        ([node("Pow", ["x", "e"], ["y"])], (3, 4), {"e": np.array(5, np.int64)}),
        (
            [node("Slice", ["x", "i", "j"], ["h"]),
             node("LSTM", ["x", "w", "r", "", "n", "h", "h"], ["a", "", "b"], hidden_size=4,
                  activations=["Sigmoid", "Tanh", "Tanh"]), node("Add", ["a", "b"], ["y"])],
            (3, 1, 4),
            {"w": (1, 16, 4), "r": (1, 16, 4), "i": np.array([0]), "j": np.array([1]), "n": np.array([3], np.int32)},
        ),
        ([node("LayerNormalization", ["x", "s", "b"], ["y"], axis=2)], (1, 5, 6), {"s": (6,), "b": (6,)}),
        ([node("HardSwish", ["x"], ["y"])], (2, 3), {}),
        ([node("Split", ["x"], ["a", "b"], axis=1), node("Concat", ["b", "a"], ["y"], axis=1)], (1, 4, 3, 3), {}),
        ([node("DepthToSpace", ["x"], ["y"], blocksize=2, mode="CRD")], (1, 8, 3, 2), {}),
        ([node("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=0)], (1, 4, 3, 3), {}),
        (
            [node("Shape", ["x"], ["s"]), node("Gather", ["s", "i"], ["n"]), node("Mul", ["n", "two"], ["m"]),
             node("Concat", ["one", "m", "rest"], ["to"], axis=0), node("Reshape", ["x", "to"], ["y"])],
            (1, 4, 6), {"i": np.array([1]), "two": np.array(2), "one": np.array([1]), "rest": np.array([-1])},
        ),
    ],
)  # fmt: skip
def test_operators(nodes: list[Any], shape: tuple[int, ...], constants: dict[str, Any]) -> None:
    drawn = {
        name: RNG.standard_normal(value).astype(np.float32) if isinstance(value, tuple) else value
        for name, value in constants.items()
    }
    same(model(nodes, shape, drawn), shape)


@pytest.mark.parametrize("kind", ["UINT8", "FLOAT16", "BFLOAT16", "DOUBLE"])
def test_inputs_of_other_types_are_float32_here(kind: str) -> None:
    dtype = getattr(onnx.TensorProto, kind)
    made = model([node("Cast", ["x"], ["f"], to=1), node("Mul", ["f", "two"], ["y"])], (2, 3), {"two": np.float32([2])})
    made.graph.input[0].type.tensor_type.elem_type = dtype
    graph = load_onnx(made.SerializeToString())
    np.testing.assert_array_equal(evaluate(graph, [np.ones((2, 3), np.float32)])["y"], 2)
    if kind == "UINT8":
        made.graph.node[1].input[0] = "x"
        with pytest.raises(FrontendError, match="mixes integers and floats"):
            load_onnx(made.SerializeToString())


def refusal(made: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Return what the command line says about a file that it must refuse."""
    file = tmp_path / "net.onnx"
    file.write_bytes(made if isinstance(made, bytes) else made.SerializeToString())
    assert main(["quantize", str(file), "--data", str(tmp_path / "none.npz"), "-o", str(tmp_path / "out.tflite")]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert not (tmp_path / "out.tflite").exists()
    return said


def external(location: str, **more: str) -> Any:
    """Return a model whose weights lie in another file."""
    made = model([node("Add", ["x", "w"], ["y"])], (1, 4), {"w": np.zeros(4, np.float32)})
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=value)
    return made


def test_external_data_come_from_the_folder_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "w.bin").write_bytes(np.arange(4, dtype=np.float32).tobytes())
    (tmp_path / "net.onnx").write_bytes(external("w.bin").SerializeToString())
    assert evaluate(load(tmp_path / "net.onnx"), [np.zeros((1, 4), np.float32)])["y"].tolist() == [[0, 1, 2, 3]]
    (tmp_path / "link.bin").symlink_to("/etc/passwd")
    for location in ("/etc/passwd", "../secret", "link.bin"):
        assert "outside of the model's folder" in refusal(external(location), tmp_path, capsys)
    assert "which is not there" in refusal(external("gone.bin"), tmp_path, capsys)
    assert "which has 12" in refusal(external("w.bin", offset="4"), tmp_path, capsys)


def test_hostile_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(made: Any) -> str:
        return refusal(made, tmp_path, capsys)

    assert "not an ONNX file" in said(b"PK\x03\x04 a pickle, perhaps")
    assert "operators of its own domains: 'evil.Run'" in said(
        model([onnx.helper.make_node("Run", ["x"], ["y"], domain="evil")], (1, 4))
    )
    assert "part of a cycle" in said(model([node("Relu", ["b"], ["y"]), node("Relu", ["y"], ["b"])], (1, 4)))
    assert "nothing makes" in said(model([node("Relu", ["nowhere"], ["y"])], (1, 4)))
    assert "open dimensions: [1, 3, height, 8]" in said(model([node("Relu", ["x"], ["y"])], (1, 3, "height", 8)))
    bomb = model(
        [node("ConstantOfShape", ["s"], ["c"]), node("Add", ["x", "c"], ["y"])], (1, 4), {"s": np.array([1 << 40])}
    )
    assert "would have" in said(bomb)
    huge = model([node("Add", ["x", "w"], ["y"])], (1, 4), {"w": np.zeros(4, np.float32)})
    huge.graph.initializer[0].dims[0] = 1 << 50
    assert "too large, or the file is damaged" in said(huge)
    assert "not quantised by" in said(model([node("MatMulInteger", ["x", "x"], ["y"])], (1, 4)))
    several = said(model([node("NonZero", ["x"], ["a"]), node("Det", ["x"], ["y"])], (4, 4)))
    assert "NonZero" in several
    assert "Det" in several


def test_damaged_files(tmp_path: Path) -> None:
    whole = bytearray(convnet().SerializeToString())
    rng = np.random.default_rng(1)
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(int(rng.integers(1, 6))):
            damaged[int(rng.integers(min(len(damaged), 2000)))] = int(rng.integers(256))
        try:
            load_onnx(bytes(damaged[: int(rng.integers(len(damaged) // 2, len(damaged)))]))
        except FrontendError:
            continue


def said_of(made: Any) -> str:
    """Return the error of a model that is not imported."""
    with pytest.raises(FrontendError) as refused:
        load_onnx(made.SerializeToString())
    return str(refused.value)


@pytest.mark.parametrize(
    ("growing", "reason"),
    [
        (node("Gather", ["row", "places"], ["c"]), "would have"),
        (node("GatherND", ["row", "nd"], ["c"]), "would have"),
        (node("Sum", ["row", "column"], ["c"]), "would have"),
        (node("Clip", ["row", "column"], ["c"]), "would have"),
        (node("Expand", ["row", "far"], ["c"]), "would have"),
        (node("DequantizeLinear", ["stored", "scales"], ["c"], axis=1), "do not fit it"),
        (node("Expand", ["x", "far"], ["c"]), "too large"),
    ],
    ids=lambda value: value.op_type if hasattr(value, "op_type") else value,
)
def test_results_too_large_for_memory_are_refused_before_they_are_made(growing: Any, reason: str) -> None:
    size = 20_000
    constants = {
        "row": np.zeros((1, size), np.float32),
        "column": np.zeros((size, 1), np.float32),
        "places": np.zeros(size, np.int64),
        "nd": np.zeros((size, 1), np.int64),
        "far": np.array([1 << 33, 1]),
        "stored": np.zeros((size, 1), np.int8),
        "scales": np.ones(size, np.float32),
    }
    assert reason in said_of(model([growing, node("ReduceSum", ["c"], ["y"])], (1, 4), constants))


def test_constants_share_one_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utvm.frontends.onnx.MAX_COMPUTED", 1000)
    nodes = [node("ConstantOfShape", ["s"], [f"c{i}"]) for i in range(3)]
    assert "more than 1,000 elements" in said_of(model(nodes, (1, 4), {"s": np.array([400])}))


def test_nodes_that_make_no_sense() -> None:
    assert "it has no outputs" in said_of(model([node("Split", ["x"], [])], (1, 4)))
    assert "nothing makes output 'y'" in said_of(model([node("Relu", ["x"], ["z"])], (1, 4)))
    assert "axis 7 is outside rank 2" in said_of(model([node("ReduceMean", ["x"], ["y"], axes=[7])], (1, 4)))
    negative = {"a": np.ones(2, np.float32), "v": -np.ones(2, np.float32)}
    assert "not finite" in said_of(model([node("BatchNormalization", ["x", *"aaav"], ["y"])], (1, 2), negative))
    for kind in ("MaxPool", "AveragePool"):
        wide = node(kind, ["x"], ["y"], kernel_shape=[2, 2], pads=[0, 0, 3, 0])
        assert "as large as its kernel" in said_of(model([wide], (1, 2, 5, 5)))


@pytest.mark.parametrize("amount", [(1, 1, 1, 8), (1, 1, 1, 1, 4)])
def test_an_amount_that_widens_a_scaled_image_is_no_bias(amount: tuple[int, ...]) -> None:
    shape = (1, 2, 3, 1) if len(amount) == 4 else (1, 2, 3, 4)
    constants = {"two": np.array(2, np.float32), "amount": RNG.standard_normal(amount).astype(np.float32)}
    same(model([node("Mul", ["x", "two"], ["m"]), node("Add", ["m", "amount"], ["y"])], shape, constants), shape)


def test_nodes_in_any_order_with_any_names() -> None:
    size = 3000
    names = ["in\nput", *(f"t{i}" for i in range(size - 1)), "y"]
    nodes = [node("Relu", [a], [b], name="all\x1b[2Jthe same") for a, b in pairwise(names)]
    made = model([nodes[i] for i in RNG.permutation(size)], (1, 4))
    made.graph.input[0].name = "other"
    assert "reads 'in?put', which nothing makes" in said_of(made)
    made.graph.input[0].name = "in\nput"
    graph = load_onnx(made.SerializeToString())
    assert len({op.name for op in graph.operators}) == len(graph.operators) == size
    assert graph.inputs[0].name == "in?put"
    assert all(t.name.isprintable() for t in graph.tensors)
