"""Every operator's portable kernel against the reference: on this machine, and on every emulated core."""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

import utvm
from tests.kernels.support import LONG_ROWS, long_softmax
from tests.support.boards import EMULATED
from tests.support.cases import drawn
from tests.support.draw import KINDS, case_with, pool_of
from tests.support.drawer import Drawer
from tests.support.host import SANITIZED, layouts, run_on_host, run_sanitized
from tests.support.target import run_programs
from utvm.cores import CORES, Core, get_core
from utvm.device import Session
from utvm.graph import DType, Graph, Mean, Operator, Quantization, Tensor
from utvm.graph import operators as every_operator
from utvm.graph.reference import evaluate
from utvm.kernels import PORTABLE_FAMILIES
from utvm.lowering import Options, Program, lower

Case = tuple[Graph, list[np.ndarray]]

PLAIN = get_core("cortex-m3")


def portable(graph: Graph, core: Core, *, name: str | None = None) -> Program:
    """Lower with portable families alone, whatever the core could do."""
    choices = {
        op.name: (next(family for family in PORTABLE_FAMILIES if family.applies(op, core)), {})
        for op in graph.operators
    }
    return lower(graph, core, Options(name=name, choices=choices))


def laid_out(cases: list[Case]) -> tuple[list[Case], list[Program]]:
    """Each case under several plans of its arena."""
    both = [(case, program) for case in cases for program in layouts(portable(case[0], PLAIN))]
    return [case for case, _ in both], [program for _, program in both]


def check_all(
    cases: Sequence[Case], outputs: Sequence[list[np.ndarray] | None], *, may_lack_room: bool = False
) -> None:
    for (graph, inputs), got in zip(cases, outputs, strict=True):
        if got is None:
            assert may_lack_room, graph
            continue
        wanted = evaluate(graph, inputs)
        for tensor, value in zip(graph.outputs, got, strict=True):
            np.testing.assert_array_equal(value, wanted[tensor.name], err_msg=str(graph))


@pytest.fixture(scope="module", params=EMULATED)
def any_board(request: pytest.FixtureRequest) -> Iterator[Session]:
    with utvm.connect(request.param) as session:
        yield session


@pytest.fixture(scope="module", params=["qemu-cortex-m7", "qemu-riscv32"])
def main_board(request: pytest.FixtureRequest) -> Iterator[Session]:
    with utvm.connect(request.param) as session:
        yield session


def test_every_operator_is_drawn_and_has_a_portable_family() -> None:
    defined = {
        name
        for name, kind in vars(every_operator).items()
        if isinstance(kind, type) and issubclass(kind, Operator) and kind is not Operator and not name.startswith("_")
    }
    assert defined - {"Store"} == set(KINDS), "states are drawn in tests/state"

    for graph, _ in drawn(st.sampled_from(KINDS).flatmap(lambda kind: case_with(kind)), len(KINDS) / 4):
        (op,) = graph.operators
        assert any(family.applies(op, PLAIN) for family in PORTABLE_FAMILIES)


@pytest.mark.parametrize("kind", KINDS)
def test_on_this_machine(kind: str) -> None:
    cases, programs = laid_out(drawn(case_with(kind), 7 / 8))
    check_all(cases, run_on_host(programs, [inputs for _, inputs in cases]))


def test_softmax_of_long_rows(main_board: Session) -> None:
    cases = [long_softmax(size) for size in LONG_ROWS]
    programs = [portable(graph, main_board.board.core) for graph, _ in cases]
    check_all(cases, run_programs(main_board, programs, [inputs for _, inputs in cases]))
    check_all(cases, run_sanitized(programs, [inputs for _, inputs in cases], "gcc"))


def mean_of(shape: tuple[int, ...], axes: tuple[int, ...]) -> Graph:
    result = tuple(size for axis, size in enumerate(shape) if axis not in axes)
    x, y = (
        Tensor(name=name, shape=dims, dtype=DType.INT8, quant=Quantization.per_tensor(scale, zero))
        for name, dims, scale, zero in (("x", shape, 0.05, -128), ("y", result, 0.02, 7))
    )
    return Graph(name="mean", inputs=(x,), outputs=(y,), operators=(Mean(name="op", x=x, y=y, axes=axes),))


def test_long_means_do_not_overflow_their_lanes() -> None:
    shapes = [((1, 300, 12), (1,)), ((513, 6), (0,)), ((2, 1031), (1,)), ((3, 20, 5, 19, 7), (1, 3)), ((2, 4100), (1,))]
    cases = [(graph := mean_of(*each), [np.full(graph.inputs[0].shape, 127, np.int8)]) for each in shapes]
    check_all(cases, run_on_host([portable(graph, PLAIN) for graph, _ in cases], [inputs for _, inputs in cases]))


def test_large_windows_are_pooled_without_a_warning() -> None:
    d = Drawer(np.random.default_rng(5), tflite=False, largest=12)
    windows = [(7, 9), (5, 4), (3, 6), (1, 9)]
    ops = [pool_of(d, kind, (2, 7, 9, 3), each) for kind in ("MaxPool2D", "AveragePool2D") for each in windows]
    graphs = [Graph(name="pool", operators=(op,), inputs=op.activations, outputs=op.outputs) for op in ops]
    cases = [(graph, [d.int8(graph.inputs[0].shape)]) for graph in graphs]
    check_all(cases, run_on_host([portable(graph, PLAIN) for graph in graphs], [inputs for _, inputs in cases]))


@pytest.mark.parametrize("compiler", SANITIZED)
@pytest.mark.parametrize("kind", KINDS)
def test_no_undefined_behaviour(kind: str, compiler: str) -> None:
    """No undefined behaviour, no access outside of buffers and constants, no warning."""
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    cases, programs = laid_out(drawn(case_with(kind), 3 / 8))
    check_all(cases, run_sanitized(programs, [inputs for _, inputs in cases], compiler))


@pytest.mark.parametrize("core", CORES.values(), ids=CORES)
def test_every_compiler_is_content(core: Core, tmp_path: Path) -> None:
    """No warning of a cross-compiler, at the optimisation that finds the most of them."""
    for kind in KINDS:
        for number, (graph, _) in enumerate(drawn(case_with(kind), 1 / 8)):
            for name, text in portable(graph, core, name=f"{kind.lower()}_{number}").render().items():
                (tmp_path / name).write_text(text, encoding="utf-8")
    options = ["-std=c11", "-pedantic", "-Wall", "-Wextra", "-Werror", "-O2", "-ffreestanding"]
    options += core.isa.specs
    units = sorted(path.name for path in tmp_path.glob("*.c"))
    command = [f"{core.tool_prefix}gcc", *core.cflags, *options, "-c", *units]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_on_cortex_m7_and_riscv(kind: str, main_board: Session) -> None:
    cases = drawn(case_with(kind), 1 / 2)
    programs = [portable(graph, main_board.board.core) for graph, _ in cases]
    check_all(cases, run_programs(main_board, programs, [inputs for _, inputs in cases]))


@pytest.mark.parametrize("kind", KINDS)
def test_on_every_core(kind: str, any_board: Session) -> None:
    """With the families that a user gets."""

    cases = drawn(case_with(kind), 1 / 8)
    programs = [lower(graph, any_board.board.core) for graph, _ in cases]
    outputs = run_programs(any_board, programs, [inputs for _, inputs in cases])
    check_all(cases, outputs, may_lack_room=any_board.board.name == "qemu-cortex-m0")
