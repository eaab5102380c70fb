"""Quantised ONNX files: each operator within 1 of what its QuantizeLinear and DequantizeLinear say in real numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.onnx_files import expected, model, node, onnx
from utvm.cli import main
from utvm.frontends import FrontendError
from utvm.frontends.onnx import load_onnx
from utvm.graph import Conv2D, DType, Graph, Transpose
from utvm.graph.reference import evaluate
from utvm.passes import run_passes

LAST = (0, 2, 3, 1)


class Network:
    """Nodes between pairs of QuantizeLinear and DequantizeLinear, with drawn scales."""

    def __init__(self, seed: int, *, signed: bool = True) -> None:
        self.rng = np.random.default_rng(seed)
        self.dtype = np.int8 if signed else np.uint8
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self.units: dict[str, tuple[float, int]] = {}

    def pair(self, name: str, spread: float, *, low: float = -0.6, like: str = "") -> str:
        """Quantise a value and return the name of what comes out of the pair; or in the units of `like`."""
        scale, zero = self.units.get(like) or self.drawn(spread, low)
        self.units[name] = scale, zero
        self.constants |= {f"{name}_s": np.array(scale, np.float32), f"{name}_z": np.array(zero, self.dtype)}
        self.nodes.append(node("QuantizeLinear", [name, f"{name}_s", f"{name}_z"], [f"{name}_q"]))
        self.nodes.append(node("DequantizeLinear", [f"{name}_q", f"{name}_s", f"{name}_z"], [f"{name}_d"]))
        return f"{name}_d"

    def drawn(self, spread: float, low: float) -> tuple[float, int]:
        """Return a scale and a zero point that cover `spread` from about `low` times it."""
        least = np.iinfo(self.dtype).min
        zero = int(np.clip(np.rint(least - low * 255 + self.rng.integers(-9, 10)), least, least + 255))
        return float(np.float32(spread / 255 * self.rng.uniform(0.8, 1.2))), zero

    def weights(self, *shape: int, axis: int | None = 0) -> str:
        """Return the name of weights with a scale for each index along an axis, or one for all."""
        name = f"w{len(self.constants)}"
        scales = self.rng.uniform(0.005, 0.02, () if axis is None else shape[axis]).astype(np.float32)
        stored = self.rng.integers(-127, 128, shape).astype(np.int8)
        self.constants |= {f"{name}_q": stored, f"{name}_s": scales, f"{name}_z": np.zeros(scales.shape, np.int8)}
        more = {} if axis is None else {"axis": axis}
        self.nodes.append(node("DequantizeLinear", [f"{name}_q", f"{name}_s", f"{name}_z"], [name], **more))
        return name

    def bias(self, count: int) -> str:
        """Return the name of a float bias."""
        name = f"b{len(self.constants)}"
        self.constants[name] = self.rng.uniform(-1, 1, count).astype(np.float32)
        return name

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Append a node and return its result."""
        self.nodes.append(node(kind, inputs, [output], **attributes))
        return output

    def made(self, output: str, shape: tuple[int, ...]) -> Any:
        """Return the model."""
        self.add("Identity", [output], "y")
        return model(self.nodes, shape, self.constants, opset=21)


def check(made: Any, shape: tuple[int, ...], *, spread: float = 4.0, within: int = 1) -> Graph:
    """Compare an import with the onnx package's evaluator, in steps of the output."""
    graph = load_onnx(made.SerializeToString(), name="made")
    assert {t.dtype.value for t in (*graph.inputs, *graph.outputs)} == {"int8"}
    rng = np.random.default_rng(1)
    units, result = graph.inputs[0], graph.outputs[0]
    for _ in range(4):
        x = rng.uniform(-0.6 * spread, 0.4 * spread, shape).astype(np.float32)
        wanted = expected(made, x)
        moved = x if units.shape == shape else x.transpose(LAST)
        stored = np.clip(np.rint(moved / np.float32(units.scale)) + units.zero_point, -128, 127).astype(np.int8)
        wanted = wanted if wanted.shape == result.shape else wanted.transpose(LAST)
        steps = np.rint(wanted / result.scale) + result.zero_point
        got = evaluate(graph, [stored])[result.name].astype(np.int64)
        assert np.abs(got - steps).max() <= within
        assert len(np.unique(got)) > 1 or got.size == 1
        simple = run_passes(graph)
        np.testing.assert_array_equal(evaluate(simple, [stored])[result.name], got)
    return graph


