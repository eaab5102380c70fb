"""Every operator's portable kernel against the reference: on this machine, and on every emulated core."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import utvm
from tests.support.draw import KINDS, case_with
from tests.support.host import run_on_host
from tests.support.target import run_on_target
from utvm.boards import list_boards
from utvm.cores import get_core
from utvm.device import Session
from utvm.graph import Graph, Operator
from utvm.graph import operators as every_operator
from utvm.graph.reference import evaluate
from utvm.kernels import PORTABLE_FAMILIES
from utvm.lowering import lower
from utvm.toolchain import MemoryOverflowError, Toolchain

PLAIN = get_core("cortex-m3")
QUIET = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture)
SANITIZED = Toolchain(
    prefix="", extra_flags=("-fsanitize=undefined", "-fno-sanitize-recover=all", "-static-libubsan", "-pedantic")
)


def few(examples: int) -> settings:
    return settings(max_examples=examples, deadline=None, derandomize=True, suppress_health_check=QUIET, database=None)


def check(graph: Graph, got: list[np.ndarray], inputs: list[np.ndarray]) -> None:
    wanted = evaluate(graph, inputs)
    for tensor, value in zip(graph.outputs, got, strict=True):
        np.testing.assert_array_equal(value, wanted[tensor.name], err_msg=str(graph))


@pytest.fixture(scope="module", params=[board.name for board in list_boards()])
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
    def has_family(case: tuple[Graph, list[np.ndarray]]) -> None:
        (op,) = case[0].operators
        assert any(family.applies(op, PLAIN) for family in PORTABLE_FAMILIES)

    has_family()


@pytest.mark.parametrize("kind", KINDS)
def test_on_this_machine(kind: str) -> None:
    @few(14)
    @given(case_with(kind))
    def property_holds(case: tuple[Graph, list[np.ndarray]]) -> None:
        graph, inputs = case
        check(graph, run_on_host(lower(graph, PLAIN), inputs), inputs)

    property_holds()


@pytest.mark.parametrize("kind", KINDS)
def test_no_undefined_behaviour(kind: str) -> None:
    @few(4)
    @given(case_with(kind))
    def property_holds(case: tuple[Graph, list[np.ndarray]]) -> None:
        graph, inputs = case
        check(graph, run_on_host(lower(graph, PLAIN), inputs, SANITIZED), inputs)

    property_holds()


@pytest.mark.parametrize("kind", KINDS)
def test_on_cortex_m7_and_riscv(kind: str, main_board: Session) -> None:
    @few(8)
    @given(case_with(kind))
    def property_holds(case: tuple[Graph, list[np.ndarray]]) -> None:
        graph, inputs = case
        check(graph, run_on_target(main_board, graph, inputs), inputs)

    property_holds()


@pytest.mark.parametrize("kind", KINDS)
def test_on_every_core(kind: str, any_board: Session) -> None:
    @few(2)
    @given(case_with(kind))
    def property_holds(case: tuple[Graph, list[np.ndarray]]) -> None:
        graph, inputs = case
        try:
            check(graph, run_on_target(any_board, graph, inputs), inputs)
        except MemoryOverflowError:
            assert any_board.board.name == "qemu-cortex-m0"

    property_holds()
