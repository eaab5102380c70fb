"""Every operator's portable kernel against the reference: on this machine, and on every emulated core."""

import dataclasses
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import utvm
from tests.support.boards import EMULATED
from tests.support.draw import KINDS, case_with
from tests.support.host import SANITIZED, layouts, run_on_host, run_sanitized
from tests.support.target import run_on_target, run_program
from utvm.cores import CORES, Core, get_core
from utvm.device import Session
from utvm.graph import Graph, Operator
from utvm.graph import operators as every_operator
from utvm.graph.reference import evaluate
from utvm.kernels import PORTABLE_FAMILIES
from utvm.lowering import Program, lower
from utvm.toolchain import MemoryOverflowError

Case = tuple[Graph, list[np.ndarray]]

PLAIN = get_core("cortex-m3")
QUIET = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture)


def few(examples: int) -> settings:
    return settings(max_examples=examples, deadline=None, derandomize=True, suppress_health_check=QUIET, database=None)


def drawn(kind: str, examples: int) -> list[Case]:
    """The same cases every time."""
    cases: list[Case] = []

    @few(examples)
    @given(case_with(kind))
    def collect(case: Case) -> None:
        cases.append(case)

    collect()
    return cases


def portable(graph: Graph, core: Core, *, name: str | None = None) -> Program:
    """Lower with portable families alone, whatever the core could do."""
    choices = {
        op.name: (next(family for family in PORTABLE_FAMILIES if family.applies(op, core)), {})
        for op in graph.operators
    }
    return lower(graph, core, name=name, choices=choices)


def check(graph: Graph, got: list[np.ndarray], inputs: list[np.ndarray]) -> None:
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
    assert defined == set(KINDS)

    @few(len(KINDS) * 4)
    @given(st.sampled_from(KINDS).flatmap(lambda kind: case_with(kind)))
    def has_family(case: Case) -> None:
        (op,) = case[0].operators
        assert any(family.applies(op, PLAIN) for family in PORTABLE_FAMILIES)

    has_family()


@pytest.mark.parametrize("kind", KINDS)
def test_on_this_machine(kind: str) -> None:
    @few(14)
    @given(case_with(kind))
    def property_holds(case: Case) -> None:
        graph, inputs = case
        for program in layouts(portable(graph, PLAIN)):
            check(graph, run_on_host(program, inputs), inputs)

    property_holds()


@pytest.mark.parametrize("compiler", SANITIZED)
@pytest.mark.parametrize("kind", KINDS)
def test_no_undefined_behaviour(kind: str, compiler: str) -> None:
    """No undefined behaviour, no access outside of buffers and constants, no warning."""
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    programs, cases = [], []
    for number, (graph, inputs) in enumerate(drawn(kind, 6)):
        for order, program in enumerate(layouts(portable(graph, PLAIN))):
            programs.append(dataclasses.replace(program, name=f"case_{number}_{order}"))
            cases.append((graph, inputs))
    for (graph, inputs), got in zip(cases, run_sanitized(programs, [c[1] for c in cases], compiler), strict=True):
        check(graph, got, inputs)


@pytest.mark.parametrize("core", CORES.values(), ids=CORES)
def test_every_compiler_is_content(core: Core, tmp_path: Path) -> None:
    """No warning of a cross-compiler, at the optimisation that finds the most of them."""
    for kind in KINDS:
        for number, (graph, _) in enumerate(drawn(kind, 2)):
            for name, text in portable(graph, core, name=f"{kind.lower()}_{number}").render().items():
                (tmp_path / name).write_text(text, encoding="utf-8")
    options = ["-std=c11", "-pedantic", "-Wall", "-Wextra", "-Werror", "-O2", "-ffreestanding"]
    if core.isa == "riscv":
        options.append("--specs=picolibc.specs")
    units = sorted(path.name for path in tmp_path.glob("*.c"))
    command = [f"{core.tool_prefix}gcc", *core.cflags, *options, "-c", *units]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_on_cortex_m7_and_riscv(kind: str, main_board: Session) -> None:
    @few(8)
    @given(case_with(kind))
    def property_holds(case: Case) -> None:
        graph, inputs = case
        check(graph, run_program(main_board, portable(graph, main_board.board.core), inputs), inputs)

    property_holds()


@pytest.mark.parametrize("kind", KINDS)
def test_on_every_core(kind: str, any_board: Session) -> None:
    """With the families that a user gets."""

    @few(2)
    @given(case_with(kind))
    def property_holds(case: Case) -> None:
        graph, inputs = case
        try:
            check(graph, run_on_target(any_board, graph, inputs), inputs)
        except MemoryOverflowError:
            assert any_board.board.name == "qemu-cortex-m0"

    property_holds()