def one(kind: str, n: Network, x: str) -> str:
    """Append one operator of a kind on x [1,4,6,7], with the pair behind it, and return its result."""
    if kind == "Conv":
        y = n.add("Conv", [x, n.weights(6, 4, 3, 3), n.bias(6)], "c", pads=[1, 1, 1, 1], strides=[2, 1])
        return n.pair(y, 12)
    if kind == "Depthwise":
        return n.pair(n.add("Conv", [x, n.weights(4, 1, 3, 3), n.bias(4)], "c", group=4), 8)
    if kind == "ConvOneScale":
        return n.pair(n.add("Conv", [x, n.weights(6, 4, 1, 1, axis=None)], "c"), 8)
    if kind == "ConvClip":
        n.constants |= {"zero": np.array(0, np.float32), "six": np.array(6, np.float32)}
        y = n.add("Conv", [x, n.weights(6, 4, 3, 3), n.bias(6)], "c")
        return n.pair(n.add("Clip", [y, "zero", "six"], "r"), 8)
    if kind == "ConvPairRelu":
        y = n.pair(n.add("Conv", [x, n.weights(6, 4, 3, 3)], "c"), 10)
        return n.pair(n.add("Relu", [y], "r"), 6, low=0.0)
    if kind in ("Gemm", "GemmPlain", "MatMul"):
        flat = n.pair(n.add("Flatten", [x], "f"), 0, like="x")
        if kind == "Gemm":
            return n.pair(n.add("Gemm", [flat, n.weights(5, 168), n.bias(5)], "g", transB=1), 30)
        if kind == "GemmPlain":
            return n.pair(n.add("Gemm", [flat, n.weights(168, 5, axis=1)], "g"), 30)
        return n.pair(n.add("Add", [n.bias(5), n.add("MatMul", [flat, n.weights(168, 5, axis=None)], "g")], "a"), 30)
    if kind in ("Add", "Sub", "Mul", "Concat", "AddRelu"):
        second = n.pair(n.add("Conv", [x, n.weights(4, 4, 1, 1)], "c"), 6)
        if kind == "Concat":
            return n.pair(n.add("Concat", [x, second], "m", axis=1), 7)
        y = n.add(kind.removesuffix("Relu"), [x, second], "m")
        return n.pair(n.add("Relu", [y], "r") if kind == "AddRelu" else y, 8)
    if kind == "AddConstant":
        n.constants |= {"half": np.array(0.5, np.float32)}
        return n.pair(n.add("Add", [x, "half"], "m"), 5)
    if kind in ("MaxPool", "AveragePool"):
        y = n.add(kind, [x], "p", kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1])
        return n.pair(y, 3.5)
    if kind == "GlobalAveragePool":
        return n.pair(n.add("Flatten", [n.pair(n.add(kind, [x], "p"), 1.5)], "f"), 0, like="p")
    if kind == "Reshape":
        n.constants["to"] = np.array([1, -1, 12])
        return n.pair(n.add("Reshape", [x, "to"], "p"), 0, like="x")
    if kind in ("Softmax", "Sigmoid"):
        y = n.add("Softmax", [x], "p", axis=-1) if kind == "Softmax" else n.add("Sigmoid", [x], "p")
        return n.pair(y, 1.1, low=0.0)
    if kind == "Product":
        turned = n.pair(n.add("Transpose", [x], "t", perm=[0, 1, 3, 2]), 0, like="x")
        return n.pair(n.add("MatMul", [x, turned], "p"), 30)
    if kind == "ReluOfMean":
        wide = n.pair(n.add("Conv", [x, n.weights(9, 4, 1, 1), n.bias(9)], "c"), 6)
        y = n.add("Flatten", [n.add("GlobalAveragePool", [wide], "p")], "f")
        return n.pair(n.add("Relu", [y], "r"), 1.5)
    if kind == "ReluOfConcat":
        second = n.pair(n.add("Conv", [x, n.weights(4, 4, 1, 1)], "c"), 6)
        return n.pair(n.add("Relu", [n.add("Concat", [x, second], "m", axis=1)], "r"), 5)
    if kind == "Bare":
        # Operators that keep units have no pairs of their own.
        y = n.add(
            "MaxPool", [n.add("Relu", [n.add("Conv", [x, n.weights(4, 4, 3, 3)], "c")], "r")], "p", kernel_shape=[2, 2]
        )
        y = n.add("Flatten", [n.pair(y, 6, low=0.0)], "f")
        return n.pair(n.add("Gemm", [y, n.weights(5, 48)], "g", transB=1), 20)
    raise AssertionError(kind)


