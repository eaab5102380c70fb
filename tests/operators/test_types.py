"""Operators in float32 and int16, from the file to C: against tflite-micro, and the same bits on three cores."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

import utvm
from tests.operators.test_table import in_any_config
from tests.support.draw import KINDS
from tests.support.drawer import Array
from tests.support.encoded import MAKERS
from tests.support.host import run_on_host
from tests.support.oracle import Oracle
from tests.support.target import run_programs
from tests.support.typed import typed, typed_file, values
from utvm.cores import get_core
from utvm.frontends import load_tflite
from utvm.frontends.tflite_general import FLOAT_ALONE
from utvm.frontends.tflite_writer import write_tflite
from utvm.graph import (
    FULL_INT8,
    Add,
    Conv2D,
    Dequantize,
    DType,
    Graph,
    Logistic,
    Padding,
    Quantization,
    Quantize,
    Tanh,
    Tensor,
)
from utvm.graph.reference import differing, evaluate
from utvm.lowering import lower
from utvm.passes import run_passes

_SEEDS = 6
_FLOAT = [kind for kind in KINDS if kind not in ("Quantize", "Dequantize")]
_WIDE = [kind for kind in _FLOAT if kind not in ("SpaceToBatch", "BatchToSpace", "ResizeBilinear")]
"""What tflite-micro has in int16."""
_NAMED = [
    *(k for k in MAKERS if not k.startswith("LOGICAL") and k != "REDUCE_ALL"),
    *("EXP", "LOG", "SQRT", "L2_POOL_2D"),
    *FLOAT_ALONE,
]
_NAMED_WIDE = (
    *("TRANSPOSE_CONV", "ABS", "MAXIMUM", "MINIMUM", "SELECT_V2", "SUM", "BATCH_MATMUL", "RSQRT"),
    "SQUARED_DIFFERENCE",
)
_LIBRARY = ("Softmax", "Logistic", "Tanh", "Elu", "Exp", "Log", "Sin", "Cos")
"""Where tflite-micro calls a mathematical library."""

Case = tuple[bytes, Graph, list[Array]]


@pytest.fixture(scope="module", params=[DType.FLOAT32, DType.INT16])
def every(request: pytest.FixtureRequest) -> list[Case]:
    dtype = request.param
    drawn, named = (_FLOAT, _NAMED) if dtype is DType.FLOAT32 else (_WIDE, _NAMED_WIDE)
    found = []
    for seed in range(_SEEDS):
        for kind in drawn:
            graph, inputs = typed(kind, dtype, seed)
            file = write_tflite(graph)
            found.append((file, load_tflite(file), inputs))
        for kind in named:
            file, inputs = typed_file(kind, dtype, seed)
            found.append((file, load_tflite(file), inputs))
    return found


def check(graph: Graph, inputs: list[Array], got: Sequence[Array]) -> None:
    for value, want in zip(got, evaluate(graph, inputs).values(), strict=True):
        assert np.array_equal(value.view(np.uint8), want.view(np.uint8)), graph


def test_the_reference_is_tflite_micro(every: list[Case]) -> None:
    for file, graph, inputs in every:
        wanted = Oracle(file).run(*inputs)
        loose = any(op.kind in _LIBRARY and op.outputs[0].dtype is DType.FLOAT32 for op in graph.operators)
        for got, want in zip(evaluate(graph, inputs).values(), wanted, strict=True):
            bounds = {"rtol": 2e-6, "atol": 1e-7} if loose else {"rtol": 0, "atol": 0}
            np.testing.assert_allclose(got, want.reshape(got.shape), **bounds, err_msg=str(graph))


def test_kernels_here(every: list[Case]) -> None:
    core = get_core("cortex-m3")
    outputs = run_on_host([lower(graph, core) for _, graph, _ in every], [inputs for _, _, inputs in every])
    for (_, graph, inputs), got in zip(every, outputs, strict=True):
        check(graph, inputs, got)


@pytest.mark.parametrize("board", ["qemu-cortex-m7", "qemu-cortex-m0", "qemu-riscv32"])
def test_kernels_on_a_core(every: list[Case], board: str) -> None:
    some = every[: len(every) // _SEEDS]
    with utvm.connect(board) as session:
        programs = [in_any_config(graph, session.board.core, seed) for seed, (_, graph, _) in enumerate(some)]
        outputs = run_programs(session, programs, [inputs for _, _, inputs in some])
    for (_, graph, inputs), got in zip(some, outputs, strict=True):
        if got is not None:
            check(graph, inputs, got)


def test_what_is_no_number_is_so_everywhere() -> None:
    """Of roots of negative numbers and quotients of zeros, processors differ in sign and payload."""
    graphs = [load_tflite(typed_file(kind, DType.FLOAT32, 1)[0]) for kind in ("SQRT", "RSQRT", "LOG", "DIV")]
    inputs = [[np.full(t.shape, 0 if len(g.inputs) > 1 else -2, np.float32) for t in g.inputs] for g in graphs]
    with utvm.connect("qemu-cortex-m7") as session:
        there = run_programs(session, [lower(g, session.board.core) for g in graphs], inputs)
    here = run_on_host([lower(g, get_core("cortex-m3")) for g in graphs], inputs)
    for graph, given, *found in zip(graphs, inputs, here, there, strict=True):
        (want,) = evaluate(graph, given).values()
        assert np.isnan(want).all()
        assert not any(differing(got, want).any() for (got,) in found)


def test_types_may_change_anywhere() -> None:
    """Float layers around int8 ones: Quantize and Dequantize in the middle, twice."""
    rng = np.random.default_rng(1)
    x, a, y = (Tensor(name=n, shape=(1, 6, 6, 3), dtype=DType.FLOAT32) for n in ("x", "a", "y"))
    q, r = (
        Tensor(name=n, shape=(1, 6, 6, 3), dtype=DType.INT8, quant=Quantization.per_tensor(s, z))
        for n, s, z in (("q", 0.05, 3), ("r", 0.1, -4))
    )
    data = rng.standard_normal((3, 3, 3, 3)).astype(np.float32)
    real = Tensor(name="w", shape=data.shape, dtype=DType.FLOAT32, data=data)
    stored = rng.integers(-127, 128, (3, 3, 3, 3)).astype(np.int8)
    w = Tensor(name="v", shape=stored.shape, dtype=DType.INT8, quant=Quantization.per_tensor(0.01), data=stored)
    same = Padding(top=1, bottom=1, left=1, right=1)
    b = dataclasses.replace(x, name="b")
    operators = (
        Conv2D(name="first", x=x, weights=real, bias=None, y=a, padding=same),
        Quantize(name="in", x=a, y=q),
        Conv2D(name="second", x=q, weights=w, bias=None, y=r, padding=same),
        Dequantize(name="out", x=r, y=b),
        Add(name="sum", a=a, b=b, y=y),
    )
    graph = run_passes(load_tflite(write_tflite(Graph(name="mixed", operators=operators, inputs=(x,), outputs=(y,)))))
    inputs = [values(DType.FLOAT32, x.shape, rng)]
    (got,) = run_on_host([lower(graph, get_core("cortex-m3"))], [inputs])
    check(graph, inputs, got)
    np.testing.assert_array_equal(got[0], Oracle(write_tflite(graph)).run(*inputs)[0])


@pytest.mark.parametrize("make", [Logistic, Tanh])
@pytest.mark.parametrize("scale", [1 / 4096, 1 / 2048, 0.001, 0.0001])
def test_every_value_of_int16_has_the_sigmoid_of_tflite_micro(make: type[Logistic | Tanh], scale: float) -> None:
    x, y = (
        Tensor(name=n, shape=(65536,), dtype=DType.INT16, quant=Quantization.per_tensor(s))
        for n, s in (("x", scale), ("y", 1 / 32768))
    )
    graph = Graph(name="all", operators=(make(name="op", x=x, y=y),), inputs=(x,), outputs=(y,))
    every_value = np.arange(-32768, 32768).astype(np.int16)
    (want,) = Oracle(write_tflite(graph)).run(every_value)
    np.testing.assert_array_equal(evaluate(graph, [every_value])["y"], want)
    ((got,),) = run_on_host([lower(graph, get_core("cortex-m3"))], [[every_value]])
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("kind", ["Conv2D", "DepthwiseConv2D", "FullyConnected", "Add", "MaxPool2D"])
def test_no_clamp_is_the_whole_range_of_int16(kind: str) -> None:
    """A graph's operator without a clamp has int8's range: it limits nothing."""
    graph, inputs = typed(kind, DType.INT16, 3)
    (op,) = graph.operators
    (y,) = op.outputs
    loud = {y: dataclasses.replace(y, quant=Quantization.per_tensor(y.scale / 64))} if kind != "MaxPool2D" else {}
    op = dataclasses.replace(op, clamp=FULL_INT8).with_tensors(loud)  # type: ignore[call-arg]
    graph = dataclasses.replace(graph, operators=(op,), outputs=op.outputs)
    assert np.abs(next(iter(evaluate(graph, inputs).values())).astype(int)).max() > 128
    for core in ("cortex-m3", "cortex-m0"):
        (got,) = run_on_host([lower(graph, get_core(core))], [inputs])
        check(graph, inputs, got)


@pytest.mark.parametrize("outside", [DType.FLOAT32, DType.INT8])
def test_int16_between_other_types(outside: DType) -> None:
    quant = None if outside is DType.FLOAT32 else Quantization.per_tensor(0.1, 5)
    x, y = (Tensor(name=n, shape=(3, 40), dtype=outside, quant=quant) for n in ("x", "y"))
    wide = Tensor(name="wide", shape=(3, 40), dtype=DType.INT16, quant=Quantization.per_tensor(0.0007))
    back = (Quantize if quant else Dequantize)(name="out", x=wide, y=y)
    graph = Graph(name="g", operators=(Quantize(name="in", x=x, y=wide), back), inputs=(x,), outputs=(y,))
    inputs = [values(outside, x.shape, np.random.default_rng(2))]
    (got,) = run_on_host([lower(graph, get_core("cortex-m3"))], [inputs])
    check(graph, inputs, got)
    np.testing.assert_array_equal(got[0], Oracle(write_tflite(graph)).run(*inputs)[0])
