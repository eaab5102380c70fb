"""Networks that repeat themselves: places that are alike in all turns, loops in C, and what these compute."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import utvm
from tests.lowering.test_plan import check
from tests.support.loops import Recurrent
from utvm.cores import get_core
from utvm.frontends import load_tflite
from utvm.graph import Conv2D, DType, Graph, Padding, Quantization, Tensor
from utvm.graph.reference import evaluate
from utvm.kernels import PORTABLE_FAMILIES
from utvm.lowering import Options, Program, Request, lower, plan_memory
from utvm.passes import run_passes

shapes = st.tuples(st.integers(1, 60), st.integers(0, 4), st.integers(0, 11))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(shapes, min_size=1, max_size=5), st.integers(2, 9), st.lists(shapes, max_size=3))
def test_places_that_are_alike_cost_nothing(
    turn: list[tuple[int, int, int]], turns: int, others: list[tuple[int, int, int]]
) -> None:
    lives = [
        (place, Request(label=f"{at}/{place}", nbytes=size, first=5 * at + first, last=5 * at + first + length))
        for at in range(turns)
        for place, (size, first, length) in enumerate(turn)
    ]
    lives += [
        (len(turn) + place, Request(label=f"o{place}", nbytes=4 * size, first=first, last=first + 4 * length))
        for place, (size, first, length) in enumerate(others)
    ]
    requests = [request for _, request in lives]
    together = plan_memory(requests, alike=[number for number, _ in lives])
    check(together)
    assert together.arena_bytes <= plan_memory(requests).arena_bytes


def lowered(case: Recurrent, core: str) -> Program:
    return lower(run_passes(load_tflite(case.model)), get_core(core))


def loops_of(program: Program) -> list[str]:
    c = program.render()[f"{program.name}.c"]
    return [line for line in c.partition("_run(uint8_t")[2].splitlines() if "for (int32_t turn" in line]


@pytest.mark.parametrize("real", [False, True])
def test_most_steps_of_a_recurrent_layer_are_turns_of_loops(*, real: bool) -> None:
    for seed, listed in itertools.product(range(2), (False, True)):
        program = lowered(Recurrent(np.random.default_rng(seed), real=real, listed=listed, steps=40), "cortex-m0")
        written = program.render()[f"{program.name}.c"].partition("_run(uint8_t")[2]
        assert loops_of(program), program
        assert written.count(");\n") < len(program.calls) * 0.7


def test_steps_share_one_kernel_and_count_its_constants_once() -> None:
    case = Recurrent(np.random.default_rng(3), real=True, listed=False, steps=40)
    graph = run_passes(load_tflite(case.model))
    free = lower(graph, get_core("cortex-m7"))
    layers = [call for call in free.calls if call.op.kind == "FullyConnected"]
    assert len(layers) > 60
    assert len({call.kernel.function for call in layers}) <= 3
    tight = lower(graph, get_core("cortex-m7"), Options(flash=free.flash_bytes + 256))
    assert [c.kernel.family for c in tight.calls] == [c.kernel.family for c in free.calls]


@pytest.mark.parametrize("less", [1, 60, 200])
def test_equal_operators_share_one_kernel_within_the_flash(less: int) -> None:
    shape, core = (1, 5, 5, 8), get_core("cortex-m0")
    x, *made = (
        Tensor(name=f"t{place}", shape=shape, dtype=DType.INT8, quant=Quantization.per_tensor(0.1, 3))
        for place in range(7)
    )
    values = np.random.default_rng(0).integers(-127, 128, (8, 3, 3, 8)).astype(np.int8)
    weights = Tensor(name="w", shape=values.shape, dtype=DType.INT8, quant=Quantization.per_tensor(0.01), data=values)
    layers = [
        Conv2D(
            name=y.name, x=before, weights=weights, bias=None, y=y, padding=Padding(top=1, bottom=1, left=1, right=1)
        )
        for before, y in itertools.pairwise([x, *made])
    ]
    graph = Graph(name="equal", operators=tuple(layers), inputs=(x,), outputs=(made[-1],))
    flash = lower(graph, core).flash_bytes - less
    tight = lower(graph, core, Options(flash=flash))
    assert tight.flash_bytes <= flash
    assert len({call.kernel.function for call in tight.calls}) == 1


def test_a_kernel_asked_for_by_name_is_that_of_no_equal_operator() -> None:
    case, core = Recurrent(np.random.default_rng(3), real=True, listed=False, steps=12), get_core("cortex-m7")
    graph = run_passes(load_tflite(case.model))
    layers = [call for call in lower(graph, core).calls if call.op.kind == "FullyConnected"]
    portable = next(family for family in PORTABLE_FAMILIES if family.applies(layers[0].op, core))
    assert layers[0].kernel.family != portable.name
    names = {layers[3].op.name, layers[-1].op.name}
    choices = {name: (portable, portable.default(layers[0].op, core)) for name in names}
    calls = lower(graph, core, Options(choices=choices)).calls
    layers = [call for call in calls if call.op.kind == "FullyConnected"]
    assert {call.op.name for call in layers if call.kernel.family == portable.name} == names


@pytest.mark.parametrize(
    ("board", "real", "listed", "seed"),
    [("qemu-cortex-m0", False, False, 4), ("qemu-riscv32", False, True, 1), ("qemu-cortex-m7", True, True, 0)],
)
def test_loops_compute_what_the_network_does(board: str, seed: int, *, real: bool, listed: bool) -> None:
    case = Recurrent(np.random.default_rng(seed), real=real, listed=listed, steps=40)
    graph = load_tflite(case.model)
    expected = evaluate(graph, {graph.inputs[0].name: case.x})
    compiled = utvm.compile(graph, board)
    assert loops_of(compiled.program)
    with utvm.connect(board) as session:
        got = utvm.Model(session, compiled).run(case.x).outputs
    for name, values in expected.items():
        if real:
            np.testing.assert_allclose(got[name], values, atol=1e-5)
        else:
            np.testing.assert_array_equal(got[name], values)