KINDS = (
    *("Conv", "Depthwise", "ConvOneScale", "ConvClip", "ConvPairRelu", "Gemm", "GemmPlain", "MatMul", "Add", "Sub"),
    *("Mul", "Concat", "AddRelu", "AddConstant", "MaxPool", "AveragePool", "GlobalAveragePool", "Reshape", "Softmax"),
    *("Sigmoid", "Bare", "ReluOfMean", "ReluOfConcat", "Product"),
)
SECOND = ("ConvPairRelu", "Add", "Sub", "Mul", "Concat", "AddRelu", "Bare", "ReluOfConcat", "ReluOfMean")
"""Of two operators that round: each is within 1 of its own operands."""


@pytest.mark.parametrize("kind", KINDS)
def test_operators(kind: str) -> None:
    for seed in range(3):
        n = Network(seed, signed=seed != 1)
        made = n.made(one(kind, n, n.pair("x", 4)), (1, 4, 6, 7))
        graph = check(made, (1, 4, 6, 7), within=2 if kind in SECOND else 1)
        moving = [op for op in graph.operators if isinstance(op, Transpose)]
        assert not moving or kind in ("Reshape", "Softmax", "Product")


def test_weights_and_units_are_those_of_the_file() -> None:
    n = Network(0, signed=False)
    graph = load_onnx(n.made(one("Conv", n, n.pair("x", 4)), (1, 4, 6, 7)).SerializeToString())
    (layer,) = graph.operators
    assert isinstance(layer, Conv2D)
    assert layer.weights.quant is not None
    name = next(name for name, value in n.constants.items() if value.ndim == 4).removesuffix("_q")
    np.testing.assert_array_equal(layer.weights.values, n.constants[f"{name}_q"].transpose(LAST))
    assert layer.weights.quant.scale == tuple(n.constants[f"{name}_s"].tolist())
    scale, zero = n.units["x"]
    assert (layer.x.name, layer.x.scale, layer.x.zero_point) == ("x", scale, zero - 128)


def test_inputs_and_outputs_of_bytes() -> None:
    n = Network(2, signed=False)
    n.constants |= {"s": np.array(0.02, np.float32), "z": np.array(3, np.uint8)}
    n.add("DequantizeLinear", ["x", "s", "z"], "real")
    n.pair(n.add("Conv", ["real", n.weights(6, 4, 3, 3)], "c"), 12)
    made = model([*n.nodes, node("Identity", ["c_q"], ["y"])], (1, 4, 6, 7), n.constants, opset=21)
    made.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    x = n.rng.integers(0, 256, (1, 4, 6, 7)).astype(np.uint8)
    graph = load_onnx(made.SerializeToString())
    stored = (x.transpose(LAST).astype(np.int16) - 128).astype(np.int8)
    got = evaluate(graph, [stored])["y"].astype(np.int64) + 128
    assert np.abs(got - expected(made, x).transpose(LAST)).max() <= 1


