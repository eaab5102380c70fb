"""Block templates on cores without vectors: exact for drawn operators under drawn configs."""

import pytest
from hypothesis import strategies as st

import utvm
from tests.kernels.support import Case, check
from tests.support.cases import drawn
from tests.support.draw import case_with
from utvm.cores import get_core
from utvm.kernels import FAMILIES
from utvm.kernels.blocked import BlockedDepthwise, BlockedProduct
from utvm.lowering import lower
from utvm.tuning.space import configs

KINDS = {"Conv2D": BlockedProduct(), "DepthwiseConv2D": BlockedDepthwise(), "FullyConnected": BlockedProduct()}


@st.composite
def cases(draw: st.DrawFn) -> Case:
    kind = draw(st.sampled_from(sorted(KINDS)))
    graph, inputs = draw(case_with(kind))
    core, (op,) = get_core("cortex-m3"), graph.operators
    family = KINDS[kind]
    every = configs(family, op, core)
    return Case(graph, family, draw(st.sampled_from([*every, family.default(op, core)])), inputs)


@pytest.mark.parametrize("board", ["qemu-cortex-m3", "qemu-cortex-m0", "qemu-riscv32"])
def test_exact(board: str) -> None:
    with utvm.connect(board) as session:
        small = [
            c for c in drawn(cases(), 2) if board != "qemu-cortex-m0" or c.graph.operators[0].weights.elements < 999
        ]
        check(session, small)


@pytest.mark.parametrize("core", ["cortex-m3", "cortex-m0", "rv32imc"])
def test_a_family_without_a_better_one_is_taken(core: str) -> None:
    for kind in KINDS:
        for graph, _ in drawn(case_with(kind), 1 / 4):
            (call,) = lower(graph, get_core(core)).calls
            assert call.kernel.family == "blocked", graph


def test_cores_with_the_dsp_extension_keep_theirs() -> None:
    core = get_core("cortex-m4")
    for kind in KINDS:
        graph, _ = drawn(case_with(kind), 1 / 16)[0]
        assert not [f for f in FAMILIES if f.name == "blocked" and f.applies(graph.operators[0], core)]
