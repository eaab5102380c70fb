"""Loops of .tflite files whose end is known: against tflite-micro, numpy, and what must be refused."""

from __future__ import annotations

import numpy as np
import pytest

import utvm
from tests.support.host import run_on_host
from tests.support.loops import Recurrent, copy_of, counted, number
from tests.support.oracle import Oracle
from tests.support.streams import CODES, UNITS, activation, constant, encoded
from tests.support.target import run_programs
from utvm.cores import get_core
from utvm.frontends import FrontendError, load_tflite
from utvm.frontends.tflite_writer import Subgraph, write_subgraphs
from utvm.graph import DType, Quantization
from utvm.lowering import lower
from utvm.passes import run_passes


@pytest.mark.parametrize("listed", [False, True])
def test_a_float_loop_is_numpys(*, listed: bool) -> None:
    cases = [Recurrent(np.random.default_rng(seed), real=True, listed=listed) for seed in range(12)]
    programs = [lower(run_passes(load_tflite(case.model)), get_core("cortex-m0")) for case in cases]
    got = run_on_host(programs, [[case.x] for case in cases])
    for case, (y,) in zip(cases, got, strict=True):
        np.testing.assert_allclose(y, case.states if listed else case.states[-1], atol=1e-5)


def test_an_int8_loop_is_tflite_micros_bit_by_bit() -> None:
    # tflite-micro has no tensors of a size that varies, so none of these loops has a list.
    cases = [Recurrent(np.random.default_rng(seed), real=False, listed=False) for seed in range(24)]
    programs = [lower(run_passes(load_tflite(case.model)), get_core("cortex-m7")) for case in cases]
    with utvm.connect("qemu-cortex-m7") as session:
        got = run_programs(session, programs, [[case.x] for case in cases])
    for case, (y,) in zip(cases, got, strict=True):
        np.testing.assert_array_equal(y, Oracle(case.model).run(case.x)[0])


def test_the_list_of_an_int8_loop_ends_with_its_last_state() -> None:
    for seed in range(12):
        cases = [Recurrent(np.random.default_rng(seed), real=False, listed=listed) for listed in (False, True)]
        programs = [lower(run_passes(load_tflite(case.model)), get_core("cortex-m0")) for case in cases]
        (last,), (every,) = run_on_host(programs, [[case.x] for case in cases])
        assert every.shape == (cases[0].steps, 1, cases[0].width)
        np.testing.assert_array_equal(every[-1], last)


def test_steps_share_their_weights() -> None:
    case = next(
        c for c in (Recurrent(np.random.default_rng(s), real=True, listed=False) for s in range(9)) if c.steps > 3
    )
    graph = load_tflite(case.model)
    layers = [op for op in graph.operators if op.kind == "FullyConnected"]
    assert len(layers) == 2 * case.steps
    assert len({op.inputs[1] for op in layers}) == 2


def _looping(limit: int, step: int, *, body: int = 2, cut: Quantization | None = None) -> bytes:
    """Return a loop from 0 to a limit whose body adds a step; `body` may be another subgraph.

    It doubles `x`. With `cut` it reads all of it by a SLICE of these units first.
    """
    x, start = activation("x", 1, 4), constant("start", 0)
    given = [start, x]
    i, held = (copy_of(t, f"body/{t.name}") for t in given)
    later, y, read = number("later"), copy_of(x, "y"), held
    operators = [encoded(CODES.ADD, [i, constant("step", step)], [later], "AddOptions")]
    if cut is not None:
        read = activation("read", 1, 4, quant=cut)
        places = [constant("begin", [0, 0]), constant("sizes", [-1, -1])]
        operators.append(encoded(CODES.SLICE, [held, *places], [read], "SliceOptions"))
    operators.append(encoded(CODES.ADD, [read, read], [y], "AddOptions"))
    left = [copy_of(t, f"left/{t.name}") for t in given]
    loop = encoded(CODES.WHILE, given, left, "WhileOptions", CondSubgraphIndex=1, BodySubgraphIndex=body)
    return write_subgraphs(
        [
            Subgraph(name="main", inputs=[x], outputs=[left[1]], operators=[loop]),
            counted(limit, given),
            Subgraph(name="body", inputs=[i, held], outputs=[later, y], operators=operators),
        ]
    )


def test_an_endless_loop_is_refused() -> None:
    with pytest.raises(FrontendError, match="more than 1024 steps"):
        load_tflite(_looping(5, 0))


def test_outputs_keep_the_names_of_the_file() -> None:
    assert [t.name for t in load_tflite(_looping(3, 1)).outputs] == ["left/x"]


def test_a_loop_that_writes_the_input_is_refused() -> None:
    x, start = activation("x", 1, 4), constant("start", 0)
    loop = encoded(CODES.WHILE, [start, x], [number("n"), x], "WhileOptions", CondSubgraphIndex=1, BodySubgraphIndex=1)
    main = Subgraph(name="main", inputs=[x], outputs=[x], operators=[loop])
    with pytest.raises(FrontendError, match="tensor 'x': an output can't be an input of its graph"):
        load_tflite(write_subgraphs([main, counted(0, [start, x])]))


def test_a_part_of_other_units_is_refused() -> None:
    load_tflite(_looping(3, 1, cut=UNITS))
    with pytest.raises(FrontendError, match="SLICE of while_0: tensors 'x' and 'read' must have the same scale"):
        load_tflite(_looping(3, 1, cut=Quantization.per_tensor(0.5)))


def test_the_work_of_loops_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utvm.frontends.tflite_calls._MOST_WORK", 60)
    load_tflite(_looping(2, 1))
    with pytest.raises(FrontendError, match="run too long"):
        load_tflite(_looping(9, 1))