@pytest.mark.parametrize(
    ("says", "change"),
    [
        ("has no QuantizeLinear before it is read", lambda n, x: n.add("Conv", [x, n.weights(6, 4, 3, 3)], "c")),
        ("are not int8 with a scale", lambda n, x: n.pair(n.add("Conv", [x, "plain"], "c"), 8)),
        ("not those of its output channels", lambda n, x: n.add("Conv", [x, n.weights(6, 4, 3, 3, axis=1)], "c")),
        (
            "has no QuantizeLinear before it is read",
            lambda n, x: n.pair(
                n.add("AveragePool", [n.add("Conv", [x, n.weights(6, 4, 3, 3)], "c")], "p", kernel_shape=[2, 2]), 2
            ),
        ),
        ("too coarse", lambda n, x: n.pair(n.add("Softmax", [x], "p"), 0.1, low=0.0)),
    ],
)  # fmt: skip
def test_what_can_not_be_kept_is_one_error(says: str, change: Any) -> None:
    n = Network(0)
    n.constants["plain"] = np.ones((6, 4, 3, 3), np.float32)
    with pytest.raises(FrontendError, match=says):
        load_onnx(n.made(change(n, n.pair("x", 4)), (1, 4, 6, 7)).SerializeToString())


def test_places_of_maxima_are_those_of_stored_integers() -> None:
    n = Network(0)
    pair = n.pair(n.add("Conv", [n.pair("x", 4), n.weights(5, 4, 3, 3)], "c"), 12)
    places = node("ArgMax", [pair], ["y"], axis=1, keepdims=0)
    made = model([*n.nodes, places], (1, 4, 6, 7), n.constants, opset=21)
    graph = load_onnx(made.SerializeToString())
    assert graph.outputs[0].dtype is DType.INT32
    x = n.rng.normal(size=(1, 4, 6, 7)).astype(np.float32)
    (port,) = graph.inputs
    stored = np.clip(np.rint(x.transpose(LAST) / port.scale) + port.zero_point, -128, 127).astype(np.int8)
    assert (evaluate(graph, [stored])["y"] == expected(made, x)).mean() > 0.9


def test_a_file_is_compiled_as_it_is(tmp_path: Path) -> None:
    n = Network(3)
    (tmp_path / "net.onnx").write_bytes(n.made(one("Bare", n, n.pair("x", 4)), (1, 4, 6, 7)).SerializeToString())
    assert main(["compile", str(tmp_path / "net.onnx"), "--board", "qemu-cortex-m4", "-o", str(tmp_path / "out")]) == 0
    assert list((tmp_path / "out").rglob("*.c"))


def test_joins_of_joins_take_no_time_of_their_own() -> None:
    n = Network(3)
    value = n.add("Conv", [n.pair("x", 4), n.weights(4, 4, 1, 1)], "made")
    n.constants |= {"zero": np.array([0]), "four": np.array([4]), "one": np.array([1])}
    for index in range(40):
        joined = n.add("Concat", [value, value], f"joined{index}", axis=1)
        value = n.add("Slice", [joined, "zero", "four", "one"], f"cut{index}")
    check(n.made(n.pair(n.add("Relu", [value], "r"), 10, low=0), (1, 4, 3, 2)), (1, 4, 3, 2))


