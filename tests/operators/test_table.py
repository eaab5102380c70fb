"""Operators that are a line of a table: from the file to C, against tflite-micro's interpreter, on three cores."""

import pickle
from collections.abc import Sequence

import numpy as np
import pytest
import tflite

import utvm
from tests.support.encoded import BEYOND, MAKERS, Encoded, encoded
from tests.support.host import run_on_host, run_sanitized
from tests.support.oracle import Oracle
from tests.support.target import run_programs
from utvm.cores import Core, get_core
from utvm.frontends import FrontendError, load_tflite
from utvm.frontends.tflite_encoded import EncodedOperator
from utvm.frontends.tflite_writer import write_encoded
from utvm.graph import DType, Graph, Quantization, Tensor
from utvm.graph.functions import FUNCTIONS, REDUCERS
from utvm.graph.reference import evaluate
from utvm.kernels import FAMILIES
from utvm.lowering import Options, Program, lower

_SEEDS = 12


@pytest.fixture(scope="module")
def every() -> list[tuple[Encoded, Graph]]:
    cases = [encoded(kind, seed) for seed in range(_SEEDS) for kind in MAKERS]
    return [(case, load_tflite(case.model)) for case in cases]


def check(case: Encoded, graph: Graph, got: Sequence[np.ndarray]) -> None:
    for tensor, value, want in zip(graph.outputs, got, evaluate(graph, case.inputs).values(), strict=True):
        np.testing.assert_array_equal(value.view(want.dtype), want, err_msg=f"{case.kind} {tensor.name} {graph}")


def test_the_reference_is_tflite_micro(every: list[tuple[Encoded, Graph]]) -> None:
    for case, graph in every:
        wanted = Oracle(case.model).run(*case.inputs)
        for got, want in zip(evaluate(graph, case.inputs).values(), wanted, strict=True):
            np.testing.assert_array_equal(got, want.reshape(got.shape), err_msg=f"{case.kind} {graph}")


def test_every_line_of_the_table_is_drawn(every: list[tuple[Encoded, Graph]]) -> None:
    drawn = {op.kind for _, graph in every for op in graph.operators}
    # tflite-micro lacks these: test_beyond_micro.py draws them.
    drawn |= {
        op.kind for kind in BEYOND for seed in range(4) for op in load_tflite(encoded(kind, seed).model).operators
    }
    assert {each.name for each in (*FUNCTIONS, *REDUCERS) if each.inputs != (DType.FLOAT32,)} <= drawn


def test_kernels_here(every: list[tuple[Encoded, Graph]]) -> None:
    core = get_core("cortex-m3")
    some = every[: 4 * len(MAKERS)]
    outputs = run_on_host([lower(graph, core) for _, graph in some], [case.inputs for case, _ in some])
    for (case, graph), got in zip(some, outputs, strict=True):
        check(case, graph, got)


def in_any_config(graph: Graph, core: Core, seed: int) -> Program:
    """Lower with a random config of the family that is taken for each operator."""
    rng = np.random.default_rng(seed)
    choices = {}
    for op in graph.operators:
        family = next(family for family in FAMILIES if family.applies(op, core))
        config = {knob: values[rng.integers(len(values))] for knob, values in family.space(op, core).items()}
        if config and family.legal(op, core, config):
            choices[op.name] = family, config
    return lower(graph, core, Options(choices=choices))


def long_sums() -> list[Encoded]:
    """Sums of forty operands, and of forty elements, that leave int32."""
    wide, narrow = Quantization.per_tensor(0.5, -128), Quantization.per_tensor(20.0, 0)
    xs = [Tensor(name=f"x{i}", shape=(40,), dtype=DType.INT8, quant=wide) for i in range(40)]
    y = Tensor(name="y", shape=(40,), dtype=DType.INT8, quant=narrow)
    axis = Tensor(name="axis", shape=(1,), dtype=DType.INT32, data=np.zeros(1, np.int32))
    cases = [("ADD_N", xs, (), "AddNOptions"), ("CUMSUM", xs[:1], (axis,), "CumsumOptions")]
    found = []
    for kind, operands, constants, options in cases:
        code = getattr(tflite.BuiltinOperator, kind)
        op = EncodedOperator(code=code, version=1, inputs=(*operands, *constants), outputs=(y,), options=options)
        inputs = [np.full(40, 127, np.int8)] * len(operands)
        found.append(Encoded(kind, write_encoded("long", operands, (y,), [op]), inputs))
    return found


def test_sums_that_leave_32_bits_wrap_as_in_tflite_micro() -> None:
    cases = [(case, load_tflite(case.model)) for case in long_sums()]
    programs = [lower(graph, get_core("cortex-m3")) for _, graph in cases]
    outputs = run_sanitized(programs, [case.inputs for case, _ in cases], "gcc")
    for (case, graph), got in zip(cases, outputs, strict=True):
        check(case, graph, got)
        np.testing.assert_array_equal(got[0], Oracle(case.model).run(*case.inputs)[0])


@pytest.mark.parametrize(("kind", "options"), [("MAXIMUM", "MaximumMinimumOptions"), ("ADD_N", "AddNOptions")])
def test_one_tensor_may_be_both_operands(kind: str, options: str) -> None:
    x, y = (Tensor(name=n, shape=(4, 5), dtype=DType.INT8, quant=Quantization.per_tensor(0.1, 3)) for n in ("x", "y"))
    code = getattr(tflite.BuiltinOperator, kind)
    op = EncodedOperator(code=code, version=2, inputs=(x, x), outputs=(y,), options=options)
    case = Encoded(kind, write_encoded("twice", (x,), (y,), [op]), [np.arange(-10, 10, dtype=np.int8).reshape(4, 5)])
    graph = load_tflite(case.model)
    (got,) = run_on_host([lower(graph, get_core("cortex-m3"))], [case.inputs])
    check(case, graph, got)
    np.testing.assert_array_equal(got[0], Oracle(case.model).run(*case.inputs)[0])


@pytest.mark.parametrize("board", ["qemu-cortex-m7", "qemu-cortex-m0", "qemu-riscv32"])
def test_kernels_on_a_core(every: list[tuple[Encoded, Graph]], board: str) -> None:
    some = every[: len(MAKERS)]
    with utvm.connect(board) as session:
        programs = [in_any_config(graph, session.board.core, seed) for seed, (_, graph) in enumerate(some)]
        outputs = run_programs(session, programs, [case.inputs for case, _ in some])
    for (case, graph), got in zip(some, outputs, strict=True):
        if got is None:
            assert board == "qemu-cortex-m0"
            continue
        check(case, graph, got)


def test_operators_of_the_table_are_sent_to_other_processes(every: list[tuple[Encoded, Graph]]) -> None:
    for _, graph in every[: len(MAKERS)]:
        for op, again in zip(graph.operators, pickle.loads(pickle.dumps(graph.operators)), strict=True):
            assert again.kind == op.kind


@pytest.mark.parametrize("name", ["NEG", "SIN", "FLOOR"])
def test_what_tflite_micro_has_in_float32_alone_is_refused_with_that_reason(name: str) -> None:

    x, y = (Tensor(name=n, shape=(4,), dtype=DType.INT8, quant=Quantization.per_tensor(0.1, 3)) for n in ("x", "y"))
    op = EncodedOperator(code=getattr(tflite.BuiltinOperator, name), version=2, inputs=(x,), outputs=(y,), options=None)
    with pytest.raises(FrontendError, match="float32 alone"):
        load_tflite(write_encoded("refused", (x,), (y,), [op]))
