"""Loop, Scan and If of ONNX files: against the onnx package's evaluator, and what must be refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.support.onnx_files import model, node, onnx
from utvm.frontends import FrontendError
from utvm.frontends.onnx import load_onnx
from utvm.graph.reference import evaluate

INT, FLOAT, BOOL = onnx.TensorProto.INT64, onnx.TensorProto.FLOAT, onnx.TensorProto.BOOL
RNG = np.random.default_rng(0)
WEIGHTS = {
    "w": RNG.standard_normal((3, 4)).astype(np.float32),
    "u": RNG.standard_normal((4, 4)).astype(np.float32),
    "h": np.zeros((1, 4), np.float32),
    "steps": np.array(5),
    "yes": np.array(True),
}


def body(nodes: list[Any], inputs: dict[str, int], outputs: dict[str, int], **constants: Any) -> Any:
    """Return a graph that a node runs; inputs and outputs have types."""
    value = onnx.helper.make_tensor_value_info
    stored = [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    ends = [[value(name, kind, None) for name, kind in named.items()] for named in (inputs, outputs)]
    return onnx.helper.make_graph(nodes, "body", *ends, stored)


def same(made: Any, shape: tuple[int, ...], wanted: Callable[[Any], Any]) -> Any:
    """Compare an imported model with numpy, and return its graph.

    The package's evaluator joins what loops collect otherwise than the specification says.
    """
    x = RNG.standard_normal(shape).astype(np.float32)
    graph = load_onnx(made.SerializeToString(), name="made")
    np.testing.assert_allclose(evaluate(graph, [x])["y"], wanted(x), rtol=1e-4, atol=1e-5)
    return graph


def states(x: Any, rows: int) -> Any:
    """Return the states of the recurrent cell below, [rows,1,4]."""
    h, every = WEIGHTS["h"], []
    for row in x[:rows]:
        h = np.tanh(row @ WEIGHTS["w"] + h @ WEIGHTS["u"])
        every.append(h)
    return np.stack(every)


def cell(x: str) -> list[Any]:
    """Return the nodes of a plain recurrent cell: `later` of the state `held`."""
    return [
        node("MatMul", [x, "w"], ["a"]),
        node("Gemm", ["held", "u", "a"], ["b"]),
        node("Tanh", ["b"], ["later"]),
    ]


def recurrent(until: Any = None, *, steps: str = "steps") -> Any:
    """Return a model of a Loop as tf2onnx makes it; `until` is the array below which its own counter must be."""
    nodes = [node("Gather", ["x", "i"], ["row"], axis=0), *cell("row"), node("Identity", ["later"], ["all"])]
    if until is None:
        nodes.append(node("Identity", ["asked"], ["on"]))
    else:
        nodes += [node("Add", ["i", "one"], ["next"]), node("Less", ["next", "until"], ["on"])]
    known = {} if until is None else {"one": 1, "until": until}
    inside = body(nodes, {"i": INT, "asked": BOOL, "held": FLOAT}, {"on": BOOL, "later": FLOAT, "all": FLOAT}, **known)
    loop = node("Loop", [steps, "yes", "h"], ["last", "every"], body=inside)
    return model([loop, node("Add", ["every", "last"], ["y"])], (5, 1, 3), WEIGHTS)


def summed(every: Any) -> Any:
    """Return what that model makes of its states."""
    return every + every[-1]


@pytest.mark.parametrize("until", [None, 3, 9])
def test_a_loop_is_written_out_and_shares_weights(until: int | None) -> None:
    steps = min(5, until or 5)
    graph = same(recurrent(until), (5, 1, 3), lambda x: summed(states(x, steps)))
    layers = [op for op in graph.operators if op.kind == "FullyConnected"]
    assert len(layers) == 2 * steps
    assert len({op.inputs[1] for op in layers}) == 2


def test_a_loop_without_a_number_of_steps_ends_by_its_condition() -> None:
    same(recurrent(4, steps=""), (5, 1, 3), lambda x: summed(states(x, 4)))


@pytest.mark.parametrize("turned", [0, 1])
def test_a_scan(turned: int) -> None:
    nodes = [*cell("row"), node("Squeeze", ["later"], ["flat"])]
    inside = body(nodes, {"held": FLOAT, "row": FLOAT}, {"later": FLOAT, "flat": FLOAT})
    ways = {"scan_input_directions": [turned], "scan_output_directions": [turned]}
    scan = node(
        "Scan",
        ["h", "x"],
        ["last", "every"],
        body=inside,
        num_scan_inputs=1,
        scan_input_axes=[-2],
        scan_output_axes=[1],
        **ways,
    )
    reshaped = [node("Transpose", ["every"], ["turned"]), node("Add", ["turned", "last"], ["y"])]

    def wanted(x: Any) -> Any:
        every = states(x[0, :, None][:: -1 if turned else 1], 5)
        return every[:: -1 if turned else 1, 0] + every[-1]

    same(model([scan, *reshaped], (1, 5, 3), WEIGHTS), (1, 5, 3), wanted)


@pytest.mark.parametrize("rank", [2, 3])
def test_a_branch_of_a_known_condition_is_taken(rank: int) -> None:
    # So PyTorch's older exporter writes squeeze(1): by the size that the dimension has.
    squeeze = body([node("Squeeze", ["x", "one"], ["s"])], {}, {"s": FLOAT}, one=np.array([1]))
    keep = body([node("Relu", ["x"], ["k"])], {}, {"k": FLOAT})
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "one"], ["size"]),
        node("Equal", ["size", "one"], ["is"]),
        node("If", ["is"], ["y"], then_branch=squeeze, else_branch=keep),
    ]
    shape = (2, 1, 3) if rank == 3 else (2, 3)
    graph = same(model(nodes, shape, {"one": np.array(1)}), shape, lambda x: x[:, 0] if rank == 3 else np.maximum(x, 0))
    assert [op.kind for op in graph.operators] == ["Reshape" if rank == 3 else "Relu"]


def test_a_branch_inside_a_loop_reads_what_is_around_both() -> None:
    even = body([node("Mul", ["held", "w"], ["e"])], {}, {"e": FLOAT})
    odd = body([node("Add", ["held", "row"], ["o"])], {}, {"o": FLOAT})
    nodes = [
        node("Mod", ["i", "two"], ["left"]),
        node("Equal", ["left", "zero"], ["is"]),
        node("Gather", ["x", "i"], ["row"], axis=0),
        node("If", ["is"], ["later"], then_branch=even, else_branch=odd),
    ]
    inputs = {"i": INT, "asked": BOOL, "held": FLOAT}
    inside = body(nodes, inputs, {"asked": BOOL, "later": FLOAT}, two=2, zero=0)
    loop = node("Loop", ["steps", "", "h"], ["y"], body=inside)
    constants = {"steps": np.array(4), "h": np.ones(3, np.float32), "w": np.float32([2, 3, 4])}
    graph = same(model([loop], (4, 3), constants), (4, 3), lambda x: (constants["w"] + x[1]) * constants["w"] + x[3])
    assert [op.kind for op in graph.operators if op.kind in ("Add", "Mul")] == ["Add", "Mul", "Add"]


def refusal(made: Any) -> str:
    """Return why a model is not imported."""
    with pytest.raises(FrontendError) as told:
        load_onnx(made.SerializeToString(), name="made")
    return str(told.value)


def test_a_way_that_depends_on_data_is_refused() -> None:
    one = body([node("Relu", ["x"], ["a"])], {}, {"a": FLOAT})
    two = body([node("Neg", ["x"], ["b"])], {}, {"b": FLOAT})
    nodes = [
        node("ReduceMax", ["x"], ["most"], keepdims=0),
        node("Greater", ["most", "zero"], ["is"]),
        node("If", ["is"], ["y"], then_branch=one, else_branch=two),
    ]
    said = refusal(model(nodes, (2, 3), {"zero": np.float32(0)}))
    assert "operator 2 If: it branches at run time: which branch runs depends on its data" in said


def test_loops_that_do_not_end_or_fit_are_refused() -> None:
    endless = recurrent(np.array(10**6), steps="")
    assert "operator 0 Gather of loop_0" in refusal(endless)
    count = body([], {"i": INT, "asked": BOOL}, {"asked": BOOL, "i": INT})
    loop = node("Loop", ["", "yes"], ["c"], body=count)
    assert "more than 1024 steps" in refusal(model([loop, node("Relu", ["x"], ["y"])], (2,), WEIGHTS))
    short = body([], {"i": INT}, {"i": INT})
    wrong = node("Loop", ["steps", "yes"], ["c"], body=short)
    assert "has 1 inputs, 2 are expected" in refusal(model([wrong, node("Relu", ["x"], ["y"])], (2,), WEIGHTS))
    inside = body([node("Det", ["x"], ["d"])], {"i": INT, "asked": BOOL}, {"asked": BOOL, "d": FLOAT})
    named = node("Loop", ["steps", "yes"], ["y"], body=inside, name="outer")
    assert "operator 0 Det of outer: this operator is not supported" in refusal(model([named], (2, 2), WEIGHTS))


def test_the_work_of_loops_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utvm.frontends.onnx_control._MOST_WORK", 20)
    assert "run too long" in refusal(recurrent())