def operator_form(n: Network) -> tuple[list[Any], list[Any]]:
    """Return one network of x [1,4,6,7] twice: in operators on integers, and in pairs."""
    q, real = {}, {}
    for name, spread in (("x", 4), ("c", 12), ("r", 12), ("a", 12), ("g", 4), ("m", 12)):
        real[name] = n.pair(name, spread, like="c" if name == "r" else "")
        q[name] = [f"{name}_q", f"{name}_s", f"{name}_z"]
    w, v = n.weights(4, 4, 3, 3), n.weights(4, 5, axis=1)
    stored = {name: [f"{name}_q", f"{name}_s", f"{name}_z"] for name in (w, v)}
    step = n.constants["x_s"] * n.constants[f"{w}_s"]
    n.constants["bias"] = n.rng.integers(-900, 900, 4).astype(np.int32)
    n.constants["real_bias"] = (n.constants["bias"] * step).astype(np.float32)
    n.constants["flat"] = np.array([1, 4], np.int64)
    own = "com.microsoft"
    integers = [
        node("QuantizeLinear", ["x", "x_s", "x_z"], ["x_q"]),
        node("QLinearConv", [*q["x"], *stored[w], "c_s", "c_z", "bias"], ["c_q"], pads=[1, 1, 1, 1]),
        node("MaxPool", ["c_q"], ["r_q"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("QLinearAdd", [*q["r"], *q["x"], "a_s", "a_z"], ["a_q"], domain=own),
        node("QLinearGlobalAveragePool", [*q["a"], "g_s", "g_z"], ["g_q"], domain=own),
        node("Reshape", ["g_q", "flat"], ["f_q"]),
        node("QLinearMatMul", ["f_q", "g_s", "g_z", *stored[v], "m_s", "m_z"], ["m_q"]),
        node("DequantizeLinear", q["m"], ["y"]),
    ]
    pairs = {made.output[0]: made for made in n.nodes}
    twin = [
        *(pairs["x_q"], pairs["x_d"], pairs[w], pairs[v]),
        node("Conv", [real["x"], w, "real_bias"], ["c"], pads=[1, 1, 1, 1]),
        *(pairs["c_q"], pairs["c_d"], node("MaxPool", [real["c"]], ["r"], kernel_shape=[3, 3], pads=[1, 1, 1, 1])),
        *(pairs["r_q"], pairs["r_d"], node("Add", [real["r"], real["x"]], ["a"]), pairs["a_q"], pairs["a_d"]),
        *(node("GlobalAveragePool", [real["a"]], ["g"]), pairs["g_q"], pairs["g_d"]),
        *(node("Reshape", [real["g"], "flat"], ["f"]), node("MatMul", ["f", v], ["m"]), pairs["m_q"], pairs["m_d"]),
        node("Identity", [real["m"]], ["y"]),
    ]
    return integers, twin


@pytest.mark.parametrize("signed", [True, False])
def test_operators_on_integers(signed: bool) -> None:
    n = Network(3, signed=signed)
    forms = [model(nodes, (1, 4, 6, 7), n.constants, opset=21) for nodes in operator_form(n)]
    forms[0].opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    x = np.random.default_rng(1).integers(-128, 128, (1, 6, 7, 4)).astype(np.int8)
    got, wanted = (evaluate(load_onnx(made.SerializeToString()), [x])["y"] for made in forms)
    np.testing.assert_array_equal(got, wanted)


def test_networks_quantised_while_they_run_are_float_networks() -> None:
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.integers(0, 255, (6, 4, 3, 3)).astype(np.uint8),
        "z": np.array(120, np.uint8),
        "s": np.array(0.01, np.float32),
    }
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["x_q", "x_s", "x_z"]),
        node("ConvInteger", ["x_q", "w", "x_z", "z"], ["sum"], pads=[1, 1, 1, 1]),
        *(node("Cast", ["sum"], ["wide"], to=1), node("Mul", ["x_s", "s"], ["step"])),
        node("Mul", ["wide", "step"], ["y"]),
    ]
    made = model(nodes, (1, 4, 6, 7), constants)
    x = rng.normal(size=(1, 4, 6, 7)).astype(np.float32)
    got, wanted = evaluate(load_onnx(made.SerializeToString()), [x])["y"], expected(made, x)
    assert np.abs(got - wanted).max() < 0.02 * np.abs(wanted).max()


@pytest.mark.parametrize("columns", [4, 5])
def test_zero_points_of_columns_and_names_that_are_taken(columns: int) -> None:
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.integers(0, 255, (4, columns)).astype(np.uint8),
        "z": rng.integers(90, 150, columns).astype(np.uint8),
        "/one": np.array(7, np.float32),
        "sum/8": np.array(0.01, np.float32),
    }
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["x_q", "x_s", "x_z"]),
        node("MatMulInteger", ["x_q", "w", "x_z", "z"], ["sum"]),
        *(node("Cast", ["sum"], ["wide"], to=1), node("Mul", ["wide", "x_s"], ["m"])),
        *(node("Mul", ["m", "/one"], ["more"]), node("Mul", ["more", "sum/8"], ["y"])),
    ]
    made = model(nodes, (3, 4), constants)
    x = rng.normal(size=(3, 4)).astype(np.float32)
    got, wanted = evaluate(load_onnx(made.SerializeToString()), [x])["y"], expected(made, x)
    assert np.abs(got - wanted).max() < 0.02 * np.abs(wanted).max()


