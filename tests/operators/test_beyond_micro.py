"""Operators of TFLite that tflite-micro lacks, which converters write: against their formulas, on three cores."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import tflite

import utvm
from tests.support.drawer import Array
from tests.support.encoded import BEYOND, Encoded, encoded
from tests.support.host import run_on_host
from tests.support.target import run_programs
from tests.support.typed import typed_file
from utvm.cores import get_core
from utvm.frontends import load_tflite
from utvm.frontends.tflite_encoders import EncodedOperator
from utvm.frontends.tflite_writer import write_encoded
from utvm.graph import DType, Graph, Quantization, Tensor
from utvm.graph.reference import evaluate
from utvm.lowering import lower

_REAL: dict[str, Callable[[float], float]] = {
    "Gelu": lambda x: 0.5 * x * math.erfc(-x / math.sqrt(2)),
    "GeluTanh": lambda x: 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "Exp": lambda x: math.exp(min(x, 700)),
    "Log": lambda x: math.log(x) if x > 0 else -math.inf,
}


@pytest.fixture(scope="module")
def every() -> list[tuple[Encoded, Graph]]:
    cases = [encoded(kind, seed) for seed in range(12) for kind in BEYOND]
    return [(case, load_tflite(case.model)) for case in cases]


def test_tables_are_the_formulas_to_half_a_step(every: list[tuple[Encoded, Graph]]) -> None:
    seen = set()
    for case, graph in every:
        op = graph.operators[0]
        if op.kind not in _REAL:
            continue
        seen.add(op.kind)
        x, y = op.inputs[0], op.outputs[0]
        (got,) = evaluate(graph, case.inputs).values()
        real = np.array([_REAL[op.kind]((int(q) - x.zero_point) * x.scale) for q in case.inputs[0].ravel()])
        wanted = np.clip(real / y.scale + y.zero_point, -128, 127)
        assert np.abs(got.ravel() - wanted).max() <= 0.5 + 1e-3, graph
    assert seen == set(_REAL)


def test_roots_and_limits_are_cut_and_rounded_as_tflites(every: list[tuple[Encoded, Graph]]) -> None:
    for case, graph in every:
        op = graph.operators[0]
        if case.kind not in ("SQRT", "RELU_N1_TO_1", "RELU_0_TO_1"):
            continue
        x, y = op.inputs[0], op.outputs[0]
        real = (case.inputs[0].astype(np.float64) - x.zero_point) * x.scale
        least = -1.0 if case.kind == "RELU_N1_TO_1" else 0.0
        exact = np.sqrt(np.maximum(real, 0)) if case.kind == "SQRT" else np.clip(real, least, 1)
        wanted = np.clip(exact / y.scale + y.zero_point, -128, 127)
        (got,) = evaluate(graph, case.inputs).values()
        off = got - wanted
        assert off.min() >= (-1.001), graph
        assert off.max() <= (0.001 if case.kind == "SQRT" else 1.001), graph


def test_int32_wraps(every: list[tuple[Encoded, Graph]]) -> None:
    for case, graph in every:
        if case.kind in ("ADD", "SUB", "MUL"):
            (got,) = evaluate(graph, case.inputs).values()
            a, b = (x.astype(np.int64) for x in case.inputs)
            want = {"ADD": a + b, "SUB": a - b, "MUL": a * b}[case.kind]
            np.testing.assert_array_equal(got, want.astype(np.int32))


def test_tiles_and_choices_are_numpys(every: list[tuple[Encoded, Graph]]) -> None:
    for case, graph in every:
        (got,) = evaluate(graph, case.inputs).values()
        if case.kind == "TILE":
            (x,) = case.inputs
            times = [out // size for out, size in zip(got.shape, x.shape, strict=True)]
            np.testing.assert_array_equal(got, np.tile(x, times))
        elif case.kind == "REDUCE_ANY":
            axes = tuple(graph.operators[0].axes)  # type: ignore[attr-defined]
            np.testing.assert_array_equal(got.ravel(), np.any(case.inputs[0], axis=axes).ravel())
        elif case.kind == "SELECT":
            np.testing.assert_array_equal(got, np.where(*case.inputs))


def check(every: list[tuple[Encoded, Graph]], outputs: Sequence[Sequence[Array] | None]) -> None:
    for (case, graph), got in zip(every, outputs, strict=True):
        assert got is not None
        for value, want in zip(got, evaluate(graph, case.inputs).values(), strict=True):
            np.testing.assert_array_equal(value, want, err_msg=case.kind)


def test_kernels_here(every: list[tuple[Encoded, Graph]]) -> None:
    programs = [lower(graph, get_core("cortex-m3")) for _, graph in every]
    check(every, run_on_host(programs, [case.inputs for case, _ in every]))


@pytest.mark.parametrize("board", ["qemu-cortex-m7", "qemu-riscv32"])
def test_kernels_on_a_core(every: list[tuple[Encoded, Graph]], board: str) -> None:
    some = every[: 4 * len(BEYOND)]
    with utvm.connect(board) as session:
        programs = [lower(graph, session.board.core) for _, graph in some]
        check(some, run_programs(session, programs, [case.inputs for case, _ in some]))


@pytest.mark.parametrize("kind", ["REDUCE_MAX", "REDUCE_MIN", "TILE", "SELECT", "BROADCAST_TO"])
def test_movement_in_int16(kind: str) -> None:
    files = [typed_file(kind, DType.INT16, seed) for seed in range(8)]
    graphs = [load_tflite(file) for file, _ in files]
    outputs = run_on_host([lower(graph, get_core("cortex-m7")) for graph in graphs], [xs for _, xs in files])
    for graph, (_, xs), (got,) in zip(graphs, files, outputs, strict=True):
        (want,) = evaluate(graph, xs).values()
        np.testing.assert_array_equal(got, want)
        if kind in ("REDUCE_MAX", "REDUCE_MIN"):
            axes = tuple(graph.operators[0].axes)  # type: ignore[attr-defined]
            extreme = np.max if kind == "REDUCE_MAX" else np.min
            np.testing.assert_array_equal(got.ravel(), extreme(xs[0], axis=axes).ravel())


@pytest.mark.parametrize(
    ("kind", "formula"),
    [
        ("SIGN", np.sign),
        ("RELU_N1_TO_1", lambda x: np.clip(x, -1, 1)),
        ("RELU_0_TO_1", lambda x: np.clip(x, 0, 1)),
    ],
)
def test_float32(kind: str, formula: Callable[[Array], Array]) -> None:
    file, xs = typed_file(kind, DType.FLOAT32, 3)
    (got,) = run_on_host([lower(load_tflite(file), get_core("cortex-m3"))], [xs])
    np.testing.assert_array_equal(got[0], formula(xs[0]).astype(np.float32))


@pytest.mark.parametrize("exponent", [-2.0, -0.5, 0.5, 1.0, 2.0, 3.0, 4.0, 0.3, 5.5])
def test_powers(exponent: float) -> None:
    x, y = (Tensor(name=name, shape=(40,), dtype=DType.FLOAT32) for name in "xy")
    number = Tensor(name="e", shape=(), dtype=DType.FLOAT32, data=np.array(exponent, np.float32))
    op = EncodedOperator(
        code=tflite.BuiltinOperator.POW, version=1, inputs=(x, number), outputs=(y,), options="PowOptions"
    )
    graph = load_tflite(write_encoded("power", (x,), (y,), [op]))
    values = np.linspace(0.1, 3, 40).astype(np.float32)
    (got,) = run_on_host([lower(graph, get_core("cortex-m3"))], [[values]])
    np.testing.assert_allclose(got[0], values.astype(np.float64) ** exponent, rtol=2e-5)


def test_places_in_int64() -> None:
    x = Tensor(name="x", shape=(4, 7), dtype=DType.INT8, quant=Quantization.per_tensor(0.1, 3))
    axis = Tensor(name="axis", shape=(), dtype=DType.INT32, data=np.array(-1, np.int32))
    y = Tensor(name="y", shape=(4,), dtype=DType.INT64)
    op = EncodedOperator(
        code=tflite.BuiltinOperator.ARG_MAX,
        version=2,
        inputs=(x, axis),
        outputs=(y,),
        options="ArgMaxOptions",
        fields={"OutputType": tflite.TensorType.INT64},
    )
    graph = load_tflite(write_encoded("places", (x,), (y,), [op]))
    assert "reducer=ArgMax" in str(graph)
    values = np.random.default_rng(0).integers(-128, 128, (4, 7)).astype(np.int8)
    ((got,),) = run_on_host([lower(graph, get_core("cortex-m3"))], [[values]])
    np.testing.assert_array_equal(got, values.argmax(axis=1))
    assert got.dtype == np.int64


def test_gelu_in_float32_is_close_and_the_same_on_cores() -> None:
    files = [typed_file("GELU", DType.FLOAT32, seed) for seed in range(6)]
    graphs = [load_tflite(file) for file, _ in files]
    inputs: list[list[Array]] = [xs for _, xs in files]
    wanted = [next(iter(evaluate(graph, xs).values())) for graph, xs in zip(graphs, inputs, strict=True)]
    for graph, xs, want in zip(graphs, inputs, wanted, strict=True):
        real = np.array([_REAL[graph.operators[0].kind](float(x)) for x in xs[0].ravel()]).reshape(want.shape)
        np.testing.assert_allclose(want, real, rtol=1e-5, atol=1e-6)
    programs = [lower(graph, get_core("cortex-m7")) for graph in graphs]
    with utvm.connect("qemu-cortex-m7") as session:
        on_board = run_programs(session, programs, inputs)
    for outputs in (run_on_host(programs, inputs), on_board):
        for got, want in zip(outputs, wanted, strict=True):
            assert got is not None
            np.testing.assert_array_equal(got[0].view(np.uint32), want.view(np.uint32))
