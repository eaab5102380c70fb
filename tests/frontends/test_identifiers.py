"""Networks that look up identifiers in tables: int32 inputs, exact to tflite-micro behind the quantiser."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import utvm
from tests.support.onnx_files import model, node
from tests.support.oracle import Oracle
from utvm.errors import UtvmError
from utvm.frontends import load_tflite
from utvm.frontends.builder import GraphBuilder
from utvm.frontends.inputs import check_identifiers, fit_array
from utvm.frontends.onnx import load_onnx
from utvm.frontends.whole_numbers import looked_up
from utvm.graph import DType, Elementwise, FullyConnected, Gather, Graph, Mean
from utvm.graph.functions import function
from utvm.graph.reference import evaluate
from utvm.passes import prepare_float

ROWS, TOKENS = 40, 7
RNG = np.random.default_rng(0)
IDS = RNG.integers(0, ROWS, (50, TOKENS))
IDS[:, -2:] *= RNG.integers(0, 2, (50, 2))


def onnx_network(kind: str = "int64") -> Graph:
    """Return the mean of the rows that are not padding, less that of other rows, before a layer."""
    constants = {
        **{"table": RNG.normal(size=(ROWS, 8)).astype(np.float32), "w": RNG.normal(size=(4, 8)).astype(np.float32)},
        **{"zero": np.array(0, kind), "two": np.array(2, kind), "last": np.array([2], np.int64)},
        **{"tokens": np.array([1], np.int64), "first": np.array(0, np.int64), "one": np.array(1, np.float32)},
    }
    nodes = [
        *(node("Gather", ["table", "ids"], ["rows"]), node("Equal", ["ids", "zero"], ["padding"])),
        *(node("Not", ["padding"], ["kept"]), node("Cast", ["kept"], ["real"], to=1)),
        *(node("Unsqueeze", ["real", "last"], ["mask"]), node("Mul", ["rows", "mask"], ["seen"])),
        *(node("ReduceSum", ["seen", "tokens"], ["sum"], keepdims=0), node("ReduceSum", ["real", "tokens"], ["n"])),
        *(node("Max", ["n", "one"], ["some"]), node("Div", ["sum", "some"], ["mean"])),
        *(node("Gather", ["ids", "first"], ["id"], axis=1), node("Mul", ["id", "two"], ["twice"])),
        *(node("Sub", ["twice", "id"], ["same"]), node("Gather", ["table", "same"], ["row"])),
        *(node("Add", ["mean", "row"], ["both"]), node("Gemm", ["both", "w"], ["y"], transB=1)),
    ]
    made = model(nodes, (1, TOKENS), constants)
    made.graph.input[0].name = "ids"
    made.graph.input[0].type.tensor_type.elem_type = {"int64": 7, "int32": 6}[kind]
    return load_onnx(made.SerializeToString(), name="identifiers")


def keras_network() -> Graph:
    """Return what Keras writes: floats, a cast, places from the end where they are negative, a table, a mean."""
    b = GraphBuilder("keras")
    x = b.input("x", (1, TOKENS))
    ids = b.add(Elementwise, x.shape, "cast", DType.INT32, function=function("Cast"), xs=(x,))
    zero, rows = b.integers(np.zeros((), int)), b.integers(np.array(ROWS))
    below = b.add(Elementwise, x.shape, "below", DType.BOOL, function=function("Less"), xs=(ids, zero))
    moved = b.add(Elementwise, x.shape, "moved", DType.INT32, function=function("AddIntegers"), xs=(ids, rows))
    place = b.add(Elementwise, x.shape, "place", DType.INT32, function=function("Select"), xs=(below, moved, ids))
    found = looked_up(b, b.constant(RNG.normal(size=(ROWS, 8))), place)
    mean = b.add(Mean, (1, 8), x=found, axes=(1,))
    y = b.add(FullyConnected, (1, 4), x=mean, weights=b.constant(RNG.normal(size=(4, 8))), bias=None)
    return b.graph([("y", y)])


def test_tables_of_onnx_and_keras_are_exact() -> None:
    with utvm.connect("qemu-cortex-m7") as session:
        for graph in (onnx_network("int32"), onnx_network(), keras_network()):
            made = utvm.quantize(graph, IDS)
            (port,) = made.graph.inputs
            assert port.dtype is DType.INT32
            assert made.report.judgement.snr > 30
            tables = [op.x for op in made.graph.operators if isinstance(op, Gather)]
            assert {table.dtype for table in tables} == {DType.INT8}
            assert len(set(tables)) == 1
            oracle, ran = Oracle(made.file), utvm.Model(session, utvm.compile(made, "qemu-cortex-m7"))
            for ids in IDS[:3]:
                given = fit_array(ids[None], port)
                (wanted,) = evaluate(load_tflite(made.file), [given]).values()
                np.testing.assert_array_equal(wanted, oracle.run(given)[0])
                np.testing.assert_array_equal(wanted, next(iter(ran.run(given).outputs.values())))


def test_the_values_of_onnx() -> None:
    graph = onnx_network()
    constants = {op.x.name: op.x.values for op in graph.operators if isinstance(op, Gather)}
    (table,) = {values.tobytes(): values for values in constants.values()}.values()
    (layer,) = (op for op in graph.operators if isinstance(op, FullyConnected))
    for ids in IDS[:5]:
        rows = table[ids][ids != 0]
        wanted = (rows.sum(0) / max(len(rows), 1) + table[ids[0]]) @ layer.weights.values.T
        got = evaluate(graph, [ids[None].astype(np.int32)])["y"]
        np.testing.assert_allclose(got[0], wanted, rtol=1e-4, atol=1e-4)


def test_floats_that_are_cast_stay_floats_where_they_are_read_otherwise() -> None:
    graph = keras_network()
    assert prepare_float(graph).graph.inputs[0].dtype is DType.INT32
    (x,) = graph.inputs
    total = dataclasses.replace(x, name="total", shape=(1,))
    other = Mean(name="other", x=x, y=total, axes=(1,))
    both = Graph(name="both", operators=(*graph.operators, other), inputs=(x,), outputs=(*graph.outputs, total))
    assert prepare_float(both).graph.inputs[0].dtype is DType.FLOAT32


def test_identifiers_without_a_row_are_refused() -> None:
    graph = keras_network()
    wrong: dict[str, Any] = {"0 to 39 are expected": IDS + 1, "no whole numbers": IDS + 0.5}
    for says, data in wrong.items():
        with pytest.raises(UtvmError, match=says):
            utvm.quantize(graph, data)
    network = prepare_float(graph).graph
    (x,) = network.inputs
    one = IDS[:1].reshape(x.shape)
    check_identifiers(network, {x.name: fit_array(one.astype(np.float32), x)})
    with pytest.raises(UtvmError, match=r"-1 to .* 0 to 39 are expected"):
        check_identifiers(network, {x.name: fit_array(one - one.min() - 1, x)})


@pytest.mark.parametrize("command", [utvm.run_once, utvm.profile])
def test_commands_refuse_identifiers_without_a_row(command: Callable[..., Any], tmp_path: Path) -> None:
    np.save(tmp_path / "ids.npy", np.full((1, TOKENS), ROWS))
    with pytest.raises(UtvmError, match="0 to 39 are expected"):
        command(onnx_network(), "qemu-cortex-m7", input_file=tmp_path / "ids.npy")