@pytest.mark.parametrize("alpha", [1.0, 2.0])
def test_alpha_of_qgemm_scales_its_bias(alpha: float) -> None:
    rng = np.random.default_rng(0)
    constants = {
        **{"s": np.array(0.05, np.float32), "z": np.array(3, np.int8), "none": np.array(0, np.int8)},
        "w": rng.integers(-60, 60, (6, 5)).astype(np.int8),
        "b": rng.integers(-3000, 3000, 5).astype(np.int32),
        "y_s": np.array(1.5, np.float32),
    }
    units = ["s", "z", "w", "s", "none", "b", "y_s", "z"]
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["x_q"]),
        node("QGemm", ["x_q", *units], ["y_q"], alpha=alpha, domain="com.microsoft"),
        node("DequantizeLinear", ["y_q", "y_s", "z"], ["y"]),
    ]
    made = model(nodes, (1, 6), constants, opset=21)
    made.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    x = rng.integers(-128, 128, (1, 6)).astype(np.int8)
    total = (x.astype(np.int64) - 3) @ constants["w"].astype(np.int64) + constants["b"]
    wanted = np.clip(np.rint(alpha * 0.05 * 0.05 * total / 1.5) + 3, -128, 127)
    assert np.abs(evaluate(load_onnx(made.SerializeToString()), [x])["y"] - wanted).max() <= 1


def test_a_relu_of_integers_cuts_at_their_zero_alone() -> None:
    for zero in (0, 20):
        constants = {"s": np.array(0.02, np.float32), "z": np.array(zero, np.int8)}
        units = ["s", "z"]
        nodes = [node("QuantizeLinear", ["x", *units], ["q"]), node("Relu", ["q"], ["r"])]
        data = model([*nodes, node("DequantizeLinear", ["r", *units], ["y"])], (1, 9), constants, opset=21)
        if zero:
            with pytest.raises(FrontendError, match=r"which is not their zero point \(20\)"):
                load_onnx(data.SerializeToString())
        else:
            x = np.arange(-60, 75, 15).astype(np.int8)[None]
            np.testing.assert_array_equal(evaluate(load_onnx(data.SerializeToString()), [x])["y"], np.maximum(x, 0))


@pytest.mark.parametrize(
    ("says", "made"),
    [
        ("QuantizeLinear", node("ConvInteger", ["x", "w"], ["y"])),
        ("absent", node("QLinearConv", ["x", "s"], ["y"])),
        ("zero point of its result", node("QLinearAdd", ["x", "s", "", "x", "s", "", "s"], ["y"])),
        ("a form that is not read", node("QLinearWhere", ["x", "s"], ["y"], domain="com.microsoft")),
    ],
)
def test_operators_on_integers_that_are_not_read(says: str, made: Any) -> None:
    constants = {"w": np.ones((6, 4, 3, 3), np.uint8), "s": np.array(1, np.float32)}
    broken = model([made], (1, 4, 6, 7), constants)
    with pytest.raises(FrontendError, match=says):
        load_onnx(broken.SerializeToString())


def test_what_comes_before_the_first_pair_stays_float() -> None:
    n = Network(4)
    n.constants["mean"] = np.array([[[3.0]], [[1.0]], [[2.0]], [[0.5]]], np.float32)
    y = n.add("Conv", [n.pair(n.add("Sub", ["x", "mean"], "m"), 8), n.weights(6, 4, 3, 3), n.bias(6)], "c")
    n.units["fine"] = 0.02, 3
    made = n.made(n.pair(n.add("AveragePool", [n.pair(y, 30)], "p", kernel_shape=[2, 2]), 0, like="fine"), (1, 4, 6, 7))
    graph = load_onnx(made.SerializeToString())
    x = np.random.default_rng(0).normal(1, 2, (1, 4, 6, 7)).astype(np.float32)
    assert graph.inputs[0].dtype is DType.FLOAT32
    got = evaluate(graph, [x if graph.inputs[0].shape == x.shape else x.transpose(LAST)])["y"]
    wanted = expected(made, x).transpose(LAST)
    off = np.abs((got.astype(np.float64) - 3) * 0.02 - wanted)
    # Where a sum before the pool is a tie, the mean is one fourth of its coarser step apart.
    assert off.max() <= 0.3 * 30 * 1.2 / 255 + 0.02
    assert np.mean(off <= 0.021) > 0.9