def test_a_subgraph_that_is_not_there_is_refused() -> None:
    with pytest.raises(FrontendError, match="names subgraph 7, which is not there"):
        load_tflite(_looping(5, 1, body=7))


def test_a_loop_that_runs_itself_is_refused() -> None:
    # The body of the loop is the main graph, which has the loop.
    x = activation("x", dtype=DType.INT32, quant=None)
    left = number("left")
    loop = encoded(CODES.WHILE, [x], [left], "WhileOptions", CondSubgraphIndex=1, BodySubgraphIndex=0)
    with pytest.raises(FrontendError, match="depends on its data"):
        load_tflite(
            write_subgraphs([Subgraph(name="m", inputs=[x], outputs=[left], operators=[loop]), counted(4, [x])])
        )
    start, inside = constant("start", 0), number("inside")
    again = encoded(CODES.WHILE, [inside], [left], "WhileOptions", CondSubgraphIndex=1, BodySubgraphIndex=2)
    first = encoded(CODES.WHILE, [start], [number("out")], "WhileOptions", CondSubgraphIndex=1, BodySubgraphIndex=2)
    graphs = [
        Subgraph(name="m", inputs=[], outputs=first.outputs, operators=[first]),
        counted(4, [start]),
        Subgraph(name="body", inputs=[inside], outputs=[left], operators=[again]),
    ]
    with pytest.raises(FrontendError, match="more than 4 deep"):
        load_tflite(write_subgraphs(graphs))


def test_an_end_that_depends_on_data_is_refused_in_one_line() -> None:
    x, count = activation("x", 1, 4), activation("n", dtype=DType.INT32, quant=None)
    given = [count, x]
    i, held = (copy_of(t, f"body/{t.name}") for t in given)
    later = number("later")
    body = [encoded(CODES.ADD, [i, constant("one", 1)], [later], "AddOptions")]
    left = [copy_of(t, f"left/{t.name}") for t in given]
    loop = encoded(CODES.WHILE, given, left, "WhileOptions", CondSubgraphIndex=1, BodySubgraphIndex=2)
    data = write_subgraphs(
        [
            Subgraph(name="main", inputs=[x, count], outputs=[left[1]], operators=[loop]),
            counted(9, given),
            Subgraph(name="body", inputs=[i, held], outputs=[later, held], operators=body),
        ]
    )
    with pytest.raises(FrontendError, match="operator 0 WHILE: it branches at run time: when its loop ends depends"):
        load_tflite(data)


def test_what_a_body_may_not_have_is_told_once() -> None:
    x, start = activation("x", 1, 4), constant("start", 0)
    given = [start, x]
    i, held = (copy_of(t, f"body/{t.name}") for t in given)
    later, y, z = number("later"), copy_of(x, "y"), copy_of(x, "z")
    body = [
        encoded(CODES.ADD, [i, constant("one", 1)], [later], "AddOptions"),
        encoded(CODES.HASHTABLE_FIND, [held], [y]),
        encoded(CODES.CONV_3D, [y], [z]),
    ]
    left = [copy_of(t, f"left/{t.name}") for t in given]
    loop = encoded(CODES.WHILE, given, left, "WhileOptions", CondSubgraphIndex=1, BodySubgraphIndex=2)
    graphs = [
        Subgraph(name="main", inputs=[x], outputs=[left[1]], operators=[loop]),
        counted(9, given),
        Subgraph(name="body", inputs=[i, held], outputs=[later, z], operators=body),
    ]
    with pytest.raises(FrontendError) as told:
        load_tflite(write_subgraphs(graphs))
    assert str(told.value).count("this operator is not supported") == 2
    assert "operator 1 HASHTABLE_FIND of while_0" in str(told.value)


@pytest.mark.parametrize("taken", [True, False])
@pytest.mark.parametrize("computed", [True, False])
def test_a_branch_that_a_constant_chooses_is_taken(*, taken: bool, computed: bool) -> None:
    x = activation("x", 1, 4)
    y = activation("y", 1, 4)
    branches = []
    for name, code, options in (("then", CODES.ADD, "AddOptions"), ("else", CODES.SUB, "SubOptions")):
        a, b = activation(f"{name}/a", 1, 4), activation(f"{name}/b", 1, 4)
        branches.append(Subgraph(name=name, inputs=[a], outputs=[b], operators=[encoded(code, [a, a], [b], options)]))
    known = constant("known", taken, dtype=DType.BOOL)
    operators = []
    if computed:
        known = activation("known", dtype=DType.BOOL, quant=None)
        operators.append(encoded(CODES.LESS, [constant("n", 4 - taken), constant("m", 4)], [known], "LessOptions"))
    operators.append(encoded(CODES.IF, [known, x], [y], "IfOptions", ThenSubgraphIndex=1, ElseSubgraphIndex=2))
    graph = load_tflite(write_subgraphs([Subgraph(name="m", inputs=[x], outputs=[y], operators=operators), *branches]))
    assert [op.kind for op in graph.operators] == ["Add" if taken else "Sub"]
    assert [t.name for t in graph.outputs] == ["y"]


def test_a_condition_is_one_bool() -> None:
    x, y = activation("x", 1, 4), activation("y", 1, 4)
    op = encoded(CODES.IF, [constant("known", 1), x], [y], "IfOptions", ThenSubgraphIndex=1, ElseSubgraphIndex=1)
    a, b = activation("a", 1, 4), activation("b", 1, 4)
    branch = Subgraph(name="b", inputs=[a], outputs=[b], operators=[encoded(CODES.ADD, [a, a], [b], "AddOptions")])
    with pytest.raises(FrontendError, match=r"its condition 'known' is int32\[\], one bool is expected"):
        load_tflite(write_subgraphs([Subgraph(name="m", inputs=[x], outputs=[y], operators=[op]), branch]))
